// Package kernel is the kernel's IPVS table as an [ipvs.Table], over generic netlink.
//
// It speaks to the kernel itself (linux/ip_vs.h): a library in between has no time limits, does not tell
// of interrupted lists, and takes a service's persistence engine away when it changes the service.
//
// A table belongs to the network namespace of the thread that opened it. The kernel loads
// scheduler modules by itself.
package kernel
