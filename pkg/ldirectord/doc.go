// Package ldirectord is the ldirectord service: it reads ldirectord.cf, checks real servers and
// keeps the IPVS table as [director.Director] decides. A [Server] is one instance; it runs in
// the ldirectord program and, started by pkg/agent/ldirectord, inside heartbeat.
//
// One goroutine owns the director and feeds it; checks, table operations, reading of the
// configuration and the control socket have goroutines of their own, so that nothing slow is
// ever waited for. All are started by [Server.Run] and joined before it returns.
//
// An instance is known by its pid file, as in the original, and answers on a socket beside it:
// `ldirectord CONFIG status|stop|reload` finds it there whichever process it lives in.
package ldirectord
