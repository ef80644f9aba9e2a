// Package resource carries out resource groups: it takes and gives up the groups of haresources,
// resource by resource, with agents. It does what the original's programs ResourceManager, harc,
// req_resource and mach_down and the stock scripts of rc.d do, in process, and writes their log
// lines; a script that the administrator put in the place of a stock one is run as a child
// (spec/resource-manager.md).
//
// When to do it is decided elsewhere (pkg/cluster); a Manager does one cluster.Call at a time and
// answers with a cluster.Done.
package resource
