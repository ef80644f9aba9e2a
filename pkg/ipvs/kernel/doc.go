// Package kernel is the kernel's IPVS table as an [ipvs.Table], over generic netlink.
//
// The words are those of github.com/cloudflare/ipvs, the conversation is our own (linux/ip_vs.h): the
// library's client has no time limits, so that an EINTR can hang it for ever, does not tell of
// interrupted lists, and takes a service's persistence engine away when it changes the service.
//
// A table belongs to the network namespace of the thread that opened it. The kernel loads
// scheduler modules by itself.
package kernel
