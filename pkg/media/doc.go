// Package media is the links of a node: what ha.cf's bcast, mcast, mcast6, ucast, ucast6, serial, ping,
// ping6 and ping_group lines open. A [Medium] sends packets and hands on those that arrive; it neither
// reads nor signs them.
//
// The original has a plugin for each kind and two processes for each medium. Here a kind is one file
// with a driver, which opens sockets or a line and knows the original's log lines, and one goroutine
// with a reader runs any of them (link.go): it sends what is queued, counts and reports failed
// writes as the original's write process does, and opens the medium anew when its interface has gone
// and come back, which the original does not.
package media
