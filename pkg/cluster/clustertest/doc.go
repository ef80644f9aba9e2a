// Package clustertest runs several engines of package cluster against each other on a simulated
// network with a virtual clock. One seed gives one run, to the byte. It has a scenario language for
// datadriven test files.
package clustertest
