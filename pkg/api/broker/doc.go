// Package broker is the daemon's side of the client API as a state machine: who is connected, who
// has signed on, what is answered and who is told what (hb_api.c). It does no I/O: the server of
// package api tells it what came in over the socket, the daemon tells it what the engine delivers,
// and both carry out what it answers, in order.
package broker
