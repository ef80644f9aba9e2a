package broker_test

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/api/broker"
	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// daemon is a broker with the parts of a daemon that it needs.
type daemon struct {
	*testing.T
	b      *broker.Broker
	cfg    broker.Config
	now    time.Time
	status cluster.Status
	gone   map[int]bool // processes that do not exist
	seq    uint64
	next   map[broker.Conn]bool // connections that may send
}

const (
	root   = 0
	user   = 1000
	agents = 107 // the group haclient
)

func newDaemon(t *testing.T, change func(*broker.Config)) *daemon {
	d := &daemon{T: t, now: time.Unix(1795353041, 0), gone: map[int]bool{}, next: map[broker.Conn]bool{}}
	d.status = cluster.Status{
		Node: "hba", Stable: true, Held: cluster.Local,
		Nodes: []cluster.NodeStatus{
			{Name: "hba", Status: "active", UUID: hamsg.UUID{1}, Weight: 100, Generation: 5, Links: []cluster.LinkStatus{{Name: "eth0", Status: "up"}}},
			{Name: "hbb", Status: "active", UUID: hamsg.UUID{2}, Weight: 100, Site: "cellar", Generation: 7, Links: []cluster.LinkStatus{{Name: "eth0", Status: "up"}, {Name: "eth1", Status: "dead"}}},
			{Name: "hbc", Status: "dead", Weight: 100},
			{Name: "10.99.0.1", Ping: true, Status: "ping", Weight: 100, Links: []cluster.LinkStatus{{Name: "10.99.0.1", Status: "up"}}},
		},
	}
	d.cfg = broker.Config{
		Node: "hba", Keepalive: 500 * time.Millisecond, Deadtime: 5 * time.Second, Version: "3.0.6 (node: x)", Facility: -1, MaxConns: 100,
		Access: broker.Access{
			"anon":   {UIDs: []uint32{root}, GIDs: []uint32{agents}},
			"ipfail": {UIDs: []uint32{user}},
			"snmp":   {UIDs: []uint32{root}},
		},
		Param: func(name string) (string, bool) {
			v, ok := map[string]string{"deadtime": "5", "pacemaker": "false", "coreroot": ""}[name]
			return v, ok
		},
		Status: func() cluster.Status { return d.status },
		Exists: func(pid int) bool { return !d.gone[pid] },
	}
	if change != nil {
		change(&d.cfg)
	}
	d.b = broker.New(d.cfg)
	return d
}

// step gives the broker an input and carries the actions out: what it sends to the cluster comes
// back with a header before the next action, as the engine has it. It returns what was done, one a line.
func (d *daemon) step(in broker.Input) string {
	var lines []string
	for _, a := range d.b.Step(d.now, in) {
		switch a := a.(type) {
		case broker.Write:
			lines = append(lines, fmt.Sprintf("%d< %s", a.Conn, d.show(a.Body)))
		case broker.Close:
			lines = append(lines, fmt.Sprintf("%d closed%s", a.Conn, map[bool]string{true: ", dropped"}[a.Drop]))
		case broker.Signal:
			lines = append(lines, fmt.Sprintf("%d signal %d to %d", a.Conn, a.Number, a.PID))
		case broker.Queue:
			lines = append(lines, fmt.Sprintf("%d queue %d", a.Conn, a.Length))
		case broker.Log:
			lines = append(lines, a.Level.String()+": "+a.Text)
		case broker.Next:
			d.next[a.Conn] = true
		case broker.Send:
			lines = append(lines, "cluster: "+format(a.Msg))
			d.seq++
			m := a.Msg.Clone().Set("src", "hba").SetHex("seq", d.seq).SetHex("hg", 5)
			if to := m.Get("dest"); to == "" || to == "hba" {
				lines = append(lines, d.step(broker.Delivered{Kind: cluster.Kept, Msg: m}))
			}
		}
	}
	return strings.Join(slices.DeleteFunc(lines, func(s string) bool { return s == "" }), "\n")
}

// show decodes what a client gets. Text must end in a NUL that counts.
func (d *daemon) show(body []byte) string {
	d.Helper()
	p, err := hamsg.Decode(body)
	if err != nil {
		d.Fatalf("client gets %q: %v", body, err)
	}
	if p.Format == hamsg.Text && body[len(body)-1] != 0 {
		d.Errorf("no NUL at the end of %q", body)
	}
	return format(&p.Msg)
}

func format(m *hamsg.Msg) string {
	var words []string
	for _, f := range m.Fields() {
		if f.Kind == hamsg.Binary {
			words = append(words, "("+f.Name+")="+base64.StdEncoding.EncodeToString([]byte(f.Value)))
		} else {
			words = append(words, f.Name+"="+f.Value)
		}
	}
	return strings.Join(words, " ")
}

// msg makes a message of words "name=value".
func msg(words string) *hamsg.Msg {
	m := new(hamsg.Msg)
	for _, w := range strings.Fields(words) {
		name, value, _ := strings.Cut(w, "=")
		m.Add(name, strings.ReplaceAll(value, "~", " "))
	}
	return m
}

func (d *daemon) connect(id broker.Conn, pid int, uid, gid uint32) {
	d.step(broker.Connected{Conn: id, Peer: broker.Peer{PID: pid, UID: uid, GID: gid}})
	d.next[id] = true
}

// say has a connection say something, if it may.
func (d *daemon) say(id broker.Conn, m *hamsg.Msg) string {
	d.Helper()
	body, err := m.AppendText(nil)
	if err != nil {
		d.Fatal(err)
	}
	if !d.next[id] {
		d.Errorf("connection %d has to wait", id)
	}
	d.next[id] = false
	return d.step(broker.Said{Conn: id, Body: body})
}

// signOn connects a client, named or (name is "") not.
func (d *daemon) signOn(id broker.Conn, pid int, uid uint32, name string) string {
	d.Helper()
	d.connect(id, pid, uid, uid)
	if name == "" {
		name = fmt.Sprint(pid)
	}
	return d.say(id, msg(fmt.Sprintf("t=hbapi-req reqtype=signon dest=hba pid=%d from_id=%s uid=%d gid=%d", pid, name, uid, uid)))
}

// ask has the casual client of connection 1 (pid 51) ask.
func (d *daemon) ask(words string) string {
	d.Helper()
	return d.say(1, msg("t=hbapi-req reqtype="+words+" dest=hba pid=51 from_id=51"))
}

func equal(t *testing.T, what, got string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(strings.Join(want, "\n"), got); diff != "" {
		t.Errorf("%s (-want +got)\n%s", what, diff)
	}
}

const facts = " deadtime=1388 keepalive=1f4 node=hba hbversion=3.0.6 (node: x) pacemaker=false logfacility=-1"

func TestSignOn(t *testing.T) {
	d := newDaemon(t, nil)
	equal(t, "casual", d.signOn(1, 51, root, ""), "1< t=hbapi-resp reqtype=signon result=OK"+facts)
	equal(t, "named: its own join comes first", d.signOn(2, 52, root, "snmp"),
		"cluster: t=hbapi-clstat st=join from_id=snmp to_id=snmp src=hba info=signon client_gen=1",
		"2< t=hbapi-clstat st=join from_id=snmp to_id=snmp src=hba info=signon client_gen=1 seq=1 hg=5",
		"2< t=hbapi-resp reqtype=signon result=OK"+facts)
	equal(t, "sign off", d.say(2, msg("t=hbapi-req reqtype=signoff dest=hba pid=52 from_id=snmp")),
		"2< t=hbapi-clstat st=leave from_id=snmp to_id=snmp src=hba info=signoff client_gen=1",
		"cluster: t=hbapi-clstat st=leave from_id=snmp to_id=snmp src=hba info=signoff client_gen=1",
		"2 closed")
	equal(t, "sign off, casual", d.ask("signoff"), "1 closed")
	equal(t, "after that", d.step(broker.Said{Conn: 1, Body: []byte(">>>\nt=x\n<<<\n")}))
	// Group haclient is enough for anon; no from_id at all is casual too.
	d.connect(3, 53, user, agents)
	equal(t, "by group", d.say(3, msg("t=hbapi-req reqtype=signon pid=53 uid=1000 gid=107")), "3< t=hbapi-resp reqtype=signon result=OK"+facts)
	equal(t, "end", d.step(broker.Gone{Conn: 3, Reason: "EOF"}), "3 closed, dropped")
}

func TestRefusedSignOn(t *testing.T) {
	refused := func(info string) string {
		return "9< t=hbapi-resp reqtype=signon info=" + info + " result=badreq" + facts
	}
	leave := func(id, info string) string {
		return "9< t=hbapi-clstat st=leave from_id=" + id + " to_id=" + id + " src=hba info=" + info + " client_gen=1"
	}
	dump := func(words string) []string {
		f := strings.Fields(words)
		lines := []string{fmt.Sprintf("ERROR: MSG: Dumping message with %d fields", len(f))}
		for i, w := range f {
			lines = append(lines, fmt.Sprintf("ERROR: MSG[%d] : [%s]", i, w))
		}
		return lines
	}
	cannot := func(id string) string { return "ERROR: api_process_registration_msg: cannot add client(" + id + ")" }
	for _, c := range []struct {
		name, msg string
		uid       uint32
		want      []string
		change    func(*broker.Config)
	}{
		{"not a sign-on", "t=hbapi-req reqtype=nodelist", root, append([]string{"ERROR: api_process_registration_msg: bad message"}, dump("t=hbapi-req reqtype=nodelist")...), nil},
		{"no type", "x=y", root, append([]string{"ERROR: api_process_registration_msg: bad message"}, dump("x=y")...), nil},
		{"nobody", "uid=0 gid=0", root, []string{"ERROR: api_process_registration_msg: no fromid in msg"}, nil},
		{"bad pid", "pid=0 from_id=snmp uid=0 gid=0", root, []string{"WARN: api_add_client: bad pid [0]", cannot(""), refused("bad pid"), leave("", "died"), "9 closed"}, nil},
		{"no such process", "pid=77 from_id=snmp uid=0 gid=0", root, []string{"WARN: api_add_client: bad pid [77]", cannot(""), refused("bad pid"), leave("", "died"), "9 closed"}, nil},
		{"twice", "pid=59 from_id=taken uid=0 gid=0", root, []string{"WARN: duplicate client add request [taken] [59]", cannot(""), refused("duplicate add request"), leave("", "duplicate add request"), "9 closed"}, nil},
		{
			"no ids", "pid=59 from_id=snmp uid=x", root, append(append([]string{"ERROR: Client user/group id is incorrect [x] => 0 [] => 0"},
				dump("t=hbapi-req reqtype=signon pid=59 from_id=snmp uid=x")...), cannot("snmp"), refused("invalid id info"), leave("snmp", "invalid id info"), "9 closed"), nil,
		},
		{"lies", "pid=59 from_id=snmp uid=0 gid=0", user, []string{cannot("snmp"), refused("incorrect/false credentials"), leave("snmp", "incorrect/false credentials"), "9 closed"}, nil},
		{
			"not for casual ones", "pid=59 from_id=59 uid=0 gid=0", root,
			[]string{"ERROR: NO auth found for anonymous", "WARN: Client [59] pid 59 failed authorization [apiauth anon missing]", cannot("59"), refused("apiauth anon missing"), "9 closed"},
			func(c *broker.Config) { delete(c.Access, "anon") },
		},
		{"unknown name", "pid=59 from_id=bogus uid=0 gid=0", root, []string{"WARN: Client [bogus] pid 59 failed authorization [no default client auth]", cannot("bogus"), refused("no default client auth"), leave("bogus", "no default client auth"), "9 closed"}, nil},
		{"wrong user", "pid=59 from_id=ipfail uid=0 gid=0", root, []string{"WARN: Client [ipfail] pid 59 failed authorization [client failed authorization]", cannot("ipfail"), refused("client failed authorization"), leave("ipfail", "client failed authorization"), "9 closed"}, nil},
		{"wrong casual user", "pid=59 from_id=59 uid=1000 gid=1000", user, []string{"WARN: Client [59] pid 59 failed authorization [client failed authorization]", cannot("59"), refused("client failed authorization"), "9 closed"}, nil},
		{"other process", "pid=60 from_id=snmp uid=0 gid=0", root, []string{"info: PID mismatch: 60 vs farside_pid: 59", "WARN: Client [snmp] pid 60 failed authorization [pid mismatch]", cannot("snmp"), refused("pid mismatch"), leave("snmp", "pid mismatch"), "9 closed"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDaemon(t, func(cfg *broker.Config) {
				cfg.Access = maps.Clone(cfg.Access)
				cfg.Access["taken"] = broker.IDs{UIDs: []uint32{root}}
				if c.change != nil {
					c.change(cfg)
				}
			})
			d.gone[77] = true
			d.signOn(1, 58, root, "taken")
			d.connect(9, 59, c.uid, c.uid)
			words := c.msg
			if !strings.Contains(words, "t=") && words != "x=y" {
				words = "t=hbapi-req reqtype=signon " + words
			}
			equal(t, "answer", d.say(9, msg(words)), c.want...)
		})
	}
}

// A "default" entry is for names without one.
func TestDefaultAccess(t *testing.T) {
	d := newDaemon(t, func(c *broker.Config) { c.Access["default"] = broker.IDs{UIDs: []uint32{user}} })
	if got := d.signOn(1, 51, user, "whatever"); !strings.Contains(got, "result=OK") {
		t.Error(got)
	}
}

func TestRequests(t *testing.T) {
	d := newDaemon(t, nil)
	d.signOn(1, 51, root, "")
	d.step(broker.Join{Name: "ipfail", PID: 99})
	reply := func(words string) string {
		return "1< t=hbapi-resp reqtype=" + words
	}
	bad := func(words, info string) []string {
		kind, rest, _ := strings.Cut(words, " ")
		lines := []string{"ERROR: api_process_request: bad request [" + kind + "]"}
		fields := strings.Fields("t=hbapi-req reqtype=" + kind + " " + rest + " dest=hba pid=51 from_id=51")
		lines = append(lines, fmt.Sprintf("ERROR: MSG: Dumping message with %d fields", len(fields)))
		for i, f := range fields {
			lines = append(lines, fmt.Sprintf("ERROR: MSG[%d] : [%s]", i, f))
		}
		if info != "" {
			info = " info=" + info
		}
		return append(lines, reply(kind+" result=badreq"+info))
	}
	for _, c := range []struct {
		ask  string
		want []string
	}{
		{"nodelist", []string{
			reply("nodelist node=hba nodetype=normal st=active result=ok/more"),
			reply("nodelist node=hbb nodetype=normal st=active result=ok/more"),
			reply("nodelist node=hbc nodetype=normal st=dead result=ok/more"),
			reply("nodelist node=10.99.0.1 nodetype=ping st=ping result=OK"),
		}},
		{"nodestatus node=hbb", []string{reply("nodestatus st=active result=OK")}},
		{"nodestatus node=HBC", []string{reply("nodestatus st=dead result=OK")}},
		{"nodestatus node=nope", bad("nodestatus node=nope", "EINVAL")},
		{"nodestatus", bad("nodestatus", "EINVAL")},
		{"nodeweight node=hbb", []string{reply("nodeweight weight=100 result=OK")}},
		{"nodesite node=hba", []string{reply("nodesite site= result=OK")}},
		{"nodesite node=hbb", []string{reply("nodesite site=cellar result=OK")}},
		{"nodetype node=10.99.0.1", []string{reply("nodetype nodetype=ping result=OK")}},
		{"numnodes", []string{reply("numnodes numnodes=3 result=OK")}},
		{"iflist node=hbb", []string{reply("iflist ifname=eth0 st=up result=ok/more"), reply("iflist ifname=eth1 st=dead result=OK")}},
		{"iflist node=10.99.0.1", []string{reply("iflist ifname=10.99.0.1 st=up result=OK")}},
		{"ifstatus node=hbb ifname=eth1", []string{reply("ifstatus st=dead result=OK")}},
		{"ifstatus node=hbb ifname=eth9", bad("ifstatus node=hbb ifname=eth9", "EINVAL")},
		{"clientstatus node=hba cn=ipfail", []string{reply("clientstatus subt=respond-cstatus cs=online result=OK")}},
		{"clientstatus node=hba cn=nope", []string{reply("clientstatus subt=respond-cstatus cs=offline result=OK")}},
		{"clientstatus node=hbc cn=ipfail", []string{reply("clientstatus subt=respond-cstatus cs=offline result=OK")}},
		{"clientstatus node=10.99.0.1 cn=ipfail", []string{reply("clientstatus subt=respond-cstatus cs=offline result=OK")}},
		{"clientstatus node=hbb cn=ipfail", []string{"cluster: t=query-cstatus dest=hbb cn=ipfail from_id=51"}},
		{"clientstatus node=nope cn=ipfail", bad("clientstatus node=nope cn=ipfail", "EINVAL")},
		{"clientstatus node=hbb", bad("clientstatus node=hbb", "EINVAL")},
		{"getparm pname=deadtime", []string{reply("getparm pvalue=5 result=OK")}},
		{"getparm pname=crm", []string{reply("getparm pvalue=false result=OK")}},
		{"getparm pname=coreroot", []string{reply("getparm pvalue= result=OK")}},
		{"getparm pname=nosuch", []string{reply("getparm result=OK")}},
		{"getparm", bad("getparm", "EINVAL")},
		{"getrsc", []string{reply("getrsc rsc_hold=local result=OK")}},
		{"getuuid queryname=HBB", []string{reply("getuuid (queryuuid)=AgAAAAAAAAAAAAAAAAAAAA== result=OK")}},
		{"getuuid queryname=hbc", []string{reply("getuuid (queryuuid)=AAAAAAAAAAAAAAAAAAAAAA== result=OK")}},
		{"getuuid queryname=nope", []string{reply("getuuid result=OK")}},
		{"getuuid", bad("getuuid", "no query node name found")},
		{"getnodename", bad("getnodename", "no query node name found")},
		{"setfilter fmask=1", []string{reply("setfilter result=OK")}},
		{"setfilter fmask=c0", bad("setfilter fmask=c0", "EINVAL")},
		{"setfilter fmask=x", bad("setfilter fmask=x", "EINVAL")},
		{"setfilter", bad("setfilter", "EINVAL")},
		{"setsignal signal=0", []string{reply("setsignal result=OK")}},
		{"setsignal signal=9", bad("setsignal signal=9", "EINVAL")},
		{"setsignal signal=32", bad("setsignal signal=32", "EINVAL")},
		{"setsignal", bad("setsignal", "")},
		{"set_sendqlen sendqlen=200", []string{"1 queue 200", "info: the send queue length from heartbeat to client 51 is set to 200"}},
		{"set_sendqlen sendqlen=0", []string{"ERROR: api_set_sendqlen: invalid length value(0)"}},
		{"set_sendqlen", []string{"ERROR: api_set_sendqlen: getting field F_SENDQLEN failed"}},
		{"signon", append([]string{"ERROR: Unknown API request"}, bad("signon", "")...)},
		{"bogus", append([]string{"ERROR: Unknown API request"}, bad("bogus", "")...)},
	} {
		d.now = d.now.Add(time.Hour) // no limit of complaints is met
		equal(t, c.ask, d.ask(c.ask), c.want...)
	}
	d.status.Stable = false
	equal(t, "in transition", d.ask("getrsc"), reply("getrsc rsc_hold=transition result=OK"))

	uuid := func(u hamsg.UUID) *hamsg.Msg {
		return msg("t=hbapi-req reqtype=getnodename pid=51 from_id=51").SetUUID("queryuuid", u)
	}
	equal(t, "name of a uuid", d.say(1, uuid(hamsg.UUID{2})), reply("getnodename queryname=hbb result=OK"))
	equal(t, "of an unknown one", d.say(1, uuid(hamsg.UUID{3})),
		"ERROR: api_get_nodename: nodename not found in map table", reply("getnodename result=OK"))
}

func TestWhoAsks(t *testing.T) {
	d := newDaemon(t, nil)
	d.signOn(1, 51, root, "")
	d.signOn(2, 52, root, "snmp")
	say := func(words string) string { return d.say(1, msg(words)) }
	equal(t, "no sender", say("t=hbapi-req reqtype=numnodes"), "ERROR: api_process_request: no fromid/pid/reqtype in message.")
	equal(t, "no request", say("t=hbapi-req pid=51"), "ERROR: api_process_request: no fromid/pid/reqtype in message.")
	equal(t, "somebody else", say("t=hbapi-req reqtype=numnodes pid=53 from_id=53"), "ERROR: api_process_request: msg from non-client")
	equal(t, "another client", say("t=hbapi-req reqtype=numnodes pid=52 from_id=snmp"),
		"ERROR: Client mismatch! (impersonation?)", "info: pids (51 vs 52), Client IDs (51 vs snmp)")
	equal(t, "by pid alone", say("t=hbapi-req reqtype=numnodes pid=51"), "1< t=hbapi-resp reqtype=numnodes numnodes=3 result=OK")
	equal(t, "by name alone", say("t=hbapi-req reqtype=numnodes from_id=51"), "1< t=hbapi-resp reqtype=numnodes numnodes=3 result=OK")
	equal(t, "no type", say("x=y"), "ERROR: api_process_request: bad message type")
}

func TestClientMessages(t *testing.T) {
	d := newDaemon(t, nil)
	d.signOn(1, 51, root, "")
	d.signOn(2, 52, root, "snmp")
	equal(t, "to all of its name", d.say(2, msg("t=hello x=cluster~msg from_id=forged src=forged client_gen=77")),
		"cluster: t=hello x=cluster msg from_id=snmp src=forged client_gen=1 to_id=snmp",
		"2< t=hello x=cluster msg from_id=snmp src=hba client_gen=1 to_id=snmp seq=2 hg=5")
	equal(t, "to another node", d.say(2, msg("t=hello dest=hbb")), "cluster: t=hello dest=hbb from_id=snmp to_id=snmp client_gen=1")
	equal(t, "too long", d.say(2, msg("t=hello").Add("x", strings.Repeat("x", 60000))),
		"ERROR: message of client snmp dropped: 60034 bytes are more than 60000")
	equal(t, "of a casual client", d.say(1, msg("t=hello")),
		"info: api_process_request: general message from casual client!", "1 closed")
}

func TestInProcess(t *testing.T) {
	d := newDaemon(t, nil)
	equal(t, "join", d.step(broker.Join{Name: "ipfail", PID: 99}),
		"cluster: t=hbapi-clstat st=join from_id=ipfail to_id=ipfail src=hba info=signon client_gen=0")
	equal(t, "tell", d.step(broker.Tell{Name: "ipfail", Msg: msg("t=num_ping_nodes dest=hbb")}),
		"cluster: t=num_ping_nodes dest=hbb from_id=ipfail to_id=ipfail client_gen=0")
	if got := d.signOn(1, 51, user, "ipfail"); !strings.Contains(got, "info=duplicate add request") {
		t.Errorf("a second ipfail: %s", got)
	}
	equal(t, "leave", d.step(broker.Leave{Name: "ipfail"}),
		"cluster: t=hbapi-clstat st=leave from_id=ipfail to_id=ipfail src=hba info=signoff client_gen=0")
	if got := d.signOn(2, 52, user, "ipfail"); !strings.Contains(got, "result=OK") {
		t.Errorf("the next ipfail: %s", got)
	}
}

func TestDelivery(t *testing.T) {
	d := newDaemon(t, nil)
	d.signOn(1, 51, root, "")
	d.signOn(2, 52, root, "snmp")
	deliver := func(kind cluster.Kind, words string) string {
		return d.step(broker.Delivered{Kind: kind, Msg: msg(words)})
	}
	equal(t, "to all", deliver(cluster.Kept, "t=status st=dead src=hbb"), "1< t=status st=dead src=hbb", "2< t=status st=dead src=hbb")
	equal(t, "to one", deliver(cluster.Kept, "t=x to_id=snmp src=hbb"), "2< t=x to_id=snmp src=hbb")
	equal(t, "answer to a casual one", deliver(cluster.Kept, "t=respond-cstatus to_id=51 src=hbb"), "1< t=respond-cstatus to_id=51 src=hbb")
	equal(t, "to nobody", deliver(cluster.Kept, "t=x to_id=nope src=hbb"))
	equal(t, "no news", deliver(cluster.NoChange, "t=status st=active src=hbb"))
	equal(t, "for another node", deliver(cluster.Dropped, "t=x dest=hbb"))
	d.ask("setfilter fmask=3f")
	d.ask("setsignal signal=10")
	for _, kind := range []cluster.Kind{cluster.NoChange, cluster.Dropped, cluster.Duplicate, cluster.Protocol} {
		equal(t, "raw", deliver(kind, "t=x src=hbb"), "1< t=x src=hbb", "1 signal 10 to 51")
	}
	equal(t, "requests of others", d.say(2, msg("t=hbapi-req reqtype=numnodes from_id=snmp")),
		"1< t=hbapi-req reqtype=numnodes from_id=snmp", "1 signal 10 to 51", "2< t=hbapi-resp reqtype=numnodes numnodes=3 result=OK")
	equal(t, "to one only, be others curious", deliver(cluster.Kept, "t=x to_id=snmp src=hbb"), "2< t=x to_id=snmp src=hbb")
}

// Whoever is neither root nor the daemon's user must not listen in on others.
func TestFilterOfOthers(t *testing.T) {
	d := newDaemon(t, nil)
	d.signOn(1, 51, user, "ipfail")
	if got := d.say(1, msg("t=hbapi-req reqtype=setfilter fmask=3 from_id=ipfail")); !strings.Contains(got, "result=badreq info=EPERM") {
		t.Error(got)
	}
	if got := d.say(1, msg("t=hbapi-req reqtype=setfilter fmask=1 from_id=ipfail")); !strings.Contains(got, "result=OK") {
		t.Error(got)
	}
}

func TestQueries(t *testing.T) {
	d := newDaemon(t, nil)
	query := msg("t=query-cstatus dest=hba cn=ipfail from_id=700 src=hbb")
	equal(t, "offline", d.step(broker.Delivered{Kind: cluster.Kept, Msg: query}),
		"cluster: t=respond-cstatus dest=hbb result=OK cn=ipfail to_id=700 cs=offline")
	d.step(broker.Join{Name: "ipfail", PID: 9})
	equal(t, "online", d.step(broker.Delivered{Kind: cluster.Kept, Msg: query}),
		"cluster: t=respond-cstatus dest=hbb result=OK cn=ipfail to_id=700 cs=online")
	equal(t, "not for us", d.step(broker.Delivered{Kind: cluster.Dropped, Msg: query}))
}

func TestNetstring(t *testing.T) {
	d := newDaemon(t, func(c *broker.Config) { c.Netstring = true })
	d.connect(1, 51, root, root)
	for _, a := range d.b.Step(d.now, broker.Said{Conn: 1, Body: []byte(">>>\nt=hbapi-req\nreqtype=signon\npid=51\nuid=0\ngid=0\n<<<\n")}) {
		if w, ok := a.(broker.Write); ok {
			if !strings.HasPrefix(string(w.Body), "###\n") || !strings.HasSuffix(string(w.Body), "%%%\n") {
				t.Errorf("%q", w.Body)
			}
			return
		}
	}
	t.Error("no answer")
}

func TestGarbage(t *testing.T) {
	d := newDaemon(t, nil)
	d.signOn(1, 51, root, "")
	d.signOn(2, 52, root, "snmp")
	junk := func(id broker.Conn, body string) string {
		return d.step(broker.Said{Conn: id, Body: []byte(body)})
	}
	for range 9 {
		equal(t, "garbage", junk(2, "garbage"), "info: No message from pid 52")
	}
	if got := d.say(2, msg("t=hbapi-req reqtype=numnodes from_id=snmp")); !strings.Contains(got, "numnodes=3") {
		t.Fatal(got)
	}
	for range 9 {
		junk(2, "")
	}
	equal(t, "the tenth in a row", junk(2, ">>>\nx\n<<<\n"), "info: No message from pid 52", "ERROR: Removing client pid 52",
		"2< t=hbapi-clstat st=leave from_id=snmp to_id=snmp src=hba info=noinput client_gen=1",
		"cluster: t=hbapi-clstat st=leave from_id=snmp to_id=snmp src=hba info=noinput client_gen=1", "2 closed, dropped")
	equal(t, "the other client", d.ask("numnodes"), "1< t=hbapi-resp reqtype=numnodes numnodes=3 result=OK")
}

// However much is wrong, the log stays short and says what was left out.
func TestComplaintsAreLimited(t *testing.T) {
	d := newDaemon(t, nil)
	lines := 0
	for i := range 1000 {
		d.connect(broker.Conn(i+1), 51, root, root)
		got := d.say(broker.Conn(i+1), msg("t=hbapi-req reqtype=signon pid=51 from_id=nope uid=0 gid=0"))
		if !strings.Contains(got, "result=badreq") {
			t.Fatal(got)
		}
		lines += strings.Count(got, "client(nope)")
	}
	if lines == 0 || lines > 200 {
		t.Errorf("%d lines about 1000 refused clients", lines)
	}
	d.now = d.now.Add(time.Minute)
	d.connect(2000, 51, root, root)
	if got := d.say(2000, msg("x=y")); !strings.HasPrefix(got, "WARN: 1800 more lines about API clients left out\n") {
		t.Error(got)
	}
}

func TestTooMany(t *testing.T) {
	d := newDaemon(t, func(c *broker.Config) { c.MaxConns = 3 })
	d.signOn(1, 51, root, "")
	d.connect(2, 52, root, root)
	d.connect(3, 53, root, root)
	equal(t, "room is made", d.step(broker.Connected{Conn: 4, Peer: broker.Peer{PID: 54}}),
		"WARN: too many API clients: one of pid 52 that has not signed on is dropped", "2 closed, dropped")
	d.next[4] = true
	d.say(4, msg("t=hbapi-req reqtype=signon pid=54 uid=0 gid=0"))
	d.say(3, msg("t=hbapi-req reqtype=signon pid=53 uid=0 gid=0"))
	equal(t, "no room", d.step(broker.Connected{Conn: 5, Peer: broker.Peer{PID: 55}}),
		"WARN: too many API clients: one of pid 55 is turned away", "5 closed, dropped")
	equal(t, "who is in is served", d.ask("numnodes"), "1< t=hbapi-resp reqtype=numnodes numnodes=3 result=OK")
}

// The public socket is what the set-gid bit is to the original's cl_status: whoever comes over it
// counts as a member of haclient, and may ask, no more.
func TestPublic(t *testing.T) {
	d := newDaemon(t, func(c *broker.Config) {
		c.PublicGID = agents
		c.Access["agents"] = broker.IDs{GIDs: []uint32{agents}}
	})
	connect := func(id broker.Conn) string {
		d.next[id] = true
		return d.step(broker.Connected{Conn: id, Peer: broker.Peer{PID: 51, UID: 65534, GID: 65534, Public: true}})
	}
	connect(1)
	if got := d.say(1, msg("t=hbapi-req reqtype=signon pid=51 from_id=51 uid=65534 gid=65534")); !strings.Contains(got, "result=OK") {
		t.Error(got)
	}
	equal(t, "question", d.ask("numnodes"), "1< t=hbapi-resp reqtype=numnodes numnodes=3 result=OK")
	equal(t, "queue", d.ask("set_sendqlen sendqlen=200"), "ERROR: api_set_sendqlen: invalid length value(200)")
	connect(2)
	if got := d.say(2, msg("t=hbapi-req reqtype=signon pid=51 from_id=agents uid=65534 gid=65534")); !strings.Contains(got, "info=client failed authorization") {
		t.Error(got)
	}
	connect(3)
	if got := d.say(3, msg("t=hbapi-req reqtype=signon pid=51 from_id=51 uid=65534 gid=107")); !strings.Contains(got, "info=duplicate") && !strings.Contains(got, "credentials") {
		t.Error(got)
	}
	turned := 0
	for id := broker.Conn(10); id < 50; id++ {
		if strings.Contains(connect(id), "closed") {
			turned++
		}
	}
	if turned != 40-11 { // a share of 12, one of them signed on
		t.Errorf("%d of 40 turned away", turned)
	}
}

func TestAudit(t *testing.T) {
	d := newDaemon(t, nil)
	if _, ok := d.b.Deadline(); ok {
		t.Error("waits without clients")
	}
	d.signOn(1, 51, root, "")
	d.signOn(2, 52, root, "snmp")
	d.gone[52] = true
	at, ok := d.b.Deadline()
	if !ok || at.Sub(d.now) != 9*time.Second {
		t.Fatalf("looks after %v, want 9 s", at.Sub(d.now))
	}
	d.now = at
	equal(t, "audit", d.step(broker.Tick{}), "info: api_audit_clients: client 52 died",
		"2< t=hbapi-clstat st=leave from_id=snmp to_id=snmp src=hba info=died-audit client_gen=1",
		"cluster: t=hbapi-clstat st=leave from_id=snmp to_id=snmp src=hba info=died-audit client_gen=1", "2 closed, dropped")
}

// While the cluster does not acknowledge, clients wait with what they have for it, but may ask.
func TestFlow(t *testing.T) {
	d := newDaemon(t, nil)
	d.signOn(1, 51, root, "")
	d.signOn(2, 52, root, "snmp")
	equal(t, "paused", d.step(broker.Flow{Congested: true}), "info: all clients are now paused")
	equal(t, "a message", d.say(2, msg("t=hello")))
	if d.next[2] || !d.b.Waiting() {
		t.Error("the connection is read on")
	}
	equal(t, "a sign-on", d.signOn(3, 53, user, "ipfail"))
	equal(t, "a question", d.ask("numnodes"), "1< t=hbapi-resp reqtype=numnodes numnodes=3 result=OK")
	d.step(broker.Gone{Conn: 3, Reason: "EOF"})
	equal(t, "resumed", d.step(broker.Flow{Congested: false}), "info: all clients are now resumed",
		"cluster: t=hello from_id=snmp to_id=snmp client_gen=1", "2< t=hello from_id=snmp to_id=snmp client_gen=1 src=hba seq=2 hg=5")
	if !d.next[2] || d.b.Waiting() {
		t.Error("the connection is not read on")
	}
}

// A client does not get what was sent before it signed on, and no news of a client before what that
// client has said.
func TestOrder(t *testing.T) {
	d := newDaemon(t, nil)
	hbb := &d.status.Nodes[1]
	hbb.FirstMissing, hbb.LastSeq = 10, 12
	d.signOn(1, 51, root, "snmp")
	from := func(words string, seq, gen uint64) broker.Delivered {
		return broker.Delivered{Kind: cluster.Kept, Msg: msg(words).Add("src", "hbb").SetHex("seq", seq).SetHex("hg", gen)}
	}
	equal(t, "newer", d.step(from("t=a to_id=snmp", 13, 7)), "1< t=a to_id=snmp src=hbb seq=d hg=7")
	equal(t, "news of a client, early", d.step(from("t=hbapi-clstat st=leave to_id=snmp", 14, 7)))
	equal(t, "older", d.step(from("t=b to_id=snmp", 11, 7)), "WARN: message is dropped ")
	hbb.FirstMissing, hbb.LastSeq = 0, 14
	equal(t, "the last that was missing, and what waited", d.step(from("t=c to_id=snmp", 10, 7)), "WARN: message is dropped ",
		"1< t=hbapi-clstat st=leave to_id=snmp src=hbb seq=e hg=7")
	equal(t, "after a restart numbers are small", d.step(from("t=d to_id=snmp", 1, 8)), "1< t=d to_id=snmp src=hbb seq=1 hg=8")
}

// FuzzSaid: whatever clients send, the broker answers or drops, and the others are served.
func FuzzSaid(f *testing.F) {
	for _, words := range []string{
		"t=hbapi-req reqtype=signon pid=51 uid=0 gid=0", "t=hbapi-req reqtype=nodelist pid=51", "t=hello x=y",
		"t=hbapi-req reqtype=setfilter fmask=3f pid=51", "t=hbapi-req reqtype=clientstatus node=hbb cn=x pid=51",
	} {
		text, err := msg(words).AppendText(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, text)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		d := newDaemon(t, nil)
		d.signOn(1, 50, root, "")
		d.connect(2, 51, root, root)
		d.step(broker.Said{Conn: 2, Body: first})
		d.step(broker.Said{Conn: 2, Body: second})
		if got := d.say(1, msg("t=hbapi-req reqtype=numnodes pid=50")); !strings.Contains(got, "1< t=hbapi-resp reqtype=numnodes numnodes=3 result=OK") {
			t.Errorf("after %q and %q: %s", first, second, got)
		}
	})
}
