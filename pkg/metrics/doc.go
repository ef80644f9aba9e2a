// Package metrics shows what heartbeat and ldirectord say of themselves in Prometheus's text format. Names begin with
// systole_; the conventions are Prometheus's: base units, _total for counters, states as 0 and 1. Tables of the kernel
// (connections, bytes) are node_exporter's business (collector ipvs).
package metrics
