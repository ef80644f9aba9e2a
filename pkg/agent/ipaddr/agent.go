package ipaddr

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/netif"
)

// Announcer tells the network where an address is; *announce.Announcer is one.
type Announcer interface {
	Announce(link string, ip netip.Addr, done func(error))
	Cancel(link string, ip netip.Addr) bool
}

// Names are the resources that an Agent serves.
var Names = []string{"IPaddr", "IPaddr2", "IPv6addr"}

// Options is what the agents work with.
type Options struct {
	Host      netif.Host
	Announcer Announcer
	Dialect   halog.Dialect
	StateDir  string // HA_RSCTMP: keeps a loopback address that IPaddr2 moved; empty: /run/resource-agents
}

// Agent serves the resources of Names.
type Agent struct {
	o Options

	mu     sync.Mutex
	places map[netip.Addr]place      // where IPaddr2 put addresses, or they were found
	held   map[netip.Addr]netif.Addr // started: what Guard watches
}

// New makes the agent.
func New(o Options) *Agent {
	if o.StateDir == "" {
		o.StateDir = "/run/resource-agents"
	}
	return &Agent{o: o, places: map[netip.Addr]place{}, held: map[netip.Addr]netif.Addr{}}
}

// keep remembers where an address was put.
func (a *Agent) keep(p place) {
	a.mu.Lock()
	a.places[p.prefix.Addr()] = p
	a.mu.Unlock()
}

// forget gives what keep remembers, for the last time.
func (a *Agent) forget(ip netip.Addr) (place, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.places[ip]
	delete(a.places, ip)
	return p, ok
}

// Exit codes of OCF agents.
const (
	success       = 0
	genericError  = 1
	badArguments  = 2
	notConfigured = 6
	notRunning    = 7
)

// ocfDir is where the original's wrappers have the agents; the double slash is theirs.
const ocfDir = "/usr/lib/ocf/resource.d//heartbeat/"

// Run is agent.Agent.
func (a *Agent) Run(_ context.Context, c agent.Call) (agent.Result, error) {
	x := a.call(c)
	if x == nil {
		return a.usage(c)
	}
	var code int
	switch c.Op {
	case agent.Start:
		if code = x.ops.start(); code == success {
			a.Hold(c.Args[0])
		}
	case agent.Stop:
		ip, _ := netip.ParseAddr(parseTarget(c.Args[0]).ip)
		at, held := a.release(ip)
		if code = x.ops.stop(); code != success {
			a.hold(ip) // it may be there still
		} else if held {
			a.o.Announcer.Cancel(at.Link, ip) // if somebody else has removed it, stop has not found it
		}
	default: // the wrappers turn status into monitor
		code = x.ops.monitor()
	}
	return x.result(code)
}

// Renew is agent.Renewer: it announces an address that is there already, for example after a crash
// and restart. The original does not, and its neighbours keep the other node's address.
func (a *Agent) Renew(_ context.Context, c agent.Call) error {
	x := a.call(c)
	if x == nil {
		return fmt.Errorf("announce %s %s: not an address", c.Name, strings.Join(c.Args, " "))
	}
	x.ops.renew()
	a.Hold(c.Args[0])
	return nil
}

// operations are what one of the agents can do; each returns an OCF exit code.
type operations interface {
	start() int
	stop() int
	monitor() int
	renew()
}

// call is one run of a wrapper and of the agent behind it.
type call struct {
	*Agent
	c       agent.Call
	wrapper string // tag of the wrapper's lines
	tag     string // tag of the agent's lines
	ops     operations
}

// call prepares an operation; nil if the arguments are not one word.
func (a *Agent) call(c agent.Call) *call {
	if len(c.Args) != 1 {
		return nil
	}
	arg := c.Args[0]
	x := &call{Agent: a, c: c}
	t := parseTarget(arg)
	instance := c.Name + "_" + t.ip
	switch {
	case c.Name == "IPv6addr":
		instance = c.Name + "_" + arg
		x.ops = &ipv6addr{call: x, arg: arg}
	case c.Name == "IPaddr" && a.o.Dialect == halog.D12:
		x.ops = &portable{call: x, target: t}
	default:
		x.ops = &ipaddr2{call: x, target: t, lvs: c.Name == "IPaddr2"}
	}
	x.wrapper = halog.Tag(ocfDir+c.Name, instance, c.Log.NextPID())
	x.tag = halog.Tag(c.Name, instance, c.Log.NextPID())
	return x
}

func (x *call) log(format string, args ...any) {
	x.c.Log.Script(x.tag, fmt.Sprintf(format, args...))
}

// outcomes are the wrappers' words for exit codes. The gap before the words is an empty variable
// in the original.
var outcomes = map[int]string{
	success: "INFO:  Success", genericError: "ERROR:  Generic error", badArguments: "ERROR:  Illegal argument",
	notConfigured: "ERROR:  Program is not configured", notRunning: "INFO:  Resource is stopped",
}

// result is what the wrapper makes of the agent's exit code: one line for the log and for its
// standard output.
func (x *call) result(code int) (agent.Result, error) {
	text := outcomes[code]
	r := agent.Result{Code: code}
	asked := x.c.Op != agent.Start && x.c.Op != agent.Stop
	if asked {
		r.State = agent.Stopped
		if code == success {
			text, r.State = "INFO:  Running OK", agent.Running
		}
	}
	x.c.Log.Script(x.wrapper, text)
	r.Output = text + "\n"
	if code != success && !(asked && code == notRunning) {
		return r, fmt.Errorf("%s %s %s: exit code %d (%s)", x.c.Name, strings.Join(x.c.Args, " "), x.c.Op, code, strings.TrimSpace(text))
	}
	return r, nil
}

// usage is the wrappers' answer to a wrong number of arguments.
func (a *Agent) usage(c agent.Call) (agent.Result, error) {
	grammar := "<ip-address>"
	if c.Name == "IPaddr2" {
		grammar = "ip-address[/netmaskbits[/interface[:label][/broadcast]]]"
	}
	r := agent.Result{Code: genericError, Output: fmt.Sprintf("usage: %s %s (start|stop|status|usage|meta-data)\n", c.Path, grammar)}
	return r, fmt.Errorf("%s %s: %d arguments (want one: %s)", c.Name, c.Op, len(c.Args), grammar)
}

// target is an argument of IPaddr or IPaddr2, as written: ip[/mask[/nic[:label]][/broadcast]].
type target struct {
	ip, mask, nic, label, broadcast string
}

// parseTarget splits an argument as the wrappers do: a third part that begins with a digit is the
// broadcast address, anything else there the interface.
func parseTarget(arg string) (t target) {
	f := append(strings.Split(arg, "/"), "", "", "")
	t.ip, t.mask, t.nic, t.broadcast = f[0], f[1], f[2], f[3]
	if t.nic != "" && t.nic[0] >= '0' && t.nic[0] <= '9' {
		t.nic, t.broadcast = "", t.nic
	}
	t.nic, t.label, _ = strings.Cut(t.nic, ":")
	return t
}

// served looks for an address: on link if that is not empty, with this prefix length if bits is
// not negative.
func (x *call) served(ip netip.Addr, link string, bits int) (netif.Addr, bool) {
	list, err := x.o.Host.Addrs()
	if err != nil {
		x.log("ERROR: %v", err)
		return netif.Addr{}, false
	}
	for _, a := range list {
		if a.Prefix.Addr() == ip && (link == "" || a.Link == link) && (bits < 0 || a.Prefix.Bits() == bits) {
			return a, true
		}
	}
	return netif.Addr{}, false
}

// link finds an interface by name.
func (x *call) link(name string) (netif.Link, bool) {
	list, err := x.o.Host.Links()
	if err != nil {
		x.log("ERROR: %v", err)
	}
	for _, l := range list {
		if l.Name == name {
			return l, true
		}
	}
	return netif.Link{}, false
}

// remove takes an address off a link. What is known of another host with that address is forgotten
// first: from the last time that the other node had it, and packets that come here now would go
// there, whose knowledge sends them back, until they die. So they wait for its announcement.
func (x *call) remove(link string, p netip.Prefix) error {
	_ = x.o.Host.DelNeighbor(link, p.Addr()) // most often nothing is known
	return x.o.Host.DelAddr(link, p)
}

// announce begins the announcement; nothing leaves through lo.
func (x *call) announce(link string, ip netip.Addr, failure string) {
	if strings.HasPrefix(link, "lo") {
		return
	}
	x.o.Announcer.Announce(link, ip, func(err error) {
		if err != nil {
			x.log("ERROR: %s", failure)
			x.c.Log.Print(err.Error())
		}
	})
}
