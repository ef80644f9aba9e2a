package resource

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/systole-ha/systole/pkg/agent"
)

// hooks are the rc.d scripts that we do in process, by message type.
var hooks = map[string]func(j *job, s script) int{
	"status":          (*job).status,
	"ip-request":      (*job).ipRequest,
	"ip-request-resp": (*job).ipRequestResp,
	"hb_takeover":     (*job).hbTakeover,
}

// Hooks are the names of the messages that are given to harc: the programs in rc.d, and the stock
// ones, which need not be there. For cluster.Config.Hooks.
func (m *Manager) Hooks() []string {
	var names []string
	entries, err := os.ReadDir(m.o.Paths.HaDir + "/rc.d")
	if err != nil && !os.IsNotExist(err) {
		m.script("harc").log("ERROR: %v", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	for name := range hooks {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// harc is `harc TYPE`: it runs the rc.d script for a message. A stock one is done in process.
func (j *job) harc(kind string) (code, signal int) {
	dir := j.o.Paths.HaDir + "/" // with the original's second slash
	path := dir + "/rc.d/" + kind
	s := j.script("harc")
	if !isStockHook("harc", dir+"/harc") {
		j.report(s, "harc", "info: "+dir+"/harc is not the stock script: it is run as a child")
		return j.child(dir+"/harc", kind)
	}
	hook := hooks[kind]
	st, err := os.Stat(path)
	switch {
	case err != nil && hook == nil:
		s.log("ERROR: %s/harc: %s: not executable", dir, path)
		return 1, 0
	case err == nil && st.Mode()&0o111 == 0:
		s.log("ERROR: %s/harc: %s: not executable", dir, path)
		return 1, 0
	}
	s.log("info: Running %s %s", path, kind)
	if hook != nil && isStockHook(kind, path) {
		// harc replaces itself by the script: one number, another name.
		return hook(j, script{s.l, strings.Replace(s.tag, "harc(", kind+"(", 1)}), 0
	}
	if hook != nil {
		j.report(s, kind, "info: "+path+" is not the stock script: it is run as a child")
	}
	return j.child(path, kind)
}

// child runs a program that the administrator put in the place of a stock one.
func (j *job) child(path, kind string) (code, signal int) {
	if j.o.Script == nil {
		return 1, 0
	}
	env := append(j.environ(j.env), "HA_DIR="+j.o.Paths.HaDir+"/", "HA_FUNCS="+j.o.Paths.HaDir+"//shellfuncs")
	r, err := j.o.Script.Run(j.ctx, agent.Call{Name: kind, Args: []string{kind}, Path: path, Env: env, Log: j.o.Log})
	j.explain(choice{}, r, err)
	return r.Code, r.Signal
}

// status is rc.d/status: a node that died is taken over.
func (j *job) status(script) int {
	if lookup(j.env, "HA_st") == "dead" {
		j.machDown(lookup(j.env, "HA_src"))
	}
	return 0
}

// machDown is `mach_down NODE`: all groups of a dead node are taken, whoever has them.
func (j *job) machDown(node string) {
	node = strings.ToLower(node)
	if node == j.o.Node || strings.Contains(lookup(j.env, "HA_info"), "ping") {
		return
	}
	s := j.script("mach_down")
	for _, key := range j.keys(node) {
		s.log("info: Taking over resource group %s", key)
		j.takeGroup(key)
		if j.ctx.Err() != nil {
			return
		}
	}
	if j.nice() {
		s.log("info: %s/mach_down: nice_failback: foreign resources acquired", j.o.Paths.Programs)
		j.tell(field{"t", "resource"}, field{"rsc_hold", "foreign"}, field{"info", "mach_down"})
	}
	s.log("info: mach_down takeover complete for node %s.", node)
}

// nice reports whether auto_failback is not legacy.
func (j *job) nice() bool { return strings.EqualFold(lookup(j.env, "HA_NICEFAILBACK"), "yes") }

func (j *job) tell(fields ...field) { j.say = append(j.say, message(fields...)) }

// noKey is the complaint of rc.d scripts about a message without a group.
const noKey = "the message names no group (HA_ipaddr is empty)"

// ipRequest is rc.d/ip-request: another node asks for a group; it is given up if it is here.
func (j *job) ipRequest(script) int {
	key, from := lookup(j.env, "HA_ipaddr"), lookup(j.env, "HA_src")
	if key == "" {
		j.o.Log.Print("ip-request: " + noKey)
		return 1
	}
	if strings.EqualFold(from, j.o.Node) {
		return 0
	}
	owned := "no"
	if j.Owned(j.ctx, key) {
		owned = "yes"
		if local := j.o.Paths.HaDir + "/rc.d/local_giveip"; isProgram(local) {
			j.child(local, "ip-request")
		}
		j.giveGroup(key)
	}
	j.tell(field{"t", "ip-request-resp"}, field{"dest", from}, field{"ipaddr", key}, field{"weown", owned}, field{"ok", "OK"})
	return 0
}

// ipRequestResp is rc.d/ip-request-resp: the answer to a request for a group, which is taken.
func (j *job) ipRequestResp(s script) int {
	key, ok := lookup(j.env, "HA_ipaddr"), lookup(j.env, "HA_ok")
	if key == "" {
		j.o.Log.Print("ip-request-resp: " + noKey)
		return 1
	}
	if !strings.EqualFold(lookup(j.env, "HA_dest"), j.o.Node) {
		return 0
	}
	s.log("received ip-request-resp %s %s %s", key, ok, lookup(j.env, "HA_weown"))
	if ok == "OK" {
		return j.takeGroup(key)
	}
	return 0
}

// hbTakeover is rc.d/hb_takeover: another node wants what is its own, or ours, or all.
func (j *job) hbTakeover(script) int {
	if strings.EqualFold(lookup(j.env, "HA_src"), j.o.Node) {
		return 0
	}
	what := "all"
	switch lookup(j.env, "HA_rsc_hold") {
	case "local":
		what = "foreign"
	case "foreign":
		what = "local"
	}
	j.say = append(j.say, j.Standby(what))
	return 0
}

// Standby is `hb_standby WHAT`: it says so in the log, and gives the message that asks for it. what
// is all, local or foreign, as seen from this node.
func (m *Manager) Standby(what string) []byte {
	m.script("hb_standby").log("Going standby [%s].", what)
	return message(field{"t", "ask_resources"}, field{"rsc_hold", what}, field{"info", "me"})
}

// Takeover is `hb_takeover WHAT`: the message that asks the other node for all, local (our own),
// foreign or failback.
func Takeover(what string) []byte {
	return message(field{"t", "hb_takeover"}, field{"rsc_hold", what})
}

// MachDown is `mach_down NODE` and gives the messages that it says. env is as in cluster.Call.
func (m *Manager) MachDown(ctx context.Context, node string, env []string) [][]byte {
	j := &job{Manager: m, ctx: ctx, env: env}
	j.machDown(node)
	return j.say
}

// reqResource is `req_resource KEY`: it asks for a group of our own unless that is here. With
// auto_failback on or off, and when nobody else is there, it gives itself the answer.
//
// The original takes the key for the whole group. Here a daemon that was killed leaves an address
// behind, but not the ldirectord that ran in it: a group of which something is not running is
// asked for, which starts what is missing.
func (j *job) reqResource(key string) int {
	if j.Owned(j.ctx, key) && j.complete(key) {
		return 0
	}
	s := j.script("req_resource")
	s.log("debug: in %s/req_resource %s", j.o.Paths.Programs, key)
	alone := lookup(j.env, "HA_DONTASK")
	s.log("debug: dont_ask: %s nice_failback: %s", alone, lookup(j.env, "HA_NICEFAILBACK"))
	if j.nice() || alone == "yes" {
		j.tell(field{"t", "ip-request-resp"}, field{"dest", j.o.Node}, field{"ipaddr", key}, field{"weown", "yes"}, field{"ok", "OK"})
	} else {
		j.tell(field{"t", "ip-request"}, field{"ipaddr", key})
	}
	return 0
}
