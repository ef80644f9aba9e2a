package broker

import (
	"slices"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// Config is what a broker is told once.
type Config struct {
	Node                string        // own name
	UID                 uint32        // the daemon's own
	Keepalive, Deadtime time.Duration // as in ha.cf
	Version             string        // what clients are told at their sign-on
	Facility            int           // syslog facility times 8, -1 for none
	Netstring           bool          // msgfmt netstring
	Access              Access
	MaxConns            int    // how many connections there may be
	PublicGID           uint32 // the group that peers of the public socket count as
	// Param is a recorded parameter of ha.cf.
	Param func(name string) (value string, ok bool)
	// Status is the engine's.
	Status func() cluster.Status
	// Exists tells whether there is a process with that id.
	Exists func(pid int) bool
}

// Conn numbers a connection; no number is used twice. 0 is no connection: clients in process.
type Conn int

// Peer is the process at the other end of a connection, as the kernel knows it.
type Peer struct {
	PID      int
	UID, GID uint32
	// Public says that it came over the socket that everybody can reach. There it counts as a
	// member of [Config.PublicGID], and may be no more than a casual client.
	Public bool
}

// Input is something that happened.
type Input interface{ isInput() }

// Connected says that a process has connected.
type Connected struct {
	Conn Conn
	Peer Peer
}

// Said is the body of a frame that came in. The next frame of the connection may be given only
// after [Next].
type Said struct {
	Conn Conn
	Body []byte
}

// Gone says that a connection has ended, or that the client is to be dropped: "EOF", "died",
// "sendfail" or another reason that is told to the cluster.
type Gone struct {
	Conn   Conn
	Reason string
}

// Delivered is what the engine delivers.
type Delivered cluster.Deliver

// Flow says whether too many of our messages are unacknowledged. It is given after each step of
// the engine in which that has changed, and after each step while [Broker.Waiting].
type Flow struct{ Congested bool }

// Tick says that time has passed; see [Broker.Deadline].
type Tick struct{}

// Join is a client that lives in the daemon's own process.
type Join struct {
	Name string
	PID  int // what its log lines show
}

// Leave ends it.
type Leave struct{ Name string }

// Tell is a message of a client in process.
type Tell struct {
	Name string
	Msg  *hamsg.Msg
}

func (Connected) isInput() {}
func (Said) isInput()      {}
func (Gone) isInput()      {}
func (Delivered) isInput() {}
func (Flow) isInput()      {}
func (Tick) isInput()      {}
func (Join) isInput()      {}
func (Leave) isInput()     {}
func (Tell) isInput()      {}

// Action is something to be done.
type Action interface{ isAction() }

// Write sends a frame with that body. Several actions may share a body: it is not to be changed.
type Write struct {
	Conn Conn
	Body []byte
}

// Next says that the connection's last frame is dealt with.
type Next struct{ Conn Conn }

// Close ends a connection, once what was written has left; with Drop set at once.
type Close struct {
	Conn Conn
	Drop bool
}

// Signal sends a signal to a client's process. If there is no such process, the client is Gone
// with reason "died".
type Signal struct {
	Conn   Conn
	PID    int
	Number int
}

// Queue changes how many messages may wait for a client.
type Queue struct {
	Conn   Conn
	Length int
}

// Send is a message for the cluster, to be given to the engine before the next action is carried out.
type Send struct{ Msg *hamsg.Msg }

// Log is a line of entity heartbeat.
type Log struct {
	Level cluster.Level
	Text  string
}

func (Write) isAction()  {}
func (Next) isAction()   {}
func (Close) isAction()  {}
func (Signal) isAction() {}
func (Queue) isAction()  {}
func (Send) isAction()   {}
func (Log) isAction()    {}

// auditEvery is how often it is looked whether the clients' processes are there still.
const auditEvery = 9 * time.Second

// Broker knows connections and clients. It is not safe for use by several goroutines.
type Broker struct {
	cfg     Config
	now     time.Time
	out     []Action
	conns   map[Conn]*conn
	clients []*client // in the order of their sign-on
	gen     int       // client_gen of the next connection
	audit   time.Time

	congested bool
	held      []Said       // frames that wait for better flow, one a connection
	delayed   []*hamsg.Msg // news of clients that overtook other messages of their node

	complaints
}

// conn is a connection.
type conn struct {
	id      Conn
	peer    Peer
	gen     int // -1 before its first message
	garbage int // unparsable frames in a row
	client  *client
}

// client is who has signed on.
type client struct {
	id     string
	pid    int
	uid    uint32
	casual bool
	gen    int
	conn   Conn // 0: in process
	mask   cluster.Kind
	signal int
	before map[string]point // messages older than that are not for this client
}

// New makes a broker without connections.
func New(cfg Config) *Broker {
	return &Broker{cfg: cfg, conns: map[Conn]*conn{}}
}

// Step tells the broker that in happened at now and returns what is to be done.
func (b *Broker) Step(now time.Time, in Input) []Action {
	b.now, b.out = now, nil
	switch in := in.(type) {
	case Connected:
		b.connected(in)
	case Said:
		b.said(in)
	case Gone:
		b.gone(in.Conn, in.Reason)
	case Delivered:
		b.delivered(in.Kind, in.Msg)
	case Flow:
		b.flow(in.Congested)
	case Join:
		b.join(in)
	case Leave:
		if c := b.byID(in.Name); c != nil && c.conn == 0 {
			b.remove(c, "signoff")
		}
	case Tell:
		if c := b.byID(in.Name); c != nil && c.conn == 0 {
			b.forward(c, in.Msg)
		}
	}
	b.ticked()
	return b.out
}

func (b *Broker) do(a Action) { b.out = append(b.out, a) }

func (b *Broker) log(l cluster.Level, text string) { b.do(Log{l, text}) }

// Deadline is when Step is due at the latest; ok is false when nothing is waited for.
func (b *Broker) Deadline() (at time.Time, ok bool) { return b.audit, !b.audit.IsZero() }

// Waiting tells whether frames of clients wait for the cluster to take messages again.
func (b *Broker) Waiting() bool { return len(b.held) > 0 }

// ticked looks for clients whose process is gone although their connection is open: another
// process may have inherited it.
func (b *Broker) ticked() {
	switch {
	case !slices.ContainsFunc(b.clients, func(c *client) bool { return c.conn != 0 }):
		b.audit = time.Time{}
		return
	case b.audit.IsZero():
		b.audit = b.now.Add(auditEvery)
		return
	case b.now.Before(b.audit):
		return
	}
	b.audit = b.now.Add(auditEvery)
	for _, c := range slices.Clone(b.clients) {
		if c.conn != 0 && !b.cfg.Exists(c.pid) {
			b.logf(cluster.Info, "api_audit_clients: client %d died", c.pid)
			b.remove(c, "died-audit")
		}
	}
}

// publicShare is the part of the connections that the public socket may have.
const publicShare = 8

// connected takes a new connection. When there are too many, one that has not signed on makes room.
func (b *Broker) connected(in Connected) {
	if in.Peer.Public {
		public := 0
		for _, c := range b.conns {
			if c.peer.Public {
				public++
			}
		}
		if public >= b.cfg.MaxConns/publicShare {
			b.do(Close{Conn: in.Conn, Drop: true})
			return
		}
	}
	if len(b.conns) >= b.cfg.MaxConns {
		oldest := Conn(-1)
		for id, c := range b.conns {
			if c.client == nil && (oldest < 0 || id < oldest) {
				oldest = id
			}
		}
		if oldest < 0 {
			b.complain(cluster.Warn, "too many API clients: one of pid %d is turned away", in.Peer.PID)
			b.do(Close{Conn: in.Conn, Drop: true})
			return
		}
		b.complain(cluster.Warn, "too many API clients: one of pid %d that has not signed on is dropped", b.conns[oldest].peer.PID)
		b.forget(oldest, true)
	}
	b.conns[in.Conn] = &conn{id: in.Conn, peer: in.Peer, gen: -1}
}

// forget ends a connection.
func (b *Broker) forget(id Conn, drop bool) {
	delete(b.conns, id)
	b.held = slices.DeleteFunc(b.held, func(s Said) bool { return s.Conn == id })
	b.do(Close{Conn: id, Drop: drop})
}

func (b *Broker) gone(id Conn, reason string) {
	c := b.conns[id]
	if c == nil {
		return
	}
	if c.client != nil {
		b.remove(c.client, reason)
		return
	}
	b.forget(id, true)
}

// garbageLimit is how many unparsable frames in a row a client may send.
const garbageLimit = 10

// said takes a frame.
func (b *Broker) said(in Said) {
	c := b.conns[in.Conn]
	if c == nil {
		return
	}
	p, err := hamsg.Decode(in.Body)
	var m *hamsg.Msg
	if err == nil {
		m, err = p.Inflate()
	}
	if err != nil {
		b.complain(cluster.Info, "No message from pid %d", c.peer.PID)
		if c.garbage++; c.garbage >= garbageLimit {
			b.complain(cluster.Error, "Removing client pid %d", c.peer.PID)
			b.gone(in.Conn, "noinput")
			return
		}
		b.do(Next{in.Conn})
		return
	}
	c.garbage = 0
	if b.congested && b.forCluster(c, m) {
		b.held = append(b.held, in)
		return
	}
	if c.client == nil {
		b.register(c, m)
	} else {
		b.process(c, m)
	}
	if b.conns[in.Conn] != nil {
		b.do(Next{in.Conn})
	}
}

// forCluster tells whether a message leads to one for the cluster.
func (b *Broker) forCluster(c *conn, m *hamsg.Msg) bool {
	if m.Type() != hamsg.TAPIRequest {
		return c.client != nil && !c.client.casual
	}
	return c.client == nil && !isCasual(m)
}

// releaseAtOnce is how many frames are taken up at once when the flow is better: each may be a
// message that has to be acknowledged.
const releaseAtOnce = 50

func (b *Broker) flow(congested bool) {
	if congested != b.congested {
		b.congested = congested
		b.log(cluster.Info, map[bool]string{true: "all clients are now paused", false: "all clients are now resumed"}[congested])
	}
	if congested {
		return
	}
	n := min(len(b.held), releaseAtOnce)
	held := b.held[:n:n]
	b.held = b.held[n:]
	for _, s := range held {
		b.said(s)
	}
}

func (b *Broker) byID(id string) *client {
	if i := slices.IndexFunc(b.clients, func(c *client) bool { return c.id == id }); i >= 0 {
		return b.clients[i]
	}
	return nil
}
