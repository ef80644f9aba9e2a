package clustertest

import (
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
)

// Result is what a run has shown.
type Result struct {
	// Err is what was wrong, or nil.
	Err error
	// Hash is over every packet, log line, call, ownership and action, with its time.
	Hash [sha256.Size]byte
	// Longest are the longest times that the watch has seen.
	Longest map[string]time.Duration
}

// Option changes how a plan is run.
type Option func(*runner)

// Hashed computes Result.Hash.
func Hashed(r *runner) { r.hashed = true }

// Told writes the run as a story: when, who, what, and who owns which group then. With messages set
// it tells of every message but heartbeats too.
func Told(w io.Writer, messages bool) Option {
	return func(r *runner) { r.story, r.messages = w, messages }
}

// Alter has f change the cluster before it runs.
func Alter(f func(*Sim)) Option { return func(r *runner) { r.alter = f } }

type runner struct {
	*Watch
	hashed   bool
	hash     [sha256.Size]byte
	story    io.Writer
	messages bool
	alter    func(*Sim)
}

// Run runs a plan to its end, then repairs everything, starts every node, and wants the cluster to
// settle and to be quiet.
func (p *Plan) Run(options ...Option) (res Result) {
	sim, err := p.build()
	if err != nil {
		return Result{Err: err}
	}
	r := &runner{}
	for _, o := range options {
		o(r)
	}
	if r.alter != nil {
		r.alter(sim)
	}
	r.observe(sim)
	r.Watch = NewWatch(sim, p)
	defer func() {
		if x := recover(); x != nil {
			stuck, ok := x.(Stuck)
			if !ok {
				panic(fmt.Sprintf("%v\n%s", x, p))
			}
			r.fail("%s", stuck.State)
		}
		res = Result{Err: r.Err, Hash: r.hash, Longest: r.Longest}
	}()
	for _, s := range p.Steps {
		r.pass(s.At - sim.Elapsed())
		if err := r.command(strings.Fields(s.Command)); err != nil {
			r.fail("%s: %v", s.Command, err)
		}
		if r.Err != nil {
			return res
		}
	}
	r.pass(time.Duration(p.Seed%7) * time.Second)
	r.end()
	return res
}

// look is how often the watch looks.
const look = 500 * time.Millisecond

// pass lets time go by, until something is wrong.
func (r *runner) pass(d time.Duration) {
	for end := r.Sim.Elapsed() + d; r.Sim.Elapsed() < end && r.Err == nil; r.Look() {
		r.Sim.Run(min(look, end-r.Sim.Elapsed()))
	}
}

func (r *runner) command(words []string) error {
	r.tell("---", "%s", strings.Join(words, " "))
	r.Command(words)
	err := r.Sim.Command(words)
	r.Commanded()
	return err
}

// end mends everything, and waits.
func (r *runner) end() {
	s := r.Sim
	r.tell("---", "all is mended, and all are started")
	r.Command([]string{"heal"})
	s.Loss, s.Dup = 0, 0
	for _, a := range s.Machines {
		for _, b := range s.Machines {
			s.Cut(a.Name, b.Name, "", false)
		}
		a.NoReset = false
		clear(a.NoStart)
		clear(a.NoStop)
	}
	for _, m := range s.Machines {
		m.Thaw()
	}
	r.Commanded()
	for _, m := range s.Machines {
		if r.newest != nil && !slices.Equal(m.lines(), r.newest) {
			if err := r.command(append([]string{"haresources", m.Name}, lineWords(r.newest)...)); err != nil {
				r.fail("%v", err)
			}
		}
	}
	limit := s.Elapsed() + 2*r.bound + time.Minute
	const quiet = 28 * time.Second // a whole window of messages at least, when all is over
	settled := time.Duration(-1)   // since when
	for s.Elapsed() < limit && r.Err == nil && (settled < 0 || s.Elapsed() < settled+quiet) {
		for _, m := range s.Machines {
			if m.Engine == nil && m.Stopped {
				if err := r.command([]string{"start", m.Name}); err != nil {
					r.fail("%v", err)
				}
			}
		}
		r.pass(time.Second)
		switch {
		case !r.isSettled():
			settled = -1
		case settled < 0:
			settled = s.Elapsed()
		}
	}
	if settled < 0 {
		r.fail("the cluster does not settle: %v", r.agreement())
	}
}

// observe sets up the story and the hash.
func (r *runner) observe(sim *Sim) {
	if r.story == nil && !r.hashed {
		return
	}
	sim.OnLog = func(m *Machine, l cluster.Log) {
		r.note(m.Name, l.Text)
		r.tell(m.Name, "%s: %s", l.Level, l.Text)
	}
	sim.OnSend = func(m *Machine, s cluster.Send) {
		r.note(m.Name, s.Media, string(s.Bytes))
		if r.messages && s.Media == "" && s.Type != "status" {
			r.tell(m.Name, "> %s", Summary(Decode(s.Bytes)))
		}
	}
	sim.OnCall = func(m *Machine, c cluster.Call, begins bool) {
		r.note(m.Name, c.String(), strings.Join(c.Env, " "), fmt.Sprint(begins))
		if keys := m.keysOf(c); begins && len(keys) > 0 {
			r.tell(m.Name, "begins %s", c)
		}
	}
	sim.OnChange = func(m *Machine, key string, up bool) {
		r.note(m.Name, key, fmt.Sprint(up))
		if up {
			r.tell(m.Name, "%s is up", key)
		} else {
			r.tell(m.Name, "%s is down", key)
		}
	}
	sim.OnStep = func(m *Machine, actions []cluster.Action) {
		for _, a := range actions {
			switch a := a.(type) {
			case cluster.Deliver:
				r.note(m.Name, fmt.Sprint(a.Kind), Fields(a.Msg))
			case cluster.NodeChanged, cluster.LinkChanged, cluster.CommUp, cluster.StopClients, cluster.SaveDeleted:
				r.note(m.Name, fmt.Sprintf("%T %+v", a, a))
			case cluster.Exit:
				r.note(m.Name, fmt.Sprintf("%+v", a))
				r.tell(m.Name, "ends: %+v", a)
			}
		}
	}
}

func (r *runner) note(words ...string) {
	if r.hashed {
		r.hash = sha256.Sum256(fmt.Appendf(r.hash[:], "%v %q", r.Sim.Now.UnixNano(), words))
	}
}

// tell adds a line to the story.
func (r *runner) tell(who, format string, args ...any) {
	if r.story == nil {
		return
	}
	var own []string
	for _, g := range r.groups {
		if owners := r.Sim.Owners(g.key); len(owners) > 0 {
			own = append(own, g.key+" "+strings.Join(owners, "+"))
		} else {
			own = append(own, g.key+" -")
		}
	}
	fmt.Fprintf(r.story, "%9.3f  [%s]  %-8s %s\n", r.Sim.Elapsed().Seconds(), strings.Join(own, ", "), who, fmt.Sprintf(format, args...))
}
