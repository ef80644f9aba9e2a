package applet

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/api"
	"github.com/systole-ha/systole/pkg/cluster/ipfail"
	"github.com/systole-ha/systole/pkg/halog"
)

// ipfailProgram is ipfail as a process of its own, for an original heartbeat, or for who wants it so:
// our heartbeat does the same inside.
var ipfailProgram = program{
	name:    "ipfail",
	summary: "give up the resources when the other node sees more ping nodes (heartbeat's respawn starts it)",
	usage:   "respawn hacluster /usr/libexec/heartbeat/ipfail   (a line of ha.cf)",
	run:     runIpfail,
}

// Exit codes of ipfail (contrib/ipfail/ipfail.c). heartbeat does not start it again after noRestart.
const (
	ipfailNoDaemon  = 1
	ipfailNoFilter  = 8
	ipfailNoNodes   = 9
	ipfailNoSignal  = 13
	ipfailNoSignOff = 15
	noRestart       = 100
)

func runIpfail(env Env, _ []string) int {
	paths := clientPaths(env)
	log := clientLog(env, paths, "ipfail", "daemon")
	defer log.Close()
	p := &ipfailRun{all: log, log: log.Logger("ipfail", os.Getpid())}
	var err error
	if p.client, err = api.Dial(paths.Socket, "ipfail", time.Time{}); err != nil {
		p.log.Logf(halog.Debug, "PID=%d", os.Getpid())
		p.log.Log(halog.Debug, "Signing in with heartbeat")
		p.log.Log(halog.Error, "Cannot sign on with heartbeat")
		p.log.Log(halog.Error, "REASON: "+signOnReason(err))
		return ipfailNoDaemon
	}
	if code := p.begin(); code != exitOK {
		_ = p.client.Close()
		return code
	}
	return p.loop()
}

// ipfailRun is one run of ipfail.
type ipfailRun struct {
	all     *halog.Log
	log     *halog.Logger
	client  *api.Client
	machine *ipfail.Machine
	err     error // that ended a question
}

// begin asks for what ipfail works with.
func (p *ipfailRun) begin() int {
	cfg := ipfail.Config{Self: p.client.Daemon.Node, Keepalive: p.client.Daemon.Keepalive, PID: os.Getpid()}
	if _, err := p.client.Resources(); err != nil {
		p.log.Log(halog.Error, "No managed resources")
		return noRestart
	}
	value, ok, err := p.client.Param("auto_failback")
	switch {
	case err != nil || !ok:
		p.log.Log(halog.Error, "Couldn't get auto_failback setting.")
	case strings.EqualFold(value, "legacy"):
		p.log.Log(halog.Error, "auto_failback set to incompatible legacy option.")
		return noRestart
	default:
		if cfg.AutoFailback, ok = yesNo(value); !ok {
			p.log.Logf(halog.Error, " invalid auto_faiback value(%s)", value)
			return noRestart
		}
	}
	if err := p.client.SetFilter(1); err != nil {
		p.log.Log(halog.Error, "Cannot set filter mode")
		p.log.Log(halog.Error, "REASON: "+refusal(err))
		return ipfailNoFilter
	}
	nodes, err := p.client.Nodes()
	if err != nil {
		p.log.Log(halog.Error, "Cannot start node walk")
		p.log.Log(halog.Error, "REASON: "+refusal(err))
		return ipfailNoNodes
	}
	for _, n := range nodes {
		cfg.Nodes = append(cfg.Nodes, ipfail.NodeStatus{Node: n.Name, Status: n.Status})
		if n.Type == "normal" && n.Name != cfg.Self {
			cfg.Peer = n.Name // the last walked is the first configured
		}
	}
	if err := p.client.SetSignal(0); err != nil {
		p.log.Log(halog.Error, "Cannot set message signal")
		p.log.Log(halog.Error, "REASON: "+refusal(err))
		return ipfailNoSignal
	}
	var actions []ipfail.Action
	p.machine, actions = ipfail.Start(cfg)
	p.act(actions)
	p.all.SetStderr(nil)
	return exitOK
}

// yesNo reads a boolean as ha.cf has them.
func yesNo(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "true", "on", "yes", "y", "1":
		return true, true
	case "false", "off", "no", "n", "0":
		return false, true
	}
	return false, false
}

// loop takes messages until a signal ends it, or the daemon.
func (p *ipfailRun) loop() int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	defer signal.Stop(signals)
	go func() { // ends with the process
		<-signals
		p.client.Interrupt()
	}()
	for p.err == nil {
		at, _ := p.machine.Deadline()
		m, err := p.client.Receive(at)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			p.step(ipfail.Tick{})
		case err != nil:
			p.err = err
		default:
			in, err := ipfail.Read(m)
			if err != nil {
				p.log.Log(halog.Warn, err.Error())
			}
			if in != nil {
				p.step(in)
			}
		}
	}
	if !errors.Is(p.err, api.ErrInterrupted) {
		p.log.Logf(halog.Error, "heartbeat is gone: %v", p.err)
		return ipfailNoDaemon
	}
	if err := p.client.Close(); err != nil {
		p.log.Log(halog.Error, fmt.Sprintf("Cannot sign off from heartbeat: %v", err))
		return ipfailNoSignOff
	}
	return exitOK
}

func (p *ipfailRun) step(in ipfail.Input) { p.act(p.machine.Step(time.Now(), in, p)) }

// PingNodes is ipfail.View.
func (p *ipfailRun) PingNodes() []string {
	nodes, err := p.client.Nodes()
	p.note(err)
	var names []string
	for _, n := range nodes {
		if n.Status == "ping" {
			names = append(names, n.Name)
		}
	}
	return names
}

// Stable is ipfail.View. An answer that is none counts as stable, as with the original.
func (p *ipfailRun) Stable() bool {
	held, err := p.client.Resources()
	p.note(err)
	return held != "transition"
}

// HoldsForeign is ipfail.View. In transition the API does not tell what is held: then it may be so.
func (p *ipfailRun) HoldsForeign() bool {
	held, err := p.client.Resources()
	p.note(err)
	return held == "foreign" || held == "all" || held == "transition"
}

// AwaitsSync is ipfail.View. The API of heartbeat cannot be asked that.
func (p *ipfailRun) AwaitsSync() bool { return false }

// note keeps an error that is the end; a refusal is not.
func (p *ipfailRun) note(err error) {
	var refused *api.RefusedError
	if err != nil && !errors.As(err, &refused) {
		p.err = err
	}
}

func (p *ipfailRun) act(actions []ipfail.Action) {
	for _, a := range actions {
		if p.err != nil {
			return // what was decided with half an answer is not carried out
		}
		switch a := a.(type) {
		case ipfail.Log:
			prio := halog.Info
			if a.Debug {
				prio = halog.Debug
			}
			p.log.Log(prio, a.Text)
		case ipfail.Tell:
			p.err = p.client.Send(ipfail.Message(a.Fields))
		case ipfail.Broadcast:
			p.err = p.client.Send(ipfail.Message(a.Fields))
		}
	}
}
