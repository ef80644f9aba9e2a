package resource

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/config/haresources"
)

// lock makes operations on the same resource wait for each other.
func (m *Manager) lock(word string) *sync.Mutex {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.busy[word]
	if l == nil {
		l = new(sync.Mutex)
		m.busy[word] = l
	}
	return l
}

// run runs one operation of a resource by the chosen agent. A panic of the agent counts as its
// failure.
func (j *job) run(ch choice, r haresources.Resource, op agent.Op) (agent.Result, error) {
	return j.runCall(ch, r, j.call(ch, r, op))
}

func (j *job) runCall(ch choice, r haresources.Resource, c agent.Call) (res agent.Result, err error) {
	l := j.lock(r.Word)
	l.Lock()
	defer l.Unlock()
	defer func() {
		if p := recover(); p != nil {
			j.panicked(fmt.Sprintf("%s %s", r.Word, c.Op), p)
			res, err = agent.Result{Code: 1}, fmt.Errorf("%s %s: panic: %v", r.Word, c.Op, p)
		}
	}()
	return ch.agent.Run(j.ctx, c)
}

func (j *job) call(ch choice, r haresources.Resource, op agent.Op) agent.Call {
	c := agent.Call{Op: op, Name: r.Script, Args: r.Args, Path: ch.path, Log: j.o.Log}
	if !ch.builtin {
		c.Env = j.environ(j.env)
	}
	return c
}

// owned reports whether the resource is running here, by the text that its status prints. s writes
// the lines about it.
func (j *job) owned(s script, r haresources.Resource) bool {
	ch, ok := j.choose(s, r.Script)
	if !ok {
		s.log("ERROR: Cannot locate resource script %s", r.Script)
		return false
	}
	res, err := j.run(ch, r, agent.Status)
	j.explain(ch, res, err)
	return isOwned(res.Output)
}

// explain writes an error to the debug file if nobody else has said what it says.
func (j *job) explain(ch choice, r agent.Result, err error) {
	if err != nil && (ch.builtin && r.Output == "" || !ch.builtin && r.Code >= shellCodes) {
		j.o.Log.Print(err.Error())
	}
}

// shellCodes are the exit codes that a script does not give itself: not to be run, killed.
const shellCodes = 126

// notRunning is the text that outweighs the words of isOwned, as the shell pattern has it.
var notRunning = regexp.MustCompile(`(?s)[nN][oO][tT] .*[rR]unning`)

// isOwned is ResourceManager's rule for what a status prints: "not running" in any writing of "not"
// is not owned; "running", "Running" or "OK" anywhere is; all else is not.
func isOwned(status string) bool {
	return !notRunning.MatchString(status) &&
		(strings.Contains(status, "running") || strings.Contains(status, "Running") || strings.Contains(status, "OK"))
}

// operation is a start or stop whose lines about its beginning are in the log.
type operation struct {
	choice   choice
	found    bool // there is something to run
	resource haresources.Resource
	op       agent.Op
	words    string // as the log has them
}

// operate starts or stops a resource and returns its exit status.
func (j *job) operate(s script, r haresources.Resource, op agent.Op) int {
	return j.carryOut(s, j.begin(s, r, op))
}

// begin logs that an operation is run.
func (j *job) begin(s script, r haresources.Resource, op agent.Op) *operation {
	o := &operation{resource: r, op: op}
	if o.choice, o.found = j.choose(s, r.Script); !o.found {
		s.log("ERROR: Cannot locate resource script %s", r.Script)
		s.log("ERROR: Cannot locate resource script %s", r.Script)
		return o
	}
	o.words = fmt.Sprintf("%s %s %s", o.choice.path, strings.Join(r.Args, " "), op) // two blanks if there are no arguments
	s.log("info: Running %s", o.words)
	s.log("debug: Starting %s", o.words)
	return o
}

// carryOut runs it and returns its exit status.
func (j *job) carryOut(s script, o *operation) int {
	if !o.found {
		return 1
	}
	res, err := j.run(o.choice, o.resource, o.op)
	return j.ended(s, o, res, err)
}

// ended logs how an operation ended and returns its exit status.
func (j *job) ended(s script, o *operation, res agent.Result, err error) int {
	if err != nil && res.Code == 0 {
		res.Code = 1
	}
	j.o.Log.Print(res.Output)
	j.explain(o.choice, res, err)
	s.log("debug: %s done. RC=%d", o.words, res.Code)
	if res.Code != 0 {
		s.log("ERROR: Return code %d from %s", res.Code, o.choice.path)
	}
	return res.Code
}

// renew does what a resource that runs already needs when its group is taken.
func (j *job) renew(s script, r haresources.Resource) {
	ch, ok := j.choose(s, r.Script)
	if !ok {
		return
	}
	a, ok := ch.agent.(agent.Renewer)
	if !ok {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			j.panicked(r.Word, p)
		}
	}()
	if err := a.Renew(j.ctx, j.call(ch, r, agent.Start)); err != nil {
		j.o.Log.Print(err.Error())
	}
}

// Owned reports whether a resource is running here, as `ResourceManager status` finds it.
func (m *Manager) Owned(ctx context.Context, word string) bool {
	j := &job{Manager: m, ctx: ctx}
	return j.owned(m.script("ResourceManager"), haresources.Split(word))
}
