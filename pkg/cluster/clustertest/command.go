package clustertest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
)

// Set gives a field of a configuration its value, by the name that scenarios have for it:
// keepalive, deadtime, warntime, initdead, deadping; failback on|off|legacy; links, comma
// separated; ping, a name or "none"; stonith, the name of a device.
func Set(c *cluster.Config, name, value string) error {
	durations := map[string]*time.Duration{
		"keepalive": &c.Keepalive, "deadtime": &c.Deadtime, "warntime": &c.Warntime,
		"initdead": &c.Initdead, "deadping": &c.Deadping, "rexmit": &c.MaxRexmitDelay,
		"failbacksync": &c.FailbackSync,
	}
	if p := durations[name]; p != nil {
		var err error
		*p, err = time.ParseDuration(value)
		return err
	}
	switch name {
	case "failback":
		f, ok := map[string]cluster.Failback{"on": cluster.FailbackOn, "off": cluster.FailbackOff, "legacy": cluster.FailbackLegacy}[value]
		if !ok {
			return fmt.Errorf("failback %s: want on, off or legacy", value)
		}
		c.Failback = f
	case "links":
		c.Links = strings.Split(value, ",")
	case "stonith":
		c.Stonith = value
	case "ping":
		c.Pings = nil
		if value != "none" {
			c.Pings = []cluster.Ping{{Name: value, Plugin: "ping"}}
		}
	default:
		return fmt.Errorf("no setting %s", name)
	}
	return nil
}

// Command carries out one command of the scenario language: see [Scenario].
func (s *Sim) Command(words []string) error {
	args := words[1:]
	want := map[string]int{
		"start": 1, "stop": 1, "restart": 1, "reload": 1, "kill": 1, "poweroff": 1, "freeze": 1, "suspend": 1, "thaw": 1,
		"cut": 2, "heal": 2, "loss": 1, "dup": 1, "delay": 2, "reorder": 1, "standby": 2, "takeover": 2,
		"slow": 3, "nostart": 3, "nostop": 3, "poll": 2, "clock": 2, "noreset": 2, "addnode": 2,
		"haresources": 1,
	}
	n, ok := want[words[0]]
	if !ok || len(args) < n {
		return fmt.Errorf("%s: no such command, or want %d words", words[0], n)
	}
	switch words[0] {
	case "cut", "heal":
		return s.commandCut(words[0] == "cut", args)
	case "loss", "dup":
		p := map[string]*int{"loss": &s.Loss, "dup": &s.Dup}[words[0]]
		var err error
		*p, err = strconv.Atoi(args[0])
		return err
	case "delay":
		return durations(args, &s.MinDelay, &s.MaxDelay)
	case "reorder":
		s.Reorder = args[0] == "on"
		return nil
	}
	i := slices.IndexFunc(s.Machines, func(m *Machine) bool { return m.Name == args[0] })
	if i < 0 {
		return fmt.Errorf("no machine %s", args[0])
	}
	return s.Machines[i].command(words[0], args[1:])
}

func (s *Sim) commandCut(cut bool, args []string) error {
	link, both := "", false
	for _, a := range args[2:] {
		if a == "both" {
			both = true
		} else {
			link = a
		}
	}
	s.Cut(args[0], args[1], link, cut)
	if both {
		s.Cut(args[1], args[0], link, cut)
	}
	return nil
}

func durations(words []string, into ...*time.Duration) error {
	for i, p := range into {
		d, err := time.ParseDuration(words[i])
		if err != nil {
			return err
		}
		*p = d
	}
	return nil
}

func (m *Machine) command(cmd string, args []string) error {
	switch cmd {
	case "start":
		m.Start()
	case "stop":
		m.Stop()
	case "restart":
		m.Step(cluster.Shutdown{Restart: true})
	case "reload":
		m.Step(cluster.Reread{ConfigChanged: true})
	case "kill":
		m.Kill()
	case "poweroff":
		m.PowerOff()
	case "freeze":
		m.Freeze()
	case "suspend":
		m.Suspend()
	case "thaw":
		m.Thaw()
	case "standby":
		m.Tell("t=ask_resources", "rsc_hold="+args[0], "info=me")
	case "takeover":
		m.Tell("t=hb_takeover", "rsc_hold="+args[0])
	case "addnode":
		m.Tell("t=addnode", "nodelist="+args[0])
	case "nostart":
		m.NoStart[args[0]] = args[1] == "on"
	case "noreset":
		m.NoReset = args[0] == "on"
	case "nostop":
		m.NoStop[args[0]] = args[1] == "on"
	case "slow":
		var d time.Duration
		if err := durations(args[1:], &d); err != nil {
			return err
		}
		m.CallTime[cluster.Verb(args[0])] = d
	case "poll":
		return durations(args, &m.Poll)
	case "haresources":
		groups, err := parseLines(args)
		if err != nil {
			return err
		}
		m.Haresources(groups)
	case "clock":
		return durations(args, &m.Clock)
	}
	return nil
}
