// Package cluster is the heartbeat protocol engine of one node: what heartbeat's master control
// process decides, without its processes, sockets, files and clock.
//
// An [Engine] is fed with what happens ([Input]) in the order it happened, and answers with what
// has to be done ([Action]), to be carried out in that order. It reads no clock, starts no
// goroutine, has no randomness but the seed in [Config]: the same inputs give the same bytes.
//
// How the parts relate to the original's source files:
//
//	heartbeat.c (main loop, statuses, links, comm-up)  engine.go receive.go send.go membership.go
//	hb_rexmit.c, should_drop_message                    seqtrack, rexmit.go
//	check_for_timeouts, node and link records           liveness
//	hb_resource.c (who holds what, standby, failback)   takeover, resources.go
//	the forked children and the notification queue      jobs.go
//	shutdown phases, restart                            shutdown.go
//
// What runs where: the original forks children that call ResourceManager, req_resource or harc.
// Here such a child is a job of the engine, and each program that it would call is one [Run]
// action, answered by [Done]. The engine logs what the C daemon and its children log; what the
// scripts log is logged by whoever carries out the Run.
package cluster
