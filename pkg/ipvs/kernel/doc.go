// Package kernel is the kernel's IPVS table as an [ipvs.Table], over generic netlink.
//
// github.com/cloudflare/ipvs does what it can. What it lacks goes over a second connection of this
// package's own: clearing, zeroing, sync daemons, and everything about persistence engines. That
// includes all adding and changing of services, because the library's change of a service takes
// its engine away.
//
// A table belongs to the network namespace of the thread that opened it. The kernel loads
// scheduler modules by itself.
package kernel
