// Package daemon is the heartbeat service: it opens the media, feeds the engine of package
// cluster from one loop, and carries out what the engine decides. It is what remains of
// heartbeat.c when the deciding is taken out: files, sockets, signals, children and clocks.
//
// One goroutine, the loop in Run, owns the engine. Everything else (media, the FIFO, the
// resource worker, managed clients) runs in goroutines of its own, hands the loop inputs
// through one queue, and is joined before Run returns.
package daemon
