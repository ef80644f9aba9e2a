// Package ipaddr is the agents IPaddr, IPaddr2 and IPv6addr in process: they put an address on an
// interface, announce it, and take it away. They do what the resource.d wrappers and the OCF agents
// behind them do, and write their lines (spec/resource-manager.md 5 and 8.2), without forking.
//
// In the dialect of CentOS 6 the name IPaddr stands for the agent IPaddr2, as on that system; in
// Debian's it is an agent of its own, which works with alias labels (eth0:0).
package ipaddr
