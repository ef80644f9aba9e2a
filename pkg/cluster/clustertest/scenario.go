package clustertest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
)

// Config is a node's configuration with the tutorial's times and media; nodes are all nodes.
func Config(name string, seed uint64, nodes []string, groups []cluster.Group) cluster.Config {
	ring, err := hbauth.NewRing(map[int]hbauth.Key{3: {Method: hbauth.MD5, Text: "Hello!"}}, 3)
	if err != nil {
		panic(err)
	}
	c := cluster.Config{
		Node: name, Nodes: nodes, Groups: groups, Links: []string{"eth0", "eth0"},
		Pings:     []cluster.Ping{{Name: "group1", Plugin: "ping_group"}},
		Keepalive: 2 * time.Second, Deadtime: 5 * time.Second, Warntime: 3 * time.Second,
		Initdead: 10 * time.Second, Deadping: 5 * time.Second, MaxRexmitDelay: 250 * time.Millisecond,
		Failback: cluster.FailbackOn, Hooks: []string{"ask_resources", "hb_takeover", "ip-request", "ip-request-resp", "status"},
		Ring: ring, PID: 111, Hopfudge: 1, Generation: uint64(Epoch.Unix()), Seed: seed,
	}
	for i, n := range nodes {
		if n == name {
			c.UUID[0] = byte(i + 1)
			c.Seed = seed*uint64(len(nodes)+1) + uint64(i)
		}
	}
	return c
}

// ParseGroups reads lines of haresources, of which it keeps node and key.
func ParseGroups(text string) []cluster.Group {
	var groups []cluster.Group
	for _, line := range strings.Split(text, "\n") {
		if f := strings.Fields(line); len(f) > 1 {
			groups = append(groups, cluster.Group{Node: f[0], Key: f[1]})
		}
	}
	return groups
}

// Scenario is a run of the scenario language. A file begins with "cluster": its arguments are node
// names and key=value settings, its text haresources lines. The other commands:
//
//	start|stop|kill|poweroff|freeze|thaw NODE   kill is -9, poweroff takes the groups down too
//	suspend NODE                                the machine with its clocks, until thaw
//	restart|reload NODE                         with its resources given up, or kept
//	run DURATION                                prints what was logged meanwhile
//	state                                       prints a line for each machine
//	cut|heal FROM TO [both|LINK]...             packets of one direction, or of two; of one link
//	loss|dup N                                  of a thousand packets
//	delay MIN MAX                               a packet's time on its way
//	reorder on|off                              whether packets may overtake each other
//	standby|takeover NODE SET                   hb_standby, hb_takeover
//	addnode NODE NAME                           hb_addnode
//	haresources NODE NODE:MEMBER+MEMBER...      its new file, which is reread
//	slow NODE VERB DURATION                     how long calls of a verb take
//	nostart|nostop NODE GROUP on|off            whether starts, or stops, of a group fail
//	noreset NODE on|off                         whether its STONITH device fails
//	poll NODE DURATION                          how often a daemon looks at what has come
//	clock NODE DURATION                         sets the wall clock that much ahead, or back
//	wire on|off                                 whether messages are shown too, each once
type Scenario struct {
	Sim  *Sim
	out  strings.Builder
	wire bool
}

// RunFile runs one scenario file.
func RunFile(t *testing.T, path string) {
	s := &Scenario{}
	datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
		out, err := s.Do(d)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		return out
	})
}

// Do carries out one command.
func (s *Scenario) Do(d *datadriven.TestData) (string, error) {
	if d.Cmd == "cluster" {
		return "", s.build(d)
	}
	if s.Sim == nil {
		return "", fmt.Errorf("%s: no cluster yet", d.Cmd)
	}
	var words []string
	for _, a := range d.CmdArgs {
		words = append(words, a.Key)
	}
	if err := s.Command(d.Cmd, words); err != nil {
		return "", fmt.Errorf("%s %s: %w", d.Cmd, strings.Join(words, " "), err)
	}
	out := s.out.String()
	if d.Cmd != "run" && d.Cmd != "state" {
		return "", nil // what was logged at once is shown by the next run
	}
	s.out.Reset()
	return out, nil
}

func (s *Scenario) build(d *datadriven.TestData) error {
	*s = Scenario{Sim: New(1)}
	var nodes []string
	set := map[string]string{}
	for _, a := range d.CmdArgs {
		if len(a.Vals) == 0 {
			nodes = append(nodes, a.Key)
		} else {
			set[a.Key] = strings.Join(a.Vals, ",")
		}
	}
	groups := ParseGroups(d.Input)
	for _, name := range nodes {
		c := Config(name, 1, nodes, groups)
		for k, v := range set {
			if err := Set(&c, k, v); err != nil {
				return err
			}
		}
		s.Sim.Add(c)
	}
	s.Sim.OnLog = func(m *Machine, l cluster.Log) {
		s.print(m, "%s: %s", l.Level, l.Text)
	}
	s.Sim.OnSend = func(m *Machine, send cluster.Send) {
		if s.wire && send.Media == "" {
			s.print(m, "> %s", Summary(Decode(send.Bytes)))
		}
	}
	s.Sim.OnChange = func(m *Machine, key string, up bool) {
		s.print(m, "%s is %s", key, map[bool]string{true: "up", false: "down"}[up])
	}
	return nil
}

func (s *Scenario) print(m *Machine, format string, args ...any) {
	fmt.Fprintf(&s.out, "%7.3f %s %s\n", s.Sim.Now.Sub(Epoch).Seconds(), m.Name, fmt.Sprintf(format, args...))
}

// Command carries out one command of the language; its words follow.
func (s *Scenario) Command(cmd string, words []string) error {
	switch cmd {
	case "run":
		if len(words) != 1 {
			return fmt.Errorf("want a duration")
		}
		d, err := time.ParseDuration(words[0])
		if err != nil {
			return err
		}
		s.Sim.Run(d)
	case "state":
		for _, m := range s.Sim.Machines {
			fmt.Fprintln(&s.out, m.State())
		}
	case "wire":
		s.wire = len(words) > 0 && words[0] == "on"
	default:
		return s.Sim.Command(append([]string{cmd}, words...))
	}
	return nil
}

// Summary is a message on one line: its fields in order without what differs from run to run.
func Summary(m *hamsg.Msg) string {
	var b strings.Builder
	for _, f := range m.Fields() {
		switch f.Name {
		case hamsg.FOrig, hamsg.FOrigUUID, hamsg.FToUUID, hamsg.FGeneration, hamsg.FTime, hamsg.FLoad, hamsg.FTTL, hamsg.FAuth, hamsg.FProtocol:
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(f.Name + "=" + f.Value)
	}
	return b.String()
}

// Fields is a message as name=value words in order, separated by tabs; binary in hexadecimal.
func Fields(m *hamsg.Msg) string {
	var words []string
	for _, f := range m.Fields() {
		v := f.Value
		if f.Kind == hamsg.Binary {
			v = fmt.Sprintf("%x", v)
		}
		words = append(words, f.Name+"="+v)
	}
	return strings.Join(words, "\t")
}
