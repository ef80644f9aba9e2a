package daemon

import (
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/api"
	"github.com/systole-ha/systole/pkg/api/broker"
	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/halog"
)

// VersionText is what clients are told, and what heartbeat -V prints.
const VersionText = Version + " (node: systole)"

// clientAPI joins the broker, the socket and the loop. All methods are called by the loop's goroutine.
type clientAPI struct {
	loop   *loop
	broker *broker.Broker
	server *api.Server // nil until communication is up
	inputs chan broker.Input
	listen func() (*api.Server, error)

	paused    bool // as the broker knows it
	releasing bool // flow is at work
}

func (d *service) api(cfg cluster.Config) *clientAPI {
	a := &clientAPI{loop: d.loop, inputs: make(chan broker.Input, 16)}
	public, group := d.Paths.Public, uint32(0)
	if g, err := user.LookupGroup(clusterGroup); err == nil {
		group = uint32(number(g.Gid))
	} else {
		public = "" // it would admit nobody
	}
	a.listen = func() (*api.Server, error) {
		s, err := api.Listen(d.Paths.Socket, public, func(in broker.Input) {
			select {
			case a.inputs <- in:
			case <-d.ctx.Done():
			}
		})
		if err == nil {
			d.start(func() { s.Run(d.ctx) })
		}
		return s, err
	}
	facility := -1
	if d.Files.HA.LogFacility != "" {
		f, _ := halog.ParseFacility(d.Files.HA.LogFacility) // ha.cf's parser knows it
		facility = int(f)
	}
	a.broker = broker.New(broker.Config{
		Node: cfg.Node, UID: uint32(os.Geteuid()),
		Keepalive: cfg.Keepalive, Deadtime: cfg.Deadtime,
		Version: VersionText, Facility: facility, Netstring: cfg.Netstring,
		Access: access(d.Files.HA.Access()), MaxConns: api.MaxConns(), PublicGID: group,
		Param:  d.param,
		Status: d.loop.engine.Status,
		Exists: func(pid int) bool { return !errors.Is(unix.Kill(pid, 0), unix.ESRCH) },
	})
	return a
}

// param is a parameter as clients ask for it.
func (d *service) param(name string) (string, bool) {
	value, ok := d.Files.HA.Param(name)
	switch {
	case name == StatusParam:
		return d.reportText(), true
	case name == "hbversion":
		return Version, true
	case name == "debug":
		return strconv.Itoa(d.Log.DebugLevel()), true
	}
	return value, ok
}

// The user and group that own what heartbeat's clients share.
const (
	clusterUser  = "hacluster"
	clusterGroup = "haclient"
)

// access is apiauth in numbers. Names were looked up when the file was read; one that is gone since,
// or a built-in one that does not exist here, admits nobody.
func access(list []hacf.APIAuth) broker.Access {
	a := broker.Access{}
	for _, e := range list {
		var ids broker.IDs
		for _, name := range e.UIDs {
			if u, err := user.Lookup(name); err == nil {
				name = u.Uid
			}
			ids.UIDs = appendID(ids.UIDs, name)
		}
		for _, name := range e.GIDs {
			if g, err := user.LookupGroup(name); err == nil {
				name = g.Gid
			}
			ids.GIDs = appendID(ids.GIDs, name)
		}
		a[e.Client] = ids
	}
	return a
}

func appendID(ids []uint32, text string) []uint32 {
	if n, err := strconv.ParseUint(text, 10, 32); err == nil {
		ids = append(ids, uint32(n))
	}
	return ids
}

// makeRunDir makes the directory of the socket where no init script has: its mode is what keeps
// other users from the socket.
func makeRunDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o750); err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil
		}
		return err
	}
	uid, gid := 0, 0
	if u, err := user.Lookup(clusterUser); err == nil {
		uid = number(u.Uid)
	}
	if g, err := user.LookupGroup(clusterGroup); err == nil {
		gid = number(g.Gid)
	}
	return os.Chown(dir, uid, gid)
}

// open opens the socket. Without it the cluster still works.
func (a *clientAPI) open() {
	s, err := a.listen()
	if err != nil {
		a.loop.core.Logf(halog.Error, "Cannot open registration socket: %v", err)
		return
	}
	a.server = s
}

func (a *clientAPI) deadline() (time.Time, bool) { return a.broker.Deadline() }

// flow tells the broker whether the cluster takes messages. What clients have held back is released
// by the outermost call: each message may bring the next pause.
func (a *clientAPI) flow() {
	congested := a.loop.engine.Congested()
	if congested && !a.paused {
		a.paused = true
		a.step(broker.Flow{Congested: true})
	}
	if a.releasing {
		return
	}
	a.releasing = true
	defer func() { a.releasing = false }()
	for !a.loop.engine.Congested() && (a.paused || a.broker.Waiting()) {
		a.paused = false
		a.step(broker.Flow{})
	}
}

// step gives the broker an input and carries out what follows from it.
func (a *clientAPI) step(in broker.Input) {
	for _, act := range a.decide(in) {
		a.act(act)
	}
}

// decide is the broker's Step behind a wall: a fault in it costs the input that met it.
func (a *clientAPI) decide(in broker.Input) (actions []broker.Action) {
	defer func() {
		if p := recover(); p != nil {
			a.loop.core.Logf(halog.Crit, "internal error on %T: %v; the input is dropped", in, p)
			a.loop.core.Logf(halog.Debug, "%s", debug.Stack())
		}
	}()
	return a.broker.Step(time.Now(), in)
}

func (a *clientAPI) act(act broker.Action) {
	switch act := act.(type) {
	case broker.Send:
		a.loop.say(act.Msg.AppendNetstring(nil))
	case broker.Log:
		a.loop.core.Log(halog.Prio(act.Level), act.Text)
	case broker.Write:
		if err := a.server.Write(act.Conn, act.Body); err != nil {
			a.step(broker.Gone{Conn: act.Conn, Reason: err.Error()})
		}
	case broker.Next:
		a.server.Next(act.Conn)
	case broker.Close:
		a.server.Close(act.Conn, act.Drop)
	case broker.Queue:
		a.server.SetQueue(act.Conn, act.Length)
	case broker.Signal:
		if err := unix.Kill(act.PID, unix.Signal(act.Number)); errors.Is(err, unix.ESRCH) {
			a.step(broker.Gone{Conn: act.Conn, Reason: "died"})
		}
	}
}
