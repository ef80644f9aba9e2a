// Package apphb is the application heartbeat: programs register with the daemon apphbd and tell it
// now and then that they are alive; apphbd says in the log when one is late or silent (apphb.h,
// libapphb and apphbd.c of heartbeat). A [Ledger] decides who is late, without clock and I/O; a
// [Client] is a program's end of the socket.
package apphb
