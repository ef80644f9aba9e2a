# make alone prints the targets.
GO ?= go
export CGO_ENABLED = 0
TOOL = $(GO) tool -modfile=scripts/tools/go.mod

help:
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

build: ## bin/systole, and a link to it for each program (TAGS=oracle: with Oracle checks)
	$(GO) build -trimpath -tags '$(TAGS)' -ldflags '-s -w' -o bin/systole ./cmd/systole
	@bin/systole programs | while read -r p; do ln -sf systole bin/$$p; done

install: build ## put it where heartbeat and ldirectord are: DESTDIR=DIR LAYOUT=debian|rhel
	@bin/systole install $(if $(DESTDIR),--destdir '$(DESTDIR)') $(if $(LAYOUT),--layout '$(LAYOUT)')

packages: ## dist/*.deb and dist/*.rpm
	@scripts/package

setup: ## install what the tests and the demo need (Debian packages)
	@scripts/setup

demo: build ## the tutorial's cluster on this machine, told as a story
	@bin/systole demo

test: setup build ## every test: lint, packages, race detector, live clusters, virtual machine
	scripts/test

lint: ## vet, gofmt, gofumpt and staticcheck
	$(GO) vet ./...
	@$(TOOL) gofumpt -l cmd pkg compat | (! grep .) || { echo 'gofumpt would change the files above'; exit 1; }
	@"$$($(GO) env GOROOT)/bin/gofmt" -l cmd pkg compat | (! grep .) || { echo 'gofmt would change the files above'; exit 1; }
	$(TOOL) staticcheck ./...

checklist: build setup ## the tutorial's S1 to S65 in a virtual machine
	$(GO) test -count=1 -timeout 20m -v -run '^TestChecklist$$' ./compat

fuzz: ## each parser and decoder for 60 s (FUZZTIME=10s for less)
	@scripts/fuzz

bench: build setup ## ours and the original side by side
	$(GO) test -count=1 -timeout 3h -v -run '^TestBench' ./compat

soak: build setup ## the long runs
	$(GO) test -count=1 -timeout 6h -run '^TestSoak' ./compat

clean: ## remove what building made
	rm -rf bin dist

.PHONY: help build install packages setup demo test checklist lint fuzz bench soak clean
