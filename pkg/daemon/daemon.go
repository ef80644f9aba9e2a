package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/cluster/ipfail"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/media"
	"github.com/systole-ha/systole/pkg/realtime"
	"github.com/systole-ha/systole/pkg/resource"
)

// Version is the release of heartbeat whose behaviour this is; log watchers and peers know it.
const Version = "3.0.6"

// Options are what Run works with, besides the files.
type Options struct {
	Paths     Paths
	Files     *Files // as Load read them, without errors
	Log       *halog.Log
	Signals   *Signals // that CatchSignals catches
	Unmanaged bool     // -M: resources are somebody else's business
	// Realtime has the process run as ha.cf's realtime says; without it (-l) at ordinary priority.
	Realtime bool
	// Again says that the run takes another's place in this process: a medium that cannot be opened is
	// opened later, and does not end it.
	Again bool
	// Restarted, Held and Awaited continue a run that ended with Outcome.Quick. Former is haresources as that
	// run knew it: what has left the file since is still to be given up.
	Restarted bool
	Held      cluster.Hold
	Awaited   []cluster.Regrouped
	Former    []haresources.Group
	// Services makes the in-process agents and what works for them. It is called once, before
	// anything else starts.
	Services func(log *halog.Log) *Services
	// Reboot ends this machine at once, for a resource that cannot be stopped; nil only logs.
	Reboot func()
	// Ready is called once, when the pid file is locked and every medium is open.
	Ready func()
}

// Services are the in-process agents with the goroutines behind them.
type Services struct {
	Agents map[string]agent.Agent // by resource name
	Script agent.Agent            // any other resource
	Run    []func(context.Context)
	// Resume brings back what ran in this very process before it was restarted in place with its
	// resources in hand, and goes on trying until its context ends; nil: nothing has to be.
	Resume func(context.Context)
	// Resumable says why Resume would fail for what runs now; nil: nothing has to be asked.
	Resumable func(context.Context) error
	// Guard watches over what was started until its context ends; handOver asks the peer to take
	// everything. Nil: nothing is watched.
	Guard func(ctx context.Context, handOver func(why string))
	// Connections is what is known of IPVS's connections; nil: nothing.
	Connections Connections
}

// Outcome is how a run ended.
type Outcome struct {
	Code int
	// Restart asks for a new start after Wait; with Quick set the resources are still held, and
	// the new run is to be given Held and Awaited. Kept is the configuration for [LoadAgain].
	Restart bool
	Wait    time.Duration
	Quick   bool
	Held    cluster.Hold
	Awaited []cluster.Regrouped
	Kept    *Kept
	// Stop says that SIGTERM has come. A restart that was under way by then is to end instead.
	Stop bool
}

// Run is the heartbeat service from its start to its end. It returns an error when it could not
// start; then nothing was changed but the pid file and the generation number.
func Run(ctx context.Context, o Options) (Outcome, error) {
	core := o.Log.Logger("heartbeat", os.Getpid())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	pidfile, err := LockPIDFile(o.Paths.PIDFile)
	if err != nil {
		core.Logf(halog.Error, "heartbeat: could not create pidfile [%s]", o.Paths.PIDFile)
		return Outcome{Code: 4}, err
	}
	defer pidfile.Close()
	core.Logf(halog.Info, "heartbeat: version %s", Version)
	setCores(o.Files.HA.CoreDumps, core)
	d := &service{Options: o, sound: o.Files.kept, asked: make(chan struct{}, 1), core: core, number: runNumber(), ctx: ctx, cancel: cancel}
	if err := d.prepare(); err != nil {
		core.Logf(halog.Error, "%v", err)
		return Outcome{Code: 1}, err
	}
	d.loop.pulse = newPulse(o.Files.HA.Watchdog, o.Files.HA.Deadtime, core)
	defer d.loop.pulse.disarm()
	if ha := o.Files.HA; ha.UseApphbd {
		hb := newApphbd(filepath.Join(o.Paths.Run, "heartbeat/apphb.comm"), ha.Deadtime, ha.Warntime, core)
		d.loop.pulse.register(hb)
		d.start(func() { hb.run(d.ctx) })
	}
	d.realtime()
	if o.Ready != nil {
		o.Ready()
	}
	Tell("READY=1")
	exit := d.run()
	if exit.Restart {
		Tell("RELOADING=1")
	} else {
		Tell("STOPPING=1")
	}
	return Outcome{Code: exit.Code, Restart: exit.Restart, Wait: exit.Wait, Quick: exit.Quick, Held: exit.Held, Awaited: exit.Awaited, Kept: d.sound, Stop: d.stopped.Load()}, nil
}

// flushLimit is how long the log's last lines before a reboot may take.
const flushLimit = 500 * time.Millisecond

// service is one run.
type service struct {
	Options
	sound   *Kept         // the files as last found sound; of the goroutine that rereads, then of Run
	asked   chan struct{} // has a value when the files are to be reread
	stopped atomic.Bool   // SIGTERM has come
	core    *halog.Logger
	number  uint64 // of this run, at random: see cluster.Config.Run
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	fifo     *os.File
	links    *links
	services *Services
	worker   *worker
	lines    *lines
	loop     *loop
}

// prepare does what can fail: identity, directories, FIFO, media. Nothing is sent before it is done.
func (d *service) prepare() error {
	p := d.Paths
	if err := errors.Join(os.MkdirAll(p.VarLib, 0o755), makeRunDir(filepath.Dir(p.RscTmp))); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	gen, err := d.generation()
	if err != nil {
		return err
	}
	uuid, err := d.uuid(filepath.Join(p.VarLib, "hb_uuid"))
	if err != nil {
		return err
	}
	alarm, err := realtime.NewAlarm()
	if err != nil {
		return err
	}
	if d.fifo, err = openFIFO(p.FIFO, d.core); err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(p.RscTmp), os.Mkdir(p.RscTmp, 0o755|os.ModeSticky)); err != nil {
		d.core.Logf(halog.Info, "Removing %s failed, recreating.", p.RscTmp)
	}
	d.links, err = openLinks(d.ctx, d.Files, d.number, media.Options{
		Port:         d.Files.HA.UDPPort,
		Baud:         d.Files.HA.Baud,
		Ident:        uint16(os.Getpid()),
		WriteTimeout: d.Files.HA.Keepalive,
		Late:         d.Again,
	}, d.core)
	if err != nil {
		d.fifo.Close()
		return err
	}
	d.wire(gen, uuid)
	d.loop.alarm = alarm
	return nil
}

// realtime makes the process what a heartbeat is to be, or says that it does not.
func (d *service) realtime() {
	ha := d.Files.HA
	if !d.Realtime || !ha.Realtime {
		d.core.Logf(halog.Info, "Request to set pid %d to realtime ignored.", os.Getpid())
		return
	}
	o := realtime.Options{Priority: ha.RTPrio, Reserve: ha.MemReserve, Spare: true}
	realtime.Enter(o, func(p realtime.Problem) { logWire(d.core, halog.Error, p.Level+": "+p.Text) })
	d.loop.keeper = realtime.NewKeeper(o)
}

// generation is the number that tells this run from others.
func (d *service) generation() (uint64, error) {
	if d.Files.HA.GenMethod == "time" {
		return generationByTime(time.Now(), d.Restarted, d.core), nil
	}
	return nextGeneration(filepath.Join(d.Paths.VarLib, "hb_generation"), time.Now(), d.core)
}

// wire connects loop, worker and clients.
func (d *service) wire(gen uint64, uuid hamsg.UUID) {
	d.services = d.Services(d.Log)
	l := &loop{
		queue:   make(chan cluster.Input, queueLen),
		core:    d.core,
		jobs:    map[int]*halog.Logger{},
		out:     d.links.send,
		history: newHistory(time.Now()),
	}
	d.loop = l
	env := d.Files.Environment(d.Paths)
	d.lines = newLines(filepath.Join(d.Paths.Etc, "haresources"), d.Files)
	m := resource.New(resource.Options{
		Node:        d.Files.Node,
		Groups:      d.lines.now,
		Log:         d.Log,
		Agents:      d.services.Agents,
		Script:      d.services.Script,
		Builtin:     d.Files.Systole.Builtin,
		Paths:       resource.Paths{HaDir: d.Paths.Etc},
		Env:         append(slices.Clone(env), "HA_LOGD="+map[bool]string{true: "yes", false: "no"}[d.Files.HA.UseLogd]),
		Say:         func(text []byte) { l.post(d.ctx, cluster.Said{Text: text}) },
		StopFailure: resource.ParseStopFailure(d.Files.Systole.StopFailure),
		Reboot:      d.Reboot,
	})
	d.worker = newWorker(m, d.lines, func(done cluster.Done) { l.post(d.ctx, done) })
	l.runCall = func(r cluster.Run) { d.worker.jobs <- r }

	if s := d.Files.HA.Stonith; s != nil {
		l.device = &device{conf: s, command: "stonith", ctx: d.ctx, done: func(done cluster.StonithDone) { l.post(d.ctx, done) }}
	}

	l.sync = newFailbackSync(d.ctx, d.services.Connections, d.Files.Node, d.core, func(in cluster.Input) { l.post(d.ctx, in) })

	cfg := d.Files.engine()
	cfg.UUID, cfg.Generation, cfg.Run, cfg.Seed = uuid, gen, d.number, uint64(time.Now().UnixNano())
	cfg.Unmanaged = d.Unmanaged
	cfg.Restarted, cfg.Held, cfg.Awaited = d.Restarted, d.Held, d.Awaited
	if d.Restarted && d.Former != nil {
		cfg.Groups, cfg.Sum = engineGroups(d.Former), sum(d.Former)
		if r := d.lines.resume(d.Former, d.Files.nodeNames()); r != nil {
			l.post(d.ctx, cluster.Reread{Regroup: r})
		}
	}
	cfg.Hooks = m.Hooks()
	l.engine = cluster.New(cfg, time.Now())
	l.api = d.api(cfg)
	l.deleted = newDeletedFile(filepath.Join(d.Paths.VarLib, "delhostcache"), d.core)
	l.clients = d.clients(env, cfg)
}

func (d *service) clients(env []string, cfg cluster.Config) *clients {
	l := d.loop
	c := &clients{
		log:   d.core,
		env:   env,
		debug: d.Log.DebugLevel,
		done:  func() { l.pending = append(l.pending, cluster.ClientsStopped{}) },
		reboot: func() {
			d.Log.Flush(flushLimit)
			if d.Reboot != nil {
				d.Reboot()
			}
		},
		events: make(chan func(), 16),
		ctx:    d.ctx,
	}
	for _, cl := range d.Files.HA.Clients {
		c.list = append(c.list, &client{Client: Client{User: cl.User, Command: cl.Command, Failfast: cl.Failfast}})
		if c.ipfail == nil && isIpfail(cl.Command) && cfg.Failback != cluster.FailbackLegacy {
			c.ipfail = &ipfailClient{
				log:    func(pid int) *halog.Logger { return d.Log.Logger("ipfail", pid) },
				status: l.engine.Status,
				broker: l.api.step,
				cfg:    ipfail.Config{Self: cfg.Node, AutoFailback: cfg.Failback == cluster.FailbackOn, Keepalive: cfg.Keepalive},
			}
		}
	}
	return c
}

// run starts the goroutines, runs the loop, and joins them all. Media go last: what the engine
// sent at its end is still to leave.
func (d *service) run() cluster.Exit {
	workers, stopWorkers := context.WithCancel(d.ctx)
	defer stopWorkers()
	linkCtx, stopLinks := context.WithCancel(context.WithoutCancel(d.ctx))
	defer stopLinks()
	d.start(func() { d.loop.alarm.Run(d.ctx) })
	d.start(func() { d.links.run(linkCtx, d.loop.post) })
	d.start(func() {
		readFIFO(workers, d.fifo, d.core, func(b []byte) { d.loop.post(workers, cluster.Said{Text: b}) })
	})
	d.start(func() { d.worker.run(workers) })
	d.start(func() { d.loop.deleted.run(workers) })
	for _, f := range d.services.Run {
		d.start(func() { f(workers) })
	}
	d.start(func() { d.signals(workers) })
	d.start(func() { d.rereads(workers) })
	if d.services.Guard != nil {
		d.start(func() { d.services.Guard(workers, func(why string) { d.handOver(workers, why) }) })
	}
	if d.Restarted && d.services.Resume != nil {
		d.start(func() { d.services.Resume(workers) })
	}
	d.loop.run(d.ctx)
	stopWorkers()
	stopLinks()
	d.cancel()
	d.wg.Wait()
	if d.loop.device != nil {
		d.loop.device.wait()
	}
	d.loop.sync.wait()
	d.loop.clients.kill()
	d.loop.clients.wg.Wait()
	if d.loop.exit == nil {
		return cluster.Exit{}
	}
	return *d.loop.exit
}

// handOver does what hb_standby does.
func (d *service) handOver(ctx context.Context, why string) {
	d.core.Logf(halog.Warn, "%s: going standby", why)
	text, err := hamsg.New(hamsg.TAskResources).Add(hamsg.FResources, "all").Add(hamsg.FComment, "me").AppendText(nil)
	if err != nil {
		d.core.Logf(halog.Error, "hand over: %v", err)
		return
	}
	d.loop.post(ctx, cluster.Said{Text: text})
}

func (d *service) start(f func()) {
	d.wg.Add(1)
	go func() { defer d.wg.Done(); f() }()
}

// signals turns signals into inputs until ctx ends.
func (d *service) signals(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.Signals.stop:
			if !d.stopped.Swap(true) { // heartbeat -k sends it again and again
				d.loop.post(ctx, cluster.Shutdown{})
			}
		case s := <-d.Signals.others:
			d.signal(s)
		}
	}
}

// signal does what a signal, other than SIGTERM, asks for.
func (d *service) signal(s os.Signal) {
	switch s {
	case unix.SIGHUP:
		select {
		case d.asked <- struct{}{}:
		default: // is to be done already
		}
	case unix.SIGUSR1:
		d.changeDebug(1)
	case unix.SIGUSR2:
		d.changeDebug(-1)
	}
}

// changeDebug raises or lowers the debug level, of children that are started from now on too.
func (d *service) changeDebug(by int) {
	was := d.Log.DebugLevel()
	d.Log.SetDebugLevel(was + by)
	if was == 0 && by > 0 {
		d.core.Logf(halog.Info, "heartbeat: version %s", Version)
	}
	d.core.Logf(halog.Debug, "debug now set to %d [pid %d]", d.Log.DebugLevel(), os.Getpid())
}

// LogProblems writes the problems of configuration files to the log: in the original's words where
// it has any, and always with their places.
func LogProblems(log *halog.Logger, problems diag.List) {
	for _, p := range problems {
		prio := halog.Error
		if p.Sev == diag.Warning {
			prio = halog.Warn
		}
		logWire(log, prio, p.Wire)
		log.Log(prio, p.String())
	}
}
