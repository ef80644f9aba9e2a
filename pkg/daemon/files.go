package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/config/authkeys"
	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/config/logdcf"
	"github.com/systole-ha/systole/pkg/config/systolecf"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hbauth"
	"github.com/systole-ha/systole/pkg/media"
)

// Files are the configuration as read at one time.
type Files struct {
	Node    string // own name, lower case
	Uname   string // uname -n as it is
	HA      *hacf.Config
	Ring    *hbauth.Ring
	Groups  []haresources.Group
	Systole systolecf.Config

	kept *Kept // what they were made from
}

// Load reads ha.cf, authkeys, haresources and systole.cf, and returns all problems of all four.
// The original stops at the first file that has one; whoever logs in its words takes care of that.
func Load(p Paths) (*Files, diag.List) {
	f := &Files{}
	var err error
	if f.Node, f.Uname, err = nodeName(filepath.Join(p.Etc, "nodeinfo")); err != nil {
		var problems diag.List
		problems.Errorf(diag.Pos{}, "", "", "%v", err)
		return f, problems
	}
	f.kept = &Kept{Node: f.Node, Uname: f.Uname, Texts: map[string]Text{}}
	host := starting(Host(f.Node))
	ask := host.ReadFile
	host.ReadFile = func(path string) ([]byte, error) {
		text, err := ask(path)
		if err == nil {
			f.kept.Texts[path] = Text{Text: text}
		}
		return text, err
	}
	return f, f.load(p, host, f.kept.take, authkeysMode)
}

// load makes f from texts that open reads; mode looks at the permissions of authkeys.
func (f *Files) load(p Paths, host hacf.Host, open func(path string) (Text, error), mode func(path string) diag.List) (problems diag.List) {
	path := haPath(p)
	text, more := read(open, path, "Cannot open config file [%s]", "config")
	problems = append(problems, more...)
	f.HA, more = hacf.Parse(path, text.Text, host)
	if text.Stamp.IsZero() {
		more = nil // an absent file has no directives to complain about
	}
	problems = append(problems, more...)

	systole := f.loadSystole(p, open)
	f.Ring, more = loadKeys(p, open, mode, Peers(f.Systole))
	problems = append(problems, more...)

	path = p.Etc + "//haresources"
	text, more = read(open, path, "Cannot open resources file [%s]", "resources")
	problems = append(problems, more...)
	f.Groups, more = haresources.Parse(path, text.Text, f.nodeNames())
	problems = append(problems, more...)

	return append(problems, systole...)
}

// The double slashes are the original's, and its log watchers'.
func haPath(p Paths) string      { return p.Etc + "//ha.cf" }
func keysPath(p Paths) string    { return p.Etc + "//authkeys" }
func systolePath(p Paths) string { return filepath.Join(p.Etc, "systole.cf") }

// loadSystole reads systole.cf, which need not be there.
func (f *Files) loadSystole(p Paths, open func(string) (Text, error)) (problems diag.List) {
	path := systolePath(p)
	text, err := open(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		problems.Errorf(diag.Pos{File: path}, "", "", "%v", err)
	}
	var more diag.List
	f.Systole, more = systolecf.Parse(path, text.Text)
	return append(problems, more...)
}

// Peers is what systole.cf says of the other nodes.
func Peers(c systolecf.Config) authkeys.Peers { return authkeys.Peers(c.Peers == "systole") }

// read reads a file that has to be there. wire is the original's text for one that is not.
func read(open func(string) (Text, error), path, wire, what string) (Text, diag.List) {
	text, err := open(path)
	if err == nil {
		return text, nil
	}
	var problems diag.List
	problems.Errorf(diag.Pos{File: path}, "", "a readable file", "%v", cause(err))
	problems[0].Wire = fmt.Sprintf("ERROR: "+wire+"\n"+
		"info: An annotated sample %[1]s file is provided in the documentation.\ninfo: Please copy it to %[1]s, read it, customize it, and try again.", path)
	if what == "keys" {
		problems[0].Wire = fmt.Sprintf(wire, path)
	}
	return Text{}, problems
}

// cause is an error without the operation and path that the problem's place says already.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func loadKeys(p Paths, open func(string) (Text, error), mode func(string) diag.List, peers authkeys.Peers) (*hbauth.Ring, diag.List) {
	path := keysPath(p)
	text, problems := read(open, path, "Cannot open keyfile [%s].  Stop.", "keys")
	if len(problems) > 0 {
		return nil, problems
	}
	if problems = mode(path); len(problems) > 0 {
		return nil, problems
	}
	return authkeys.Parse(path, text.Text, peers)
}

// authkeysMode looks whether others can read the file.
func authkeysMode(path string) diag.List {
	st, err := os.Stat(path)
	if err != nil {
		return nil
	}
	return authkeys.CheckMode(path, uint32(st.Mode().Perm()))
}

// nodeNames are the names that haresources may use: cluster nodes and, as in the original, ping nodes.
func (f *Files) nodeNames() []string {
	var names []string
	for _, n := range f.HA.Nodes {
		names = append(names, n.Name)
	}
	for _, m := range f.HA.Media {
		if m.Ping() {
			names = append(names, m.Name)
		}
	}
	return names
}

// mediaSpecs are the media to open, in the order of ha.cf.
func (f *Files) mediaSpecs() []media.Spec {
	var specs []media.Spec
	for _, m := range f.HA.Media {
		specs = append(specs, media.Spec{Kind: m.Kind, Name: m.Name, Args: m.Args, Port: m.Port})
	}
	return specs
}

// engine is what the files say to the engine.
func (f *Files) engine() cluster.Config {
	c := cluster.Config{
		Node:            f.Node,
		Keepalive:       f.HA.Keepalive,
		Deadtime:        f.HA.Deadtime,
		Warntime:        f.HA.Warntime,
		Initdead:        f.HA.Initdead,
		Deadping:        f.HA.Deadping,
		MaxRexmitDelay:  f.HA.MaxRexmitDelay,
		Ring:            f.Ring,
		Netstring:       f.HA.Msgfmt == "netstring",
		Compress:        f.HA.TraditionalCompression,
		CompressOver:    f.HA.CompressionThreshold << 10,
		Hopfudge:        f.HA.Hopfudge,
		QuietBadPackets: !f.HA.LogBadPack,
		PID:             os.Getpid(),
		Load:            loadAverage,
		FailbackSync:    f.Systole.FailbackSync,
	}
	if f.HA.Stonith != nil {
		c.Stonith = f.HA.Stonith.Type
	}
	switch f.HA.Failback {
	case hacf.On:
		c.Failback = cluster.FailbackOn
	case hacf.Off:
		c.Failback = cluster.FailbackOff
	default:
		c.Failback = cluster.FailbackLegacy
	}
	for _, n := range f.HA.Nodes {
		if !slices.Contains(c.Nodes, n.Name) {
			c.Nodes = append(c.Nodes, n.Name)
		}
	}
	for _, s := range f.mediaSpecs() {
		if !s.Ping() {
			c.Links = append(c.Links, s.Name)
		} else if !slices.ContainsFunc(c.Pings, func(p cluster.Ping) bool { return p.Name == s.Name }) {
			c.Pings = append(c.Pings, cluster.Ping{Name: s.Name, Plugin: s.Kind})
		}
	}
	c.Groups, c.Sum = engineGroups(f.Groups), sum(f.Groups)
	return c
}

// loadFile is open for good: each heartbeat has the load.
var loadFile = sync.OnceValue(func() int {
	fd, err := unix.Open("/proc/loadavg", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	return fd
})

// loadAverage is the text of the ld field. The runtime is not told of the call: to watch over it costs
// more than the rest of a heartbeat.
func loadAverage() string {
	var text [128]byte
	n, _, errno := unix.RawSyscall6(unix.SYS_PREAD64, uintptr(loadFile()), uintptr(unsafe.Pointer(&text)), uintptr(len(text)), 0, 0, 0)
	if errno != 0 {
		return ""
	}
	return strings.TrimSpace(string(text[:n]))
}

// logsTo is where lines go that no logging daemon takes: where ha.cf says or, if it names nothing, where
// the logging daemon would have put them. (The original loses them then.)
func (f *Files) logsTo() logdcf.Config {
	ha := logdcf.Config{LogFile: f.HA.LogFile, DebugFile: f.HA.DebugFile, Facility: f.HA.LogFacility, Plain: !f.HA.SyslogMsgFmt}
	if !f.HA.UseLogd || ha.LogFile != "" || ha.DebugFile != "" || ha.Facility != "" && ha.Facility != "none" {
		return ha
	}
	text, err := os.ReadFile(logdcf.Path)
	if err != nil {
		text = nil // ha_logd has its defaults then
	}
	return logdcf.Parse(text)
}

// LogConfig is where the log goes.
func (f *Files) LogConfig() halog.Config {
	to := f.logsTo()
	c := halog.Config{
		Node:        f.Uname,
		Entity:      "heartbeat",
		LogFile:     to.LogFile,
		DebugFile:   to.DebugFile,
		PlainFormat: to.Plain,
		DebugLevel:  f.HA.Debug,
	}
	if fac, ok := halog.ParseFacility(to.Facility); ok {
		c.Facility = fac
	}
	if f.HA.UseLogd {
		c.Logd = &halog.Logd{Socket: halog.LogdSocket, Retry: f.HA.ConnLogdTime}
	}
	if d, ok := halog.ParseDialect(f.Systole.LogDialect); ok {
		c.Dialect = d
	}
	if uid, _, err := lookup(clusterUser); err == nil {
		c.UID = uid
	}
	if g, err := user.LookupGroup(clusterGroup); err == nil {
		c.GID = number(g.Gid)
	}
	return c
}

// Environment is what children get: the parameters of ha.cf and what heartbeat adds
// (spec/heartbeat-config.md, 7).
func (f *Files) Environment(p Paths) []string {
	to := f.logsTo()
	env := []string{
		"HA_CURHOST=" + f.Node,
		"HA_DATEFMT=%Y/%m/%d_%T\t",
		"HA_DIR=" + p.Etc + "/",
		"HA_FUNCS=" + p.Etc + "//shellfuncs",
		"HA_LOGFILE=" + to.LogFile,
		"HA_DEBUGLOG=" + to.DebugFile,
		"HA_COMPRESSION=" + f.HA.Compression,
		"OCF_ROOT=/usr/lib/ocf",
	}
	if to.Facility != "" {
		env = append(env, "HA_LOGFACILITY="+to.Facility)
	}
	for _, q := range f.HA.Params {
		env = append(env, "HA_"+q.Name+"="+q.Value)
	}
	if _, ok := f.HA.Param("debug"); !ok {
		env = append(env, fmt.Sprintf("HA_debug=%d", f.HA.Debug))
	}
	for _, e := range f.HA.Env {
		env = append(env, "HA_"+e)
	}
	return env
}

// Arguments are those of each resource with that name, in the order of haresources.
func (f *Files) Arguments(script string) [][]string {
	var all [][]string
	for _, g := range f.Groups {
		for _, r := range g.Resources {
			if r.Script == script {
				all = append(all, r.Args)
			}
		}
	}
	return all
}

// LdirectordNames are the configurations that ldirectord resources name; "" is the default one.
func (f *Files) LdirectordNames() []string {
	var names []string
	for _, args := range f.Arguments("ldirectord") {
		names = append(names, append(args, "")[0])
	}
	return names
}

// FirstInterface is the first network interface that heartbeats go over; "" if there is none.
func (f *Files) FirstInterface() string {
	for _, m := range f.HA.Media {
		switch m.Kind {
		case "bcast", "mcast", "mcast6", "ucast", "ucast6":
			return m.Name
		}
	}
	return ""
}
