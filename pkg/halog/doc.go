// Package halog writes heartbeat's log: ha-log, ha-debug, syslog and standard error, each line in
// the form that the originals give it. It stands for cluster-glue's cl_log (lines of programs) and
// for the ha_log of resource-agents' shell functions (lines of scripts), which differ in form and
// in destinations; spec/heartbeat-api.md 18 and spec/resource-manager.md 1 say how.
//
// A Log is the set of destinations. Programs write through a Logger (entity and pid), scripts and
// the in-process agents that replace them through Log.Script (a tag). While Run is running, lines
// are queued and a full disk, a hanging file system or a stuck syslogd never holds up the caller;
// without it each line is written before the call returns.
//
// logrus carries the lines to the destinations; no other package sees it.
package halog
