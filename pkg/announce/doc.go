// Package announce tells the network that an address has moved here: gratuitous ARP for IPv4,
// unsolicited neighbour advertisements for IPv6. It does what the original's send_arp and IPv6addr
// do, but sends the first pair at once.
package announce
