// Package userspace is an [ipvs.Table] without ip_vs: a TCP and UDP forwarder in this process
// that picks real servers with the kernel's schedulers, persistence and thresholds. It serves
// machines whose kernel lacks ip_vs (containers, laptops, this project's demo).
//
// What differs from the kernel: connections are proxied, so a real server sees the director's
// address whatever the forwarding method says; SCTP services and firewall marks are kept in the
// table but carry no traffic; a service cannot listen where another program holds the same
// port on all addresses.
package userspace
