package broker

import (
	"slices"
	"strconv"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// Access says who may sign on under which name: ha.cf's apiauth and what is built in. "anon" is for
// clients without a name, "default" for names that are not here.
type Access map[string]IDs

// IDs are users and groups. One match is enough; supplementary groups do not count.
type IDs struct{ UIDs, GIDs []uint32 }

func (l IDs) has(p Peer) bool {
	return slices.Contains(l.UIDs, p.UID) || slices.Contains(l.GIDs, p.GID)
}

// isCasual tells whether the sender has no name but its process id.
func isCasual(m *hamsg.Msg) bool {
	from := m.Get(hamsg.FFromID)
	if from == "" {
		return true
	}
	id, ok1 := m.GetInt(hamsg.FFromID)
	pid, ok2 := m.GetInt(hamsg.FPID)
	return ok1 && ok2 && id == pid
}

// refusal is why a sign-on is refused.
type refusal struct {
	info string
	// nobody: the client's name is not told, since it is another's or was not looked at; leave is
	// the reason that the leave notice has, if it is another than info.
	nobody bool
	leave  string
}

// register takes the first message of a connection (api_process_registration_msg).
func (b *Broker) register(c *conn, m *hamsg.Msg) {
	if c.gen < 0 {
		c.gen = b.gen
		b.gen++
	}
	if m.Type() != hamsg.TAPIRequest || m.Get(hamsg.FReqType) != "signon" {
		b.complainOf(m, "api_process_registration_msg: bad message")
		return
	}
	from, pidText := m.Get(hamsg.FFromID), m.Get(hamsg.FPID)
	if from == "" && pidText == "" {
		b.complain(cluster.Error, "api_process_registration_msg: no fromid in msg")
		return
	}
	if from == "" {
		from = pidText
	}
	cl := &client{id: from, casual: isCasual(m), gen: c.gen, conn: c.id, mask: cluster.Kept, uid: c.peer.UID}
	if no := b.refuse(cl, c, m); no != nil {
		if no.nobody {
			cl.id = ""
		}
		b.complain(cluster.Error, "api_process_registration_msg: cannot add client(%s)", cl.id)
		reply := response("signon").Add(hamsg.FComment, no.info).Add(hamsg.FResult, "badreq")
		b.write(c.id, b.addDaemon(reply))
		if no.nobody || !cl.casual {
			reason := no.info
			if no.leave != "" {
				reason = no.leave
			}
			b.write(c.id, b.notice(cl, "leave", reason))
		}
		b.forget(c.id, false)
		return
	}
	c.client = cl
	cl.before = b.points()
	b.clients = append(b.clients, cl)
	if !cl.casual {
		b.do(Send{b.notice(cl, "join", "signon")})
	}
	b.write(c.id, b.addDaemon(response("signon").Add(hamsg.FResult, "OK")))
}

// refuse makes the checks in the original's order: clients see which one failed.
func (b *Broker) refuse(cl *client, c *conn, m *hamsg.Msg) *refusal {
	pid, _ := m.GetInt(hamsg.FPID)
	cl.pid = int(pid)
	if pid <= 0 || pid > maxPID || !b.cfg.Exists(cl.pid) {
		b.complain(cluster.Warn, "api_add_client: bad pid [%d]", pid)
		return &refusal{info: "bad pid", nobody: true, leave: "died"}
	}
	if b.byID(cl.id) != nil {
		b.complain(cluster.Warn, "duplicate client add request [%s] [%s]", cl.id, m.Get(hamsg.FPID))
		return &refusal{info: "duplicate add request", nobody: true}
	}
	uid, ok1 := m.GetInt(hamsg.FUID)
	gid, ok2 := m.GetInt(hamsg.FGID)
	if !ok1 || !ok2 {
		b.complainOf(m, "Client user/group id is incorrect ["+m.Get(hamsg.FUID)+"] => "+strconv.FormatInt(uid, 10)+
			" ["+m.Get(hamsg.FGID)+"] => "+strconv.FormatInt(gid, 10))
		return &refusal{info: "invalid id info"}
	}
	if uid != int64(c.peer.UID) || gid != int64(c.peer.GID) {
		return &refusal{info: "incorrect/false credentials"}
	}
	if info := b.unauthorized(cl, c.peer); info != "" {
		b.complain(cluster.Warn, "Client [%s] pid %d failed authorization [%s]", cl.id, cl.pid, info)
		return &refusal{info: info}
	}
	return nil
}

// maxPID is the kernel's highest process id.
const maxPID = 1 << 22

func (b *Broker) unauthorized(cl *client, peer Peer) string {
	name := cl.id
	if cl.casual {
		name = "anon"
	}
	ids, ok := b.cfg.Access[name]
	switch {
	case !ok && cl.casual:
		b.complain(cluster.Error, "NO auth found for anonymous")
		return "apiauth anon missing"
	case !ok:
		if ids, ok = b.cfg.Access["default"]; !ok {
			return "no default client auth"
		}
	}
	if peer.Public {
		peer.GID = b.cfg.PublicGID
	}
	if !ids.has(peer) || peer.Public && !cl.casual {
		return "client failed authorization"
	}
	if peer.PID != cl.pid {
		b.complain(cluster.Info, "PID mismatch: %d vs farside_pid: %d", cl.pid, peer.PID)
		return "pid mismatch"
	}
	return ""
}

// response begins an answer.
func response(kind string) *hamsg.Msg {
	return hamsg.New(hamsg.TAPIResponse).Add(hamsg.FReqType, kind)
}

// addDaemon adds what clients are told of the daemon, be it to a refusal: they know by that that it runs.
func (b *Broker) addDaemon(m *hamsg.Msg) *hamsg.Msg {
	return m.SetHex(hamsg.FAPIDeadtime, uint64(b.cfg.Deadtime.Milliseconds())).
		SetHex(hamsg.FAPIKeepalive, uint64(b.cfg.Keepalive.Milliseconds())).
		Add(hamsg.FNode, b.cfg.Node).
		Add(hamsg.FVersion, b.cfg.Version).
		Add(hamsg.FPacemaker, "false").
		SetInt(hamsg.FFacility, int64(b.cfg.Facility))
}

// notice is the news that a client has come or gone.
func (b *Broker) notice(cl *client, st, info string) *hamsg.Msg {
	return hamsg.New(hamsg.TClientStatus).Add(hamsg.FStatus, st).
		Add(hamsg.FFromID, cl.id).Add(hamsg.FToID, cl.id).Add(hamsg.FOrig, b.cfg.Node).
		Add(hamsg.FComment, info).SetInt(hamsg.FClientGen, int64(cl.gen))
}

// join signs on a client in process.
func (b *Broker) join(in Join) {
	if b.byID(in.Name) != nil {
		b.logf(cluster.Warn, "duplicate client add request [%s] [%d]", in.Name, in.PID)
		return
	}
	cl := &client{id: in.Name, pid: in.PID, gen: b.gen, uid: b.cfg.UID, mask: cluster.Kept}
	b.gen++
	b.clients = append(b.clients, cl)
	b.do(Send{b.notice(cl, "join", "signon")})
}

// remove ends a client, which is told so itself, and then the cluster.
func (b *Broker) remove(cl *client, reason string) {
	b.clients = slices.DeleteFunc(b.clients, func(c *client) bool { return c == cl })
	if !cl.casual {
		if cl.conn != 0 {
			b.write(cl.conn, b.notice(cl, "leave", reason))
		}
		b.do(Send{b.notice(cl, "leave", reason)})
	}
	if cl.conn != 0 {
		b.forget(cl.conn, reason != "signoff" && reason != "badclient")
	}
}
