// Package systolecf reads /etc/ha.d/systole.cf: what the originals do not know. Its grammar is
// ha.cf's, "directive value"; without the file everything is as with the originals.
package systolecf

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/systole-ha/systole/pkg/diag"
)

// Config is the file as understood.
type Config struct {
	// LogDialect is the form of scripts' log lines: centos6 (the tutorial's, the default) or debian12.
	LogDialect string
	// StopFailure is what follows a resource that cannot be stopped: reboot (as the original does,
	// the default), standby or log.
	StopFailure string
	// IPVS is which table the agents work on: kernel (the default) or userspace.
	IPVS string
	// AddressLost is what is done when an address of ours is taken away by somebody else, or its
	// interface is lost: repair (put it back, the default), standby (the same, and what stays out of
	// reach for 2 s hands everything over to the peer) or log.
	AddressLost string
	// Peers is what runs on the other nodes: any (the default: they may be originals), or systole, which
	// allows what originals do not know: hmac-sha256 in authkeys.
	Peers string
	// ReplayWindow is how far the clocks of two nodes may be apart before they hear each other, with
	// hmac-sha256: 1 s to 1 h, 1 min by default.
	ReplayWindow time.Duration
	// FailbackSync is how long an automatic failback may wait until the node that has returned knows the
	// connections of the one that gives: 0 (the default, no wait) to 1 h.
	FailbackSync time.Duration
	// Metrics is where Prometheus finds heartbeat's and ldirectord's metrics, an address of this machine and a port; not
	// valid: nowhere (the default).
	Metrics netip.AddrPort
	// Builtin are the resources whose built-in agents are used whatever script is in their place.
	Builtin []string
	// Services is what is said of ldirectord's services, in file order.
	Services []Service
}

var values = map[string][]string{
	"logdialect":  {"centos6", "debian12"},
	"stopfailure": {"reboot", "standby", "log"},
	"ipvs":        {"kernel", "userspace"},
	"addresslost": {"repair", "standby", "log"},
	"peers":       {"any", "systole"},
	"metrics":     nil, // an address
}

const wantMetrics = "ADDRESS:PORT"

// seconds are the directives that are numbers of seconds, with the least; the most is 3600.
var seconds = map[string]int{"replaywindow": 1, "failbacksync": 0}

// Agents are the resources that heartbeat has a built-in agent for.
var Agents = []string{"IPaddr", "IPaddr2", "IPv6addr", "LVSSyncDaemonSwap", "ipvsadm", "ldirectord"}

// names are the directives but service, sorted.
func names() []string {
	list := append(slices.AppendSeq(slices.Collect(maps.Keys(values)), maps.Keys(seconds)), "builtin")
	slices.Sort(list)
	return list
}

// Parse reads the file; an empty text gives the defaults.
func Parse(file string, text []byte) (Config, diag.List) {
	c := Config{LogDialect: "centos6", StopFailure: "reboot", IPVS: "kernel", AddressLost: "repair", Peers: "any", ReplayWindow: time.Minute}
	times := map[string]*time.Duration{"replaywindow": &c.ReplayWindow, "failbacksync": &c.FailbackSync}
	fields := map[string]*string{"logdialect": &c.LogDialect, "stopfailure": &c.StopFailure, "ipvs": &c.IPVS, "addresslost": &c.AddressLost, "peers": &c.Peers}
	var problems diag.List
	for n, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := split(line)
		if len(words) == 0 {
			continue
		}
		at := func(col int) diag.Pos { return diag.Pos{File: file, Line: n + 1, Col: col} }
		name := words[0].text
		allowed, known := values[name]
		want := strings.Join(allowed, " or ")
		least, timed := seconds[name]
		if timed {
			known, want = true, fmt.Sprintf("a number of seconds from %d to 3600", least)
		} else if name == "metrics" {
			want = wantMetrics
		}
		switch {
		case name == "service":
			c.service(at, words, &problems)
		case name == "builtin":
			c.builtin(at, words, &problems)
		case !known:
			problems.Errorf(at(words[0].col), "", strings.Join(names(), ", ")+" or service", "%q is not a directive", name)
		case len(words) != 2:
			problems.Errorf(at(words[0].col), name, want, "%d values", len(words)-1)
		case timed:
			n := 0
			if !number(words[1].text, least, 3600, &n) {
				problems.Errorf(at(words[1].col), name, want, "bad value %q", words[1].text)
				continue
			}
			*times[name] = time.Duration(n) * time.Second
		case name == "metrics":
			where, err := netip.ParseAddrPort(words[1].text)
			if err != nil || where.Port() == 0 || where.Addr().IsMulticast() {
				problems.Errorf(at(words[1].col), name, want, "bad value %q", words[1].text)
				continue
			}
			c.Metrics = where
		case !slices.Contains(allowed, words[1].text):
			problems.Errorf(at(words[1].col), name, want, "bad value %q", words[1].text)
		default:
			*fields[name] = words[1].text
		}
	}
	return c, problems
}

// builtin reads "builtin NAME...".
func (c *Config) builtin(at func(int) diag.Pos, words []word, problems *diag.List) {
	if len(words) < 2 {
		problems.Errorf(at(words[0].col), "builtin", strings.Join(Agents, ", "), "0 values")
	}
	for _, w := range words[1:] {
		if !slices.Contains(Agents, w.text) {
			problems.Errorf(at(w.col), "builtin", strings.Join(Agents, ", "), "bad value %q", w.text)
			continue
		}
		c.Builtin = append(c.Builtin, w.text)
	}
}

// word is a word of a line and its column, from 1.
type word struct {
	text string
	col  int
}

// split cuts a line at its blanks.
func split(line string) (words []word) {
	start := -1
	for i, r := range line + " " {
		switch blank := unicode.IsSpace(r); {
		case blank && start >= 0:
			words = append(words, word{line[start:i], start + 1})
			start = -1
		case !blank && start < 0:
			start = i
		}
	}
	return words
}
