package resource

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/halog"
)

// Options is what a Manager works with.
type Options struct {
	Node   string                     // own name, lower case (HA_CURHOST)
	Groups func() []haresources.Group // haresources as it is now; called for each operation, as the original reads the file each time
	Log    *halog.Log                 // where script lines go
	Agents map[string]agent.Agent     // in-process agents by resource name: IPaddr, IPaddr2, IPv6addr, ipvsadm, ldirectord
	Script agent.Agent                // runs any other resource as a child (agent/script)
	Paths  Paths                      // zero value: the usual places
	Env    []string                   // what children get besides our own environment: HA_* of ha.cf, as "NAME=value". HA_debug among them becomes Log's level of the moment
	// Builtin are names whose agents of Agents are used whatever script is in their place (systole.cf builtin).
	Builtin []string
	// Say sends a message to the cluster outside of a call, as hb_standby does: the standby that
	// follows a failed start. The text is as in cluster.Said.
	Say func(text []byte)
	// Later, if set, has hb_standby run after a time, for a program that does not stay for Run.
	Later func(after time.Duration, what string)

	StopRetries   int           // 0: HA_STOPRETRYMAX of Env, else 10; negative: for ever
	RetryDelay    time.Duration // between failed stops; 0: 1 s
	StandbyDelay  time.Duration // from a failed start, or a failed stop with GoStandby, to hb_standby; 0: 30 s
	StopFailure   StopFailure   // what to do about a resource that cannot be stopped
	Reboot        func()        // ends this machine at once; nil: nothing is done but a CRIT line
	AlwaysForeign bool          // after a failed start say "foreign" for own groups too, as the original does
}

// StopFailure is what follows when a resource is still running after the last attempt to stop it
// (systole.cf stopfailure).
type StopFailure uint8

// The answers to a failed stop.
const (
	RebootNow StopFailure = iota // the original's: protects shared data
	GoStandby                    // hb_standby of everything, and leave the resource
	OnlyLog                      // CRIT lines only
)

// ParseStopFailure is what systole.cf's word means.
func ParseStopFailure(word string) StopFailure {
	return map[string]StopFailure{"standby": GoStandby, "log": OnlyLog}[word]
}

// Paths are the places of scripts. Empty fields have the usual values, given here.
type Paths struct {
	HaDir     string // /etc/ha.d; harc and rc.d are in it
	ResourceD string // HA_RESOURCEDIR of Env, else resource.d in HaDir
	InitD     string // /etc/init.d
	Programs  string // /usr/share/heartbeat: ResourceManager, mach_down, req_resource as log lines name them
	HaBin     string // /usr/libexec/heartbeat
}

// Manager takes and gives up resource groups.
type Manager struct {
	o    Options
	wake chan struct{}

	mu       sync.Mutex
	busy     map[string]*sync.Mutex // by resource word: one operation at a time
	reported map[string]string      // what was said about the choice of an agent, by name
	standbys []standby
	stuck    map[string]bool // resources whose last stop has failed, with GoStandby
}

// standby is an hb_standby that is due some time after a failed start or stop.
type standby struct {
	due  time.Time
	what string
}

// New makes a Manager. It starts nothing.
func New(o Options) *Manager {
	or := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	or(&o.Paths.HaDir, "/etc/ha.d")
	or(&o.Paths.ResourceD, lookup(o.Env, "HA_RESOURCEDIR"))
	or(&o.Paths.ResourceD, os.Getenv("HA_RESOURCEDIR")) // of the init script
	or(&o.Paths.ResourceD, o.Paths.HaDir+"/resource.d")
	or(&o.Paths.InitD, "/etc/init.d")
	or(&o.Paths.Programs, "/usr/share/heartbeat")
	or(&o.Paths.HaBin, "/usr/libexec/heartbeat")
	if o.StopRetries == 0 {
		o.StopRetries = 10
		if n, err := strconv.Atoi(lookup(append(os.Environ(), o.Env...), "HA_STOPRETRYMAX")); err == nil {
			o.StopRetries = n
			if n <= 0 {
				o.StopRetries = -1
			}
		}
	}
	if o.RetryDelay == 0 {
		o.RetryDelay = time.Second
	}
	if o.StandbyDelay == 0 {
		o.StandbyDelay = 30 * time.Second
	}
	return &Manager{o: o, wake: make(chan struct{}, 1), busy: map[string]*sync.Mutex{}, reported: map[string]string{}, stuck: map[string]bool{}}
}

// lookup is the value of a variable, the last one if it is there twice.
func lookup(env []string, name string) (value string) {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	return value
}

// Run carries out what is due later: the standby some time after a failed start or stop. It returns when
// ctx ends.
func (m *Manager) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		case <-timer.C:
		}
		due, next := m.dueStandbys(time.Now())
		for _, what := range due {
			if text := m.Standby(what); m.o.Say != nil {
				m.o.Say(text)
			}
		}
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

func (m *Manager) dueStandbys(now time.Time) (due []string, next time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rest := m.standbys[:0]
	for _, s := range m.standbys {
		switch {
		case !s.due.After(now):
			due = append(due, s.what)
			continue
		case next.IsZero() || s.due.Before(next):
			next = s.due
		}
		rest = append(rest, s)
	}
	m.standbys = rest
	return due, next
}

// standbyLater has Run ask for a standby.
func (m *Manager) standbyLater(after time.Duration, what string) {
	if m.o.Later != nil {
		m.o.Later(after, what)
		return
	}
	m.mu.Lock()
	m.standbys = append(m.standbys, standby{time.Now().Add(after), what})
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// job is one call: what it was given and what it wants to say.
type job struct {
	*Manager
	ctx context.Context
	env []string
	say [][]byte
}

// Do carries out one call of the engine and returns its outcome; the ID of the Done is for the
// caller to fill in. It blocks as long as the agents and scripts take, without limit, as in the
// original; when ctx ends, children are killed and the rest of the call is left undone. Calls may
// be made at the same time; operations on the same resource wait for each other.
func (m *Manager) Do(ctx context.Context, c cluster.Call) (done cluster.Done) {
	j := &job{Manager: m, ctx: ctx, env: c.Env}
	defer func() {
		if p := recover(); p != nil {
			m.panicked(c.String(), p)
			done.Code = 1
		}
		done.Say = j.say
	}()
	switch c.Verb {
	case cluster.TakeGroup:
		done.Code = j.takeGroup(c.Arg)
	case cluster.GiveGroup:
		done.Code = j.giveGroup(c.Arg)
	case cluster.ReqResource:
		done.Code = j.reqResource(c.Arg)
	case cluster.DropGroup:
		done.Code = j.dropGroup(c.Arg)
	case cluster.Harc:
		done.Code, done.Signal = j.harc(c.Arg)
	default:
		done.Code = 1
	}
	return done
}

// panicked tells of a panic, which counts as a failure of what was done.
func (m *Manager) panicked(what string, p any) {
	m.script("ResourceManager").log("CRIT: internal error in %s: %v (the stack is in the debug file)", what, p)
	m.o.Log.Print(string(debug.Stack()))
}

// script is one run of a program of the original that writes log lines under its own tag.
type script struct {
	l   *halog.Log
	tag string
}

func (m *Manager) script(name string) script {
	return script{m.o.Log, halog.Tag(name, "default", m.o.Log.NextPID())}
}

func (s script) log(format string, args ...any) { s.l.Script(s.tag, fmt.Sprintf(format, args...)) }

// field is one line of a message.
type field struct{ name, value string }

// message is the text in which scripts hand messages to heartbeat's FIFO.
func message(fields ...field) []byte {
	b := []byte(">>>\n")
	for _, f := range fields {
		b = fmt.Appendf(b, "%s=%s\n", f.name, f.value)
	}
	return append(b, "<<<\n"...)
}

// managers are variables by which a service manager speaks to the daemon alone.
var managers = []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "MAINPID"}

// environ is the environment of a child: ours, what the daemon adds, what the call adds, and what
// ResourceManager and the shell functions set.
func (m *Manager) environ(call []string) []string {
	p := m.o.Paths
	env := make([]string, 0, 64)
	at := map[string]int{}
	set := func(kv string) {
		name, _, _ := strings.Cut(kv, "=")
		if i, ok := at[name]; ok {
			env[i] = kv
			return
		}
		at[name] = len(env)
		env = append(env, kv)
	}
	for _, list := range [][]string{os.Environ(), m.o.Env, call} {
		for _, kv := range list {
			if name, _, _ := strings.Cut(kv, "="); name != "LANG" && name != "LANGUAGE" && !slices.Contains(managers, name) {
				set(kv)
			}
		}
	}
	if lookup(m.o.Env, "HA_debug") != "" {
		set("HA_debug=" + strconv.Itoa(m.o.Log.DebugLevel()))
	}
	set("LC_ALL=C")
	set("HA_DIR=" + p.HaDir)
	set("HA_FUNCS=" + p.HaDir + "/shellfuncs")
	set("HA_RESOURCEDIR=" + p.ResourceD)
	set("HA_BIN=" + p.HaBin)
	set("HA_RCDIR=" + p.HaDir + "/rc.d")
	if lookup(env, "HA_FIFO") == "" {
		set("HA_FIFO=/var/lib/heartbeat/fifo")
	}
	set("HA_DOCDIR=/usr/share/doc/heartbeat")
	set("PATH=" + p.HaBin + ":/usr/sbin:" + p.Programs + ":" + lookup(env, "PATH") + ":/sbin:/bin:/usr/sbin:/usr/bin:/usr/ucb")
	return env
}
