// Package takeover decides who holds which resources: the protocol of heartbeat's hb_resource.c
// between the two nodes of a pair, with the states that a node goes through from its start to
// its end (INIT … STABLE, SHUTDOWN), standby, failback and what follows the death of a peer.
package takeover
