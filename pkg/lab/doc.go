// Package lab builds hosts to test on: a [Network] of nodes that are joined by virtual cables and
// bridges, the five hosts of the tutorial ([Hosts]), and a virtual machine with a kernel that has
// IPVS ([VM], [InVM]).
//
// A node is a set of Linux namespaces (network, mount, UTS, IPC, PID) with an init of its own, so
// that it has its own addresses, host name, process ids, /etc, /var/lib, /var/log, /run, /tmp and
// /dev/log. Namespaces have no names on the machine: they live as long as the process that made
// them, so nothing is left behind even if that process is killed. Several networks can exist side
// by side.
//
// New, NewHosts and the methods are for programs (systole demo) and for tests. [Net], [Tutorial], VM
// and InVM are the same for tests, with cleaning up and skipping. Building a network needs root, or
// a user namespace made by [Rootless].
package lab
