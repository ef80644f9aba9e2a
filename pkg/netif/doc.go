// Package netif is the host's addresses, routes and links: what the original asks and tells
// ifconfig, ip and route. Host has two implementations, Kernel over route netlink and Fake for
// tests, which pass the same conformance tests.
package netif
