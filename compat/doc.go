// Package compat holds the suites that look at the project from outside: the direction of its
// imports, the originals' configuration, packets, logs and command lines, and live clusters
// with an original as the peer.
package compat
