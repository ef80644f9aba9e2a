package applet

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/agent/ipvsadm"
	"github.com/systole-ha/systole/pkg/config/authkeys"
	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/hadir"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/config/systolecf"
	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/getopt"
	"github.com/systole-ha/systole/pkg/hbauth"
	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/model"
	"github.com/systole-ha/systole/pkg/ldirectord"
	"github.com/systole-ha/systole/pkg/resource"
)

var checkProgram = program{
	name:    "check",
	summary: "check the files of /etc/ha.d, each alone and against the others and this machine",
	run:     check,
}

const checkUsage = `Usage: systole check [DIR]
       systole check --kind ha.cf|authkeys|haresources|ldirectord.cf|systole.cf FILE

Reads ha.cf, authkeys, haresources, every ldirectord.cf that haresources names, and the rules that
the ipvsadm resource loads, from DIR (/etc/ha.d), and holds them against each other and against this
machine: node names, interfaces, addresses, modes, programs, virtual services. A file DIR/nodeinfo
says which node this is, as for heartbeat. With --kind it reads one file alone. Nothing is changed.

Every problem is a line "file:line:col: directive: what is wrong (want what)"; every file gets a
line that sums it up.

Exit status: 0 no errors (there may be warnings), 1 errors, 2 usage.
`

var checkGrammar = getopt.Grammar{Opts: []getopt.Opt{
	{Long: "kind", Short: 'k', Value: getopt.Required},
	{Long: "help", Short: 'h'},
}}

// The files that check and show know, by their usual names.
var (
	kinds      = []string{"ha.cf", "authkeys", "haresources", "ldirectord.cf"}
	checkKinds = append(slices.Clone(kinds), "systole.cf")
)

// Exit status of check and show.
const (
	exitSound  = 0
	exitErrors = 1
	exitMisuse = 2
)

func check(env Env, args []string) int {
	r, err := checkGrammar.Parse(args)
	kind, one := r.Value("kind")
	switch {
	case err != nil:
		fmt.Fprintf(env.Stderr, "systole check: %v (systole check --help)\n", err)
		return exitMisuse
	case r.Has("help"):
		fmt.Fprint(env.Stdout, checkUsage)
		return exitSound
	case one && !slices.Contains(checkKinds, kind):
		fmt.Fprintf(env.Stderr, "systole check: no kind %q (want %s)\n", kind, strings.Join(checkKinds, ", "))
		return exitMisuse
	case one && len(r.Operands) != 1 || len(r.Operands) > 1:
		fmt.Fprint(env.Stderr, checkUsage)
		return exitMisuse
	}
	in := newInspector(env)
	if one {
		in.file(kind, r.Operands[0])
		return in.report()
	}
	dir := in.root + "/etc/ha.d"
	if len(r.Operands) == 1 {
		dir = r.Operands[0]
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		fmt.Fprintf(env.Stderr, "systole check: %s is not a directory\n", dir)
		return exitMisuse
	}
	in.directory(dir)
	return in.report()
}

// inspector reads files, collects what is wrong with them, and what was understood.
type inspector struct {
	env      Env
	root     string   // what stands for "/" in front of the usual places
	ipvs     string   // what systole.cf says of the table
	builtin  []string // and of the agents
	node     string   // own name; "" when a file is looked at alone
	parsed   hadir.Dir
	ring     *hbauth.Ring
	problems map[string]diag.List // by file
	order    []string
	summary  map[string]string
}

func newInspector(env Env) *inspector {
	return &inspector{env: env, root: env.Getenv(rootEnv), problems: map[string]diag.List{}, summary: map[string]string{}}
}

// report prints everything and gives the exit status.
func (in *inspector) report() int {
	status := exitSound
	for _, file := range in.order {
		list := in.problems[file]
		list.Sort()
		for _, p := range list {
			fmt.Fprintln(in.env.Stdout, p)
		}
		errs, warns := list.Count()
		verdict := "ok"
		if errs > 0 {
			verdict, status = count(errs, "error"), exitErrors
		}
		if warns > 0 {
			verdict += ", " + count(warns, "warning")
		}
		if s := in.summary[file]; s != "" {
			verdict += " (" + s + ")"
		}
		fmt.Fprintf(in.env.Stdout, "%s: %s\n", file, verdict)
	}
	return status
}

// count is a number with a noun, which stays as it is if it has no plural in s.
func count(n int, noun string) string {
	if n == 1 || noun == "media" {
		return fmt.Sprintf("%d %s", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func (in *inspector) add(file, summary string, problems ...diag.Problem) {
	if !slices.Contains(in.order, file) {
		in.order = append(in.order, file)
	}
	in.problems[file] = append(in.problems[file], problems...)
	if summary != "" {
		in.summary[file] = summary
	}
}

// text reads a file; one that cannot be read is a problem of its own.
func (in *inspector) text(file string) ([]byte, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		var p *os.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		in.add(file, "", diag.Problem{Pos: diag.Pos{File: file}, Sev: diag.Error, Msg: err.Error(), Want: "a readable file"})
		return nil, false
	}
	return text, true
}

// file looks at one file alone.
func (in *inspector) file(kind, file string) {
	if text, ok := in.text(file); ok {
		switch kind {
		case "ha.cf":
			in.haCF(file, text)
		case "authkeys":
			in.authkeys(file, text)
		case "haresources":
			in.haresources(file, text, nil)
		case "ldirectord.cf":
			in.ldirectord(file, text)
		case "systole.cf":
			cfg, problems := systolecf.Parse(file, text)
			in.parsed.Services, in.ipvs, in.builtin = cfg.Services, cfg.IPVS, cfg.Builtin
			in.add(file, "", problems...)
		}
	}
}

func (in *inspector) haCF(file string, text []byte) {
	cfg, problems := hacf.Parse(file, text, machineHost(in.node))
	in.parsed.HA = cfg
	in.add(file, fmt.Sprintf("%s, %s", count(len(cfg.Nodes), "node"), count(len(cfg.Media), "media")), problems...)
}

func (in *inspector) authkeys(file string, text []byte) {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err == nil {
		in.add(file, "", authkeys.CheckMode(file, st.Mode)...)
		if st.Uid != 0 && int(st.Uid) != os.Geteuid() { // a copy of one's own may be looked at
			in.add(file, "", diag.Problem{Pos: diag.Pos{File: file}, Msg: fmt.Sprintf("user %d owns the file and can read the keys", st.Uid), Want: "owner root"})
		}
	}
	beside, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "systole.cf")) // need not be there, and is checked elsewhere
	own, _ := systolecf.Parse("systole.cf", beside)
	ring, problems := authkeys.Parse(file, text, daemon.Peers(own))
	summary := ""
	if in.ring = ring; ring != nil {
		n, key := ring.Selected()
		summary = fmt.Sprintf("signs with key %d, %s", n, key.Method)
		if !key.Method.NeedsText() {
			in.add(file, "", diag.Problem{Pos: diag.Pos{File: file}, Msg: "crc proves nothing: whoever can reach this node can take part in the cluster", Want: "sha1 and a key, unless the link is a cable between the nodes"})
		}
	}
	in.add(file, summary, problems...)
}

func (in *inspector) haresources(file string, text []byte, nodes []string) {
	groups, problems := haresources.Parse(file, text, nodes)
	n := 0
	for _, g := range groups {
		n += len(g.Resources)
	}
	in.parsed.Resources, in.parsed.Groups = file, groups
	in.add(file, fmt.Sprintf("%s, %s", count(len(groups), "group"), count(n, "resource")), problems...)
}

func (in *inspector) ldirectord(file string, text []byte) {
	options := ldirectord.LoadOptions{Getenv: in.env.Getenv}.Parser(context.Background())
	options.Writable = writable // the daemon's own test creates the file
	cfg, problems := ldirectord.Parse(file, text, options)
	reals, fallbacks := 0, 0
	for _, v := range cfg.Virtuals {
		reals += len(v.Reals)
		if v.Fallback != nil {
			fallbacks++
		}
	}
	in.parsed.Ldirectord = append(in.parsed.Ldirectord, cfg)
	in.add(file, fmt.Sprintf("%d virtual, %d real, %d fallback", len(cfg.Virtuals), reals, fallbacks), problems...)
}

// directory checks a whole /etc/ha.d.
func (in *inspector) directory(dir string) {
	node, _, err := daemon.NodeName(daemon.Paths{Etc: dir})
	if err != nil {
		in.add(dir, "", diag.Problem{Sev: diag.Error, Msg: err.Error()})
	}
	in.node = node
	in.file("ha.cf", filepath.Join(dir, "ha.cf"))
	in.file("authkeys", filepath.Join(dir, "authkeys"))
	resources := filepath.Join(dir, "haresources")
	if text, ok := in.text(resources); ok {
		in.haresources(resources, text, in.nodes())
	}
	if file := filepath.Join(dir, "systole.cf"); exists(file) {
		in.file("systole.cf", file)
	}
	in.directors(dir)
	in.rules(dir)
	for file, list := range in.problems {
		if list.Err() != nil {
			in.parsed.Flawed = append(in.parsed.Flawed, file)
		}
	}
	for _, p := range hadir.Check(in.parsed, in.machine(dir)) {
		in.add(p.Pos.File, "", p)
	}
}

// nodes are the names that may begin a line of haresources; nil if ha.cf does not tell.
func (in *inspector) nodes() []string {
	if in.parsed.HA == nil {
		return nil
	}
	var names []string
	for _, n := range in.parsed.HA.Nodes {
		names = append(names, n.Name)
	}
	for _, m := range in.parsed.HA.Media {
		if m.Ping() {
			names = append(names, m.Name)
		}
	}
	return names
}

// directors reads the configurations that haresources names, those that they execute, and
// ldirectord.cf if it is there.
func (in *inspector) directors(dir string) {
	var names []string
	for _, r := range in.resources("ldirectord") {
		name := "ldirectord.cf"
		if len(r.Args) > 0 {
			name = r.Args[0]
		}
		names = append(names, name)
	}
	if exists(filepath.Join(dir, "ldirectord.cf")) {
		names = append(names, "ldirectord.cf")
	}
	for i := 0; i < len(names); i++ {
		file := directorFile(dir, names[i])
		if slices.Contains(in.order, file) {
			continue
		}
		before := len(in.parsed.Ldirectord)
		in.file("ldirectord.cf", file)
		for _, cf := range in.parsed.Ldirectord[before:] {
			names = append(names, cf.Global.Execute...)
		}
	}
}

// directorFile resolves the name of a configuration as ldirectord does. One that is nowhere is given
// as it would be looked for first.
func directorFile(dir, name string) string {
	places := []string{filepath.Join(dir, name), filepath.Join(dir, "conf", name), name}
	return places[max(slices.IndexFunc(places, exists), 0)]
}

// resources are all resources of that script.
func (in *inspector) resources(script string) []haresources.Resource {
	var list []haresources.Resource
	for _, g := range in.parsed.Groups {
		for _, r := range g.Resources {
			if r.Script == script {
				list = append(list, r)
			}
		}
	}
	return list
}

// ruleWant is what a table would have taken instead of a rule.
func ruleWant(err error) string {
	switch {
	case errors.Is(err, ipvs.ErrExists):
		return "each service and real server once"
	case errors.Is(err, ipvs.ErrNoService):
		return "a -A for the service above"
	case errors.Is(err, ipvs.ErrNoDest):
		return "a -a for the real server above"
	case errors.Is(err, ipvs.ErrNoScheduler):
		return "one of " + strings.Join(ipvs.Schedulers, ", ")
	}
	return "a rule that IPVS takes"
}

// rules reads the rules that the ipvsadm resource would load, if there is such a resource.
func (in *inspector) rules(dir string) {
	if len(in.resources("ipvsadm")) == 0 {
		return
	}
	script, _ := resource.FindProgram("ipvsadm", in.scriptDirs(dir)...)
	name, why := ipvsadm.RuleFile(in.root, strings.TrimPrefix(script, in.root))
	file := in.root + name
	switch {
	case !exists(file):
		return // not loaded: the table begins empty
	case why != "":
		in.add(file, why)
		return
	}
	text, ok := in.text(file)
	if !ok {
		return
	}
	rules, problems := ipvs.ParseRules(file, text, ipvsadm.SystemNames(context.Background()))
	type key struct {
		service ipvs.VIP
		dest    netip.AddrPort
	}
	places := map[key]diag.Pos{}
	table := model.New()
	for _, rule := range rules {
		if rule.Err != nil || !rule.Command.ChangesTable() {
			continue
		}
		op := rule.Command.Op
		if err := table.Do(context.Background(), op); err != nil {
			problems.Errorf(rule.Pos, rule.Command.Kind.String(), ruleWant(err), "%v", err)
			continue
		}
		places[key{op.Service.VIP, op.Dest.Addr}] = rule.Pos
	}
	entries, err := table.Snapshot(context.Background())
	if err != nil {
		problems.Errorf(diag.Pos{File: file}, "", "", "%v", err)
	}
	in.parsed.Rules = &hadir.Rules{Table: entries, At: func(service ipvs.VIP, dest netip.AddrPort) diag.Pos {
		return places[key{service, dest}]
	}}
	in.add(file, count(len(rules), "rule"), problems...)
}
