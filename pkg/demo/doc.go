// Package demo tells the tutorial's section 7 as a story on one machine: two directors, two real
// servers and a client, each a host in namespaces of its own, with systole's programs on the
// directors. It prints what happens as it happens, and ends with a table of the steps.
package demo
