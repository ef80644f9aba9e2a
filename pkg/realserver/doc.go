// Package realserver makes a machine a real server of an LVS director in direct routing (gate) mode: the virtual
// addresses are on lo, where the kernel takes packets for them, and are not announced on the wire, where the director
// answers for them. It does what the scripts of LVS tutorials do ("lvs_dr.sh", "realserver"), and puts back what was.
package realserver
