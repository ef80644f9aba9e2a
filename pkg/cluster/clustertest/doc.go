// Package clustertest runs several engines of package cluster against each other on a simulated
// network with a virtual clock. One seed gives one run, to the byte.
//
// There are two ways to use it. A [Scenario] is a datadriven file that says what happens and shows
// what the nodes log. A [Plan] is a list of commands, written by [Chaos] from a seed; it is run under
// a [Watch], which knows what must hold whatever happens. A plan that has shown a fault is kept in
// the testdata/found of package cluster.
package clustertest
