package applet

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/api"
	"github.com/systole-ha/systole/pkg/api/frame"
	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hamsg"
)

var dopdProgram = program{
	name:    "dopd",
	summary: "have the other node outdate its DRBD resources (heartbeat's respawn starts it)",
	usage:   "respawn hacluster /usr/libexec/heartbeat/dopd   (a line of ha.cf)",
	run:     runDopd,
}

// What dopd answers to drbd-peer-outdater, which DRBD reads as its fence-peer handler's exit status.
const (
	dopInconsistent = "3"  // the peer's disk was inconsistent
	dopOutdated     = "4"  // done
	dopUnreachable  = "5"  // no such peer, or it is dead
	dopPrimary      = "6"  // the peer is primary
	dopError        = "20" // drbdadm did something else
	dopTwice        = "21" // somebody else asks for that resource
)

// Messages between dopd's and with drbd-peer-outdater (contrib/drbd-outdate-peer).
const (
	dopAsk      = "outdater"       // outdater → dopd
	dopAnswer   = "outdater_rc"    // dopd → outdater
	dopStart    = "start_outdate"  // dopd → the other node's
	dopDone     = "outdate_rc"     // and back
	dopPeer     = "outdater_peer"  // field: node
	dopResource = "outdater_res"   // field: DRBD resource
	dopRes      = "dop_res"        // field: likewise, between nodes
	dopValue    = "dop_value"      // field: the answer
	dopSocket   = "dopd/outdater"  // beside the API's socket
	dopSettle   = 30 * time.Second // drbdadm may take that long
)

// dopd is one run of it. Its fields belong to the goroutine of loop.
type dopd struct {
	log     *halog.Logger
	client  *api.Client
	calls   chan func() // from other goroutines
	ctx     context.Context
	waiting map[string]*net.UnixConn // by resource
	wg      sync.WaitGroup
}

func runDopd(env Env, _ []string) int {
	paths := clientPaths(env)
	log := clientLog(env, paths, env.Arg0, "daemon")
	defer log.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	d := &dopd{log: log.Logger(env.Arg0, os.Getpid()), calls: make(chan func(), 16), ctx: ctx, waiting: map[string]*net.UnixConn{}}
	d.log.Logf(halog.Debug, "PID=%d", os.Getpid())
	d.log.Log(halog.Debug, "Signing in with heartbeat")
	var err error
	if d.client, err = api.Dial(paths.Socket, "dopd", time.Time{}); err != nil {
		d.log.Log(halog.Error, "Cannot sign on with heartbeat")
		d.log.Log(halog.Error, "REASON: "+signOnReason(err))
		return 1
	}
	d.log.Logf(halog.Debug, "[We are %s]", d.client.Daemon.Node)
	for _, set := range []struct {
		err        error
		text, fail string
		code       int
	}{
		{d.client.SetFilter(1), "Setting message filter mode", "Cannot set filter mode", 8},
		{d.client.SetSignal(0), "Setting message signal", "Cannot set message signal", 13},
	} {
		d.log.Log(halog.Debug, set.text)
		if set.err != nil {
			d.log.Log(halog.Error, set.fail)
			d.log.Log(halog.Error, "REASON: "+refusal(set.err))
			return set.code
		}
	}
	l, err := d.listen(paths)
	if err != nil {
		d.log.Logf(halog.Error, "Can't create wait channel: %v", err)
		return 1
	}
	d.log.Log(halog.Debug, "Waiting for messages...")
	log.SetStderr(nil)
	code := d.loop(l)
	cancel()
	l.Close()
	d.wg.Wait()
	return code
}

// listen makes the socket for drbd-peer-outdater. Its directory keeps others out.
func (d *dopd) listen(paths daemon.Paths) (*net.UnixListener, error) {
	path := filepath.Join(filepath.Dir(paths.Socket), dopSocket)
	if err := os.Mkdir(filepath.Dir(path), 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// loop takes messages of the cluster, and calls, until a signal or the daemon's end.
func (d *dopd) loop(l *net.UnixListener) int {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	defer signal.Stop(signals)
	go func() { // ends with the process
		<-signals
		d.client.Interrupt()
	}()
	d.wg.Add(1)
	go func() {
		defer d.wg.Done()
		d.accept(l)
	}()
	var err error
	for err == nil {
		var m *hamsg.Msg
		switch m, err = d.client.Receive(time.Time{}); {
		case err == nil:
			d.message(m)
		case errors.Is(err, api.ErrWoken):
			err = nil
			for more := true; more; {
				select {
				case f := <-d.calls:
					f()
				default:
					more = false
				}
			}
		}
	}
	if !errors.Is(err, api.ErrInterrupted) {
		d.log.Logf(halog.Error, "heartbeat is gone: %v", err)
		return 1
	}
	if err := d.client.Close(); err != nil {
		d.log.Logf(halog.Error, "Cannot sign off from heartbeat: %v", err)
		return 15
	}
	return 0
}

// call has the loop run f.
func (d *dopd) call(f func()) {
	select {
	case d.calls <- f:
		d.client.Wake()
	case <-d.ctx.Done():
	}
}

func (d *dopd) accept(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			select {
			case <-time.After(100 * time.Millisecond):
			case <-d.ctx.Done():
				return
			}
			continue
		}
		d.wg.Add(1)
		go func() {
			defer d.wg.Done()
			d.serve(c)
		}()
	}
}

// serve takes the questions of one drbd-peer-outdater, and notices its end.
func (d *dopd) serve(c *net.UnixConn) {
	defer c.Close()
	stop := context.AfterFunc(d.ctx, func() { c.Close() })
	defer stop()
	for {
		body, err := frame.Read(c)
		var p *hamsg.Packet
		if err == nil {
			p, err = hamsg.Decode(body)
		}
		if err != nil {
			d.call(func() { d.forget(c) })
			return
		}
		d.call(func() { d.asked(c, &p.Msg) })
	}
}

func (d *dopd) forget(c *net.UnixConn) {
	for res, w := range d.waiting {
		if w == c {
			delete(d.waiting, res)
		}
	}
}

// asked takes a question: is the peer fit to be told, and nobody else telling it?
func (d *dopd) asked(c *net.UnixConn, m *hamsg.Msg) {
	peer, res := m.Get(dopPeer), m.Get(dopResource)
	if m.Type() != dopAsk || peer == "" || res == "" {
		d.log.Logf(halog.Warn, "message %q of drbd-peer-outdater is not understood", m.Type())
		return
	}
	switch w := d.waiting[res]; {
	case w != nil && w != c:
		d.log.Logf(halog.Debug, "one client with %s already connected", res)
		d.answer(c, dopTwice)
	case !d.fit(peer):
		d.answer(c, dopUnreachable)
	default:
		d.waiting[res] = c
		d.log.Logf(halog.Info, "sending start_outdate message to the other node %s -> %s", d.client.Daemon.Node, peer)
		d.send(hamsg.New(dopStart).Add(hamsg.FOrig, d.client.Daemon.Node).Add(dopRes, res).Add(hamsg.FTo, strings.ToLower(peer)))
	}
}

// fit tells whether a node can be told: another one, of the cluster, that runs.
func (d *dopd) fit(peer string) bool {
	if strings.EqualFold(peer, d.client.Daemon.Node) {
		d.log.Logf(halog.Warn, "drbd peer node %s is me!", peer)
		return false
	}
	nodes, err := d.client.Nodes()
	if err != nil {
		d.log.Log(halog.Error, "Cannot start node walk")
		d.log.Log(halog.Error, "REASON: "+refusal(err))
		return false
	}
	for _, n := range nodes {
		switch {
		case !strings.EqualFold(n.Name, peer):
		case n.Type != "normal":
			d.log.Logf(halog.Warn, "Cluster node: %s: status: %s is not a normal node", n.Name, n.Status)
			return false
		case n.Status == "dead":
			d.log.Logf(halog.Warn, "Cluster node: %s: status: %s", n.Name, n.Status)
			return false
		default:
			return true
		}
	}
	d.log.Logf(halog.Warn, "drbd peer %s was not found", peer)
	return false
}

func (d *dopd) send(m *hamsg.Msg) {
	if err := d.client.Send(m); err != nil {
		d.log.Logf(halog.Error, "send %s: %v", m.Type(), err)
	}
}

// answer tells a drbd-peer-outdater its exit status.
func (d *dopd) answer(c *net.UnixConn, value string) {
	d.forget(c)
	m := hamsg.New(dopAnswer).Add(hamsg.FOrig, d.client.Daemon.Node).Add(dopValue, value)
	if err := writeMessage(c, m); err != nil {
		d.log.Logf(halog.Warn, "Could not send message to the client: %v", err)
	}
}

// writeMessage sends a message over a local socket; who does not read it within a second loses it.
func writeMessage(c net.Conn, m *hamsg.Msg) error {
	body, err := m.AppendText(nil)
	if err != nil {
		return err
	}
	if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err = c.Write(frame.Append(nil, append(body, 0)))
	return err
}

// message takes a message of another dopd.
func (d *dopd) message(m *hamsg.Msg) {
	from, res := m.Get(hamsg.FOrig), m.Get(dopRes)
	switch m.Type() {
	case dopStart:
		d.wg.Add(1)
		go func() {
			defer d.wg.Done()
			value := d.outdate(res)
			d.call(func() {
				d.log.Logf(halog.Info, "sending return code: %s, %s -> %s", value, d.client.Daemon.Node, from)
				d.send(hamsg.New(dopDone).Add(dopValue, value).Add(dopRes, res).Add(hamsg.FOrig, d.client.Daemon.Node).Add(hamsg.FTo, from))
			})
		}()
	case dopDone:
		if c := d.waiting[res]; c != nil {
			d.answer(c, m.Get(dopValue))
		}
	}
}

// outdate runs "drbdadm outdate" for a resource of this node. The name comes from another node: it
// is an argument, not a part of a shell's command line as with the original.
func (d *dopd) outdate(res string) string {
	const command = "drbdadm outdate"
	if res == "" || strings.HasPrefix(res, "-") {
		d.log.Logf(halog.Warn, "%q is not a name of a resource", res)
		return dopError
	}
	ctx, cancel := context.WithTimeout(d.ctx, dopSettle)
	defer cancel()
	name := "drbdadm"
	if _, err := exec.LookPath(name); err != nil {
		for _, dir := range []string{"/sbin", "/usr/sbin"} { // respawn's PATH may not have them
			if st, err := os.Stat(filepath.Join(dir, "drbdadm")); err == nil && st.Mode()&0o111 != 0 {
				name = filepath.Join(dir, "drbdadm")
				break
			}
		}
	}
	cmd := exec.CommandContext(ctx, name, "outdate", res)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		d.log.Logf(halog.Warn, "%s %s: %v", command, res, err)
		return dopError
	}
	ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case ws.Signaled():
		d.log.Logf(halog.Warn, "killed by signal %d: %s %s", ws.Signal(), command, res)
		return dopError
	case ws.ExitStatus() == 0:
		return dopOutdated
	case ws.ExitStatus() == 5:
		return dopInconsistent
	case ws.ExitStatus() == 17:
		return dopPrimary
	}
	d.log.Logf(halog.Warn, "unknown exit code from %s %s: %d", command, res, ws.ExitStatus())
	return dopError
}
