// Package realtime gives this process what a heartbeat needs to be on time: a realtime priority, memory that is never
// paged out, and the last place among those that the kernel ends when memory runs out. It stands for cluster-glue's
// realtime.c; the lines that it gives are that file's.
//
// A Go process has threads, which come and go as its runtime sees fit, and each has a scheduling policy of its own. So
// Enter sets the policy of all threads, and a Keeper looks for new ones from then on. The policy is set with the flag
// "reset on fork": a child process, whoever starts it, begins with the ordinary policy, and so does a new thread, for
// the short time until the Keeper finds it.
//
// An Alarm wakes the process on time, for less than a timer of the runtime costs.
package realtime
