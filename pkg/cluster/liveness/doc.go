// Package liveness knows which nodes and links are alive: when each was heard last, how long it may
// be silent, and which of them have been silent too long. It stands for the node and link records
// and check_for_timeouts of heartbeat.c.
package liveness
