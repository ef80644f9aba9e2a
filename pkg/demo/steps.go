package demo

import (
	"errors"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// step is one act: say what is coming, do it, wait until the wanted state is there, let the client
// look at it for a moment, report.
type step struct {
	name  string
	tell  string // what happens now, and what is to be seen
	act   func() error
	until func() bool
	limit time.Duration
	after time.Duration // how long the client goes on looking
}

// steps are section 7 of the tutorial.
func (s *story) steps() []step {
	h := s.hosts
	both := func() bool { return s.listed("172.16.60.204:80") && s.listed("172.16.60.205:80") }
	return []step{
		{
			"both directors start",
			"The nodes find each other by heartbeats. Ten seconds later, as with the original, ha-master, which haresources\nnames, brings the virtual address up and starts ldirectord, which puts the real servers that answer into the table.",
			func() error { return errors.Join(s.start(h.Master), s.start(h.Slave)) },
			func() bool { return h.Master.HoldsVIP() && s.answered("rs-204", "rs-205") }, 40 * time.Second, time.Second,
		},
		{
			"requests are spread",
			"Nothing happens: the client's nine addresses are spread over both real servers, and each stays with its own\nfor 600 s (persistent).",
			func() error { return nil },
			func() bool { return true }, time.Second, time.Second,
		},
		{
			"rs-204's web server dies",
			"ldirectord asks for a test page every second; a real server that does not answer is taken out.",
			h.Real[0].StopWeb,
			func() bool { return s.only("rs-205") }, 15 * time.Second, time.Second,
		},
		{
			"rs-204 returns",
			"It is put back. Persistence keeps the clients where they are: only the table shows it.",
			h.Real[0].StartWeb,
			func() bool { return s.listed("172.16.60.204:80") }, 15 * time.Second, time.Second,
		},
		{
			"both real servers die",
			"With nobody left the fallback steps in: a page of the director's own that says sorry.",
			func() error { return errors.Join(h.Real[0].StopWeb(), h.Real[1].StopWeb()) },
			func() bool { return s.only("sorry page") }, 15 * time.Second, time.Second,
		},
		{
			"both return",
			"They take the place of the fallback.",
			func() error { return errors.Join(h.Real[0].StartWeb(), h.Real[1].StartWeb()) },
			func() bool { return both() && s.recent() && !s.answered("sorry page") }, 15 * time.Second, time.Second,
		},
		{
			"ha-master is stopped",
			"For maintenance, say. It hands its resources over before it goes.",
			func() error { return s.stop(h.Master) },
			func() bool { return h.Slave.HoldsVIP() && !h.Master.HoldsVIP() && s.recent() }, 30 * time.Second, time.Second,
		},
		{
			"ha-master starts and takes back",
			"auto_failback is on: ha-slave gives the resources back.",
			func() error { return s.start(h.Master) },
			// For its first five seconds a node asks for two more seconds of patience (its deadtime is 7).
			func() bool { return h.Master.HoldsVIP() && !h.Slave.HoldsVIP() && s.recent() }, 40 * time.Second, 5 * time.Second,
		},
		{
			"ha-master loses power",
			"Nobody hands anything over now: ha-slave hears nothing for deadtime, 5 s, and takes the resources.",
			h.Master.PowerOff,
			func() bool { return h.Slave.HoldsVIP() && s.recent() }, 30 * time.Second, time.Second,
		},
	}
}

func (s *story) start(d *lab.Director) error { return done(d.Start(s.ctx)) }

func (s *story) stop(d *lab.Director) error { return done(d.Stop(s.ctx)) }
