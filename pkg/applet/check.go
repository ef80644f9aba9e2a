package applet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/config/authkeys"
	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/hadir"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/config/systolecf"
	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/getopt"
	"github.com/systole-ha/systole/pkg/hbauth"
	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/model"
	"github.com/systole-ha/systole/pkg/ldirectord"
)

var checkProgram = program{
	name:    "check",
	summary: "check the files of /etc/ha.d, each alone and against the others and this machine",
	run:     check,
}

const checkUsage = `Usage: systole check [DIR]
       systole check --kind ha.cf|authkeys|haresources|ldirectord.cf FILE

Reads ha.cf, authkeys, haresources and every ldirectord.cf that haresources names, from DIR
(/etc/ha.d), and holds them against each other and against this machine: node names, interfaces,
addresses, modes, resource scripts, virtual services. With --kind it reads one file alone.

Every problem is a line "file:line:col: directive: what is wrong (want what)"; every file gets a
line that sums it up.

Exit status: 0 no errors (there may be warnings), 1 errors, 2 usage.
`

var checkGrammar = getopt.Grammar{Opts: []getopt.Opt{
	{Long: "kind", Short: 'k', Value: getopt.Required},
	{Long: "help", Short: 'h'},
}}

// kinds are the files that check and show know, by their usual names.
var kinds = []string{"ha.cf", "authkeys", "haresources", "ldirectord.cf"}

func check(env Env, args []string) int {
	r, err := checkGrammar.Parse(args)
	kind, one := r.Value("kind")
	switch {
	case r.Has("help"):
		fmt.Fprint(env.Stdout, checkUsage)
		return 0
	case err != nil:
		fmt.Fprintf(env.Stderr, "systole check: %v\n", err)
		return 2
	case one && !slices.Contains(kinds, kind):
		fmt.Fprintf(env.Stderr, "systole check: no kind %q (want %s)\n", kind, strings.Join(kinds, ", "))
		return 2
	case one && len(r.Operands) != 1 || len(r.Operands) > 1:
		fmt.Fprint(env.Stderr, checkUsage)
		return 2
	}
	in := newInspector(env)
	if one {
		in.file(kind, r.Operands[0])
		return in.status()
	}
	dir := "/etc/ha.d"
	if len(r.Operands) == 1 {
		dir = r.Operands[0]
	}
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		fmt.Fprintf(env.Stderr, "systole check: %s is not a directory\n", dir)
		return 2
	}
	in.directory(dir)
	return in.status()
}

// inspector reads files and prints what it finds.
type inspector struct {
	env      Env
	node     string
	parsed   hadir.Dir
	ring     *hbauth.Ring
	systole  systolecf.Config
	problems map[string]diag.List // by file
	order    []string
	summary  map[string]string
}

func newInspector(env Env) *inspector {
	return &inspector{env: env, problems: map[string]diag.List{}, summary: map[string]string{}}
}

// status prints everything and gives the exit status.
func (in *inspector) status() int {
	status := 0
	for _, file := range in.order {
		list := in.problems[file]
		list.Sort()
		for _, p := range list {
			fmt.Fprintln(in.env.Stdout, p)
		}
		errs, warns := list.Count()
		verdict := "ok"
		if errs > 0 {
			verdict, status = count(errs, "error"), 1
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

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
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

func (in *inspector) file(kind, file string) {
	text, ok := in.text(file)
	if !ok {
		return
	}
	switch kind {
	case "ha.cf":
		in.haCF(file, text)
	case "authkeys":
		in.authkeys(file, text)
	case "haresources":
		in.haresources(file, text, nil)
	case "ldirectord.cf":
		in.ldirectord(file, text)
	}
}

func (in *inspector) haCF(file string, text []byte) {
	cfg, problems := hacf.Parse(file, text, daemon.Host(in.node))
	in.parsed.HA = cfg
	in.add(file, fmt.Sprintf("%s, %s", count(len(cfg.Nodes), "node"), plural(len(cfg.Media), "medium", "media")), append(problems, cfg.Pending...)...)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func (in *inspector) authkeys(file string, text []byte) {
	var problems diag.List
	if st, err := os.Stat(file); err == nil {
		problems = authkeys.CheckMode(file, uint32(st.Mode().Perm()))
	}
	ring, more := authkeys.Parse(file, text)
	in.ring = ring
	summary := ""
	if ring != nil {
		n, key := ring.Selected()
		summary = fmt.Sprintf("signs with key %d, %s", n, key.Method)
	}
	in.add(file, summary, append(problems, more...)...)
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

func (in *inspector) ldirectord(file string, text []byte) *ldirectordcf.Config {
	cfg, problems := ldirectordcf.Parse(file, text, ldirectord.LoadOptions{Getenv: in.env.Getenv}.Parser(context.Background()))
	reals, fallbacks := 0, 0
	for _, v := range cfg.Virtuals {
		reals += len(v.Reals)
		if v.Fallback != nil {
			fallbacks++
		}
	}
	in.add(file, fmt.Sprintf("%d virtual, %d real, %d fallback", len(cfg.Virtuals), reals, fallbacks), append(problems, cfg.Pending...)...)
	return cfg
}

// directory checks a whole /etc/ha.d.
func (in *inspector) directory(dir string) {
	node, _, err := daemon.NodeName(daemon.Paths{Etc: dir})
	if err != nil {
		in.add(dir, "", diag.Problem{Sev: diag.Error, Msg: err.Error()})
	}
	in.node = node
	var nodes []string
	if file := filepath.Join(dir, "ha.cf"); true {
		if text, ok := in.text(file); ok {
			in.haCF(file, text)
			for _, n := range in.parsed.HA.Nodes {
				nodes = append(nodes, n.Name)
			}
			for _, m := range in.parsed.HA.Media {
				if m.Ping() {
					nodes = append(nodes, m.Name)
				}
			}
		}
	}
	if file := filepath.Join(dir, "authkeys"); true {
		if text, ok := in.text(file); ok {
			in.authkeys(file, text)
		}
	}
	if file := filepath.Join(dir, "haresources"); true {
		if text, ok := in.text(file); ok {
			in.haresources(file, text, nodes)
		}
	}
	if file := filepath.Join(dir, "systole.cf"); exists(file) {
		if text, ok := in.text(file); ok {
			cfg, problems := systolecf.Parse(file, text)
			in.systole = cfg
			in.add(file, "", problems...)
		}
	}
	for _, file := range in.ldirectordFiles(dir) {
		if text, ok := in.text(file); ok {
			in.parsed.Ldirectord = append(in.parsed.Ldirectord, in.ldirectord(file, text))
		}
	}
	in.rules()
	for _, p := range hadir.Check(in.parsed, thisMachine(dir)) {
		in.add(p.Pos.File, "", p)
	}
}

// ldirectordFiles are the configurations that haresources names, resolved as ldirectord does, and
// ldirectord.cf if it is there.
func (in *inspector) ldirectordFiles(dir string) []string {
	var files []string
	add := func(name string) {
		for _, f := range []string{filepath.Join(dir, name), filepath.Join(dir, "conf", name), name} {
			if exists(f) {
				if !slices.Contains(files, f) {
					files = append(files, f)
				}
				return
			}
		}
		files = append(files, filepath.Join(dir, name)) // and so it is reported as missing
	}
	for _, g := range in.parsed.Groups {
		for _, r := range g.Resources {
			if r.Script != "ldirectord" {
				continue
			}
			if len(r.Args) > 0 {
				add(r.Args[0])
			} else {
				add("ldirectord.cf")
			}
		}
	}
	if f := filepath.Join(dir, "ldirectord.cf"); exists(f) && !slices.Contains(files, f) {
		files = append(files, f)
	}
	return files
}

func exists(file string) bool {
	st, err := os.Stat(file)
	return err == nil && st.Mode().IsRegular()
}

// rules reads the rules that the ipvsadm resource would load, if there is one.
func (in *inspector) rules() {
	if !slices.ContainsFunc(in.parsed.Groups, func(g haresources.Group) bool {
		return slices.ContainsFunc(g.Resources, func(r haresources.Resource) bool { return r.Script == "ipvsadm" })
	}) {
		return
	}
	for _, file := range []string{"/etc/sysconfig/ipvsadm", "/etc/ipvsadm.rules"} {
		if !exists(file) {
			continue
		}
		text, ok := in.text(file)
		if !ok {
			return
		}
		if isScript(text) {
			in.add(file, "a script, not a rule set: the resource loads nothing from it")
			return
		}
		rules, problems := ipvs.ParseRules(file, text, ipvs.Names{})
		table := model.New()
		for _, rule := range rules {
			if rule.Err != nil || !rule.Command.ChangesTable() {
				continue
			}
			if err := table.Do(context.Background(), rule.Command.Op); err != nil {
				problems.Errorf(rule.Pos, "", "", "%v", err)
			}
		}
		in.parsed.RulesFile, in.parsed.RulesLoaded = file, true
		in.parsed.Rules, _ = table.Snapshot(context.Background()) // the model has no errors to give
		in.add(file, count(len(rules), "rule"), problems...)
		return
	}
}

// isScript tells a shell script from a rule set by its first word (spec/resource-manager.md, 6.6).
func isScript(text []byte) bool {
	for line := range strings.SplitSeq(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line != "" && line[0] != '#' {
			return line[0] != '-' && !strings.HasPrefix(line, "ipvsadm ")
		}
	}
	return false
}

// thisMachine collects what the files are held against.
func thisMachine(dir string) hadir.Machine {
	m := hadir.Machine{Links: map[string][]netip.Prefix{}}
	interfaces, err := net.Interfaces()
	if err != nil {
		m.Links = nil
	}
	for _, i := range interfaces {
		m.Links[i.Name] = nil
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				m.Links[i.Name] = append(m.Links[i.Name], p)
			}
		}
	}
	m.Script = func(name string) (string, bool) {
		for _, d := range []string{filepath.Join(dir, "resource.d"), "/etc/ha.d/resource.d", "/etc/init.d"} {
			path := filepath.Join(d, name)
			if exists(path) && unix.Access(path, unix.X_OK) == nil {
				return path, true
			}
		}
		return "", false
	}
	m.Builtin = func(name string) bool {
		switch name {
		case "IPaddr", "IPaddr2", "IPv6addr", "ipvsadm", "ldirectord":
			return true
		}
		return false
	}
	return m
}
