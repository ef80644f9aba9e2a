package ldirectord

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/systole-ha/systole/pkg/director"
)

// programGrace is how long programs that run at an orderly end may go on. stopGrace is the same for
// stops of other configurations (execute): one may have to wait for a start to be given up, and has
// programs of its own to wait for.
const (
	programGrace = 5 * time.Second
	stopGrace    = 3 * programGrace
)

// programs runs what the configuration names: fallbackcommand, callback, and the other
// configurations of execute. Nobody waits for them; those of one key run one after the other.
type programs struct {
	log   *Log
	ctx   context.Context // ends some time after the service
	stops context.Context // ends later: what is to be stopped would go on for ever
	group sync.WaitGroup

	end, endStops func()

	mu     sync.Mutex
	queues map[string][]func() // of the keys that have one running
}

func newPrograms(log *Log) *programs {
	stops, endStops := context.WithCancel(context.Background())
	ctx, end := context.WithCancel(stops)
	return &programs{log: log, ctx: ctx, stops: stops, end: end, endStops: endStops, queues: map[string][]func(){}}
}

// do has f run after what was given before under the same key, even if the time is over: f looks.
func (p *programs) do(key string, f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	queue, busy := p.queues[key]
	p.queues[key] = append(queue, f)
	if !busy {
		p.group.Go(func() { p.work(key) })
	}
}

func (p *programs) work(key string) {
	for {
		p.mu.Lock()
		queue := p.queues[key]
		if len(queue) == 0 {
			delete(p.queues, key)
			p.mu.Unlock()
			return
		}
		p.queues[key] = queue[1:]
		p.mu.Unlock()
		queue[0]()
	}
}

// wait waits until all have ended; those that take longer than they may get TERM, with all their
// children. orderly is the end that a stop has asked for; else none may go on.
func (p *programs) wait(orderly bool) {
	grace, stops := programGrace, stopGrace
	if !orderly {
		grace, stops = 0, 0
	}
	kill, killStops := time.AfterFunc(grace, p.end), time.AfterFunc(stops, p.endStops)
	defer kill.Stop()
	defer killStops.Stop()
	p.group.Wait()
	p.endStops()
}

// shell runs a command through the shell, and logs a failure in the original's words.
func (p *programs) shell(key, command string) {
	p.do(key, func() {
		if p.ctx.Err() != nil {
			return
		}
		cmd := exec.CommandContext(p.ctx, "/bin/sh", "-c", command)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
		cmd.WaitDelay = time.Second
		if err := cmd.Run(); err != nil {
			p.log.Printf("system(%s) failed: %v", command, err)
		}
	})
}

// fallbackCommand runs a service's command: COMMAND start|stop ADDR:PORT PROTOCOL. A mark has no
// address, and port 0.
func (p *programs) fallbackCommand(a director.FallbackCommand) {
	v := a.Virtual
	addr := ":0"
	if v.VIP.FWMark == 0 {
		addr = v.VIP.Addr.String()
	}
	p.shell(v.ID(), v.FallbackCommand+" "+a.Word+" "+addr+" "+v.Protocol)
}

// executed is the other configurations that run with this one (execute).
type executed struct {
	run   func(ctx context.Context, name, action string) int
	own   string // this instance's name, which is left out
	jobs  *programs
	names []string
}

// use starts those that are new, reloads those that were there, and stops those that are gone.
func (e *executed) use(names []string) {
	was := e.names
	e.names = nil
	for _, n := range names {
		switch {
		case slices.Contains(e.names, n):
			continue
		case filepath.Base(n) == e.own:
			e.jobs.log.Printf("execute=%s: that is this instance itself: not run", n)
			continue
		}
		e.names = append(e.names, n)
	}
	for _, n := range was {
		if !slices.Contains(e.names, n) {
			e.do(n, "stop")
		}
	}
	for _, n := range e.names {
		if slices.Contains(was, n) {
			e.do(n, "reload", "start")
		} else {
			e.do(n, "start")
		}
	}
}

// stop stops all.
func (e *executed) stop() {
	for _, n := range e.names {
		e.do(n, "stop")
	}
	e.names = nil
}

// do carries out actions on one, each if the one before failed. One configuration waits for no other;
// a stop is not left out because the time of what came before it is over.
func (e *executed) do(name string, actions ...string) {
	if e.run == nil {
		return
	}
	e.jobs.do("execute "+name, func() { // no service has such an identity
		for _, action := range actions {
			ctx := e.jobs.ctx
			if action == "stop" {
				ctx = e.jobs.stops
			}
			if ctx.Err() != nil {
				return
			}
			status := e.run(ctx, name, action)
			if status == 0 {
				return
			}
			e.jobs.log.Printf("system(ldirectord %s %s) failed: exit status %d", name, action, status)
		}
	})
}
