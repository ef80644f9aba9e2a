# make alone prints the targets.
GO ?= go
export CGO_ENABLED = 0

help:
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile

build: ## bin/systole and a link for each program
	$(GO) build -o bin/systole ./cmd/systole
.PHONY: help build
