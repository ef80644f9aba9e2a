// Package seqtrack keeps the sequence numbers of the heartbeat protocol: for each sender what has
// come, what is missing and what to acknowledge ([Window]), and for ourselves what was sent and
// may have to be sent again ([History]). It stands for should_drop_message, hb_rexmit.c and the
// message history of heartbeat.c.
package seqtrack
