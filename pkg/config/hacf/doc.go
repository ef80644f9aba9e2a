// Package hacf reads ha.cf: text in, a [Config] with every default filled in and a list of
// problems out. It touches neither the file nor the machine; what it has to know of the
// machine comes in as a [Host].
//
// The grammar is the original's with its quirks (config.c, spec/heartbeat-config.md 2 to 6):
// one directive a line, "#" cuts anywhere, no quoting; most directives take their words one by
// one, as if they had been repeated.
package hacf
