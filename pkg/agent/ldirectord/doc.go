// Package ldirectord is the resource "ldirectord" of a haresources line, in process: it runs
// pkg/ldirectord's servers inside heartbeat instead of calling the program, with the program's
// texts and exit statuses (spec/resource-manager.md 7).
package ldirectord
