// Package director decides what ldirectord does: when each real server is checked, what a
// result means, and what the IPVS table should hold. It is the logic of the original's
// ld_start, ld_main, service_set, ld_setup and ld_stop, without their I/O.
//
// A [Director] is told what happened (a configuration was read, a check was answered, the
// table was read or changed) with [Director.Step] and returns what is to be done. It has no
// clock, socket, goroutine or logger. The log lines are those of the original, word for word
// (spec/ldirectord.md 5.1).
//
// Against the original (spec/ldirectord.md 3.6 to 3.9): checks are timed one by one and not in
// a row; nothing that was not checked gets traffic at a start or reload; a reload keeps what is
// known of servers that did not change; what vanishes from the table is put back.
package director
