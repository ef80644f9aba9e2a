package layout

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed files
var files embed.FS

// Home is where the program itself is; all its names are links to it.
const Home = "/usr/sbin/systole"

// functions are our shell functions for scripts.
const functions = "/usr/share/heartbeat/shellfuncs"

// Layout is a family of distributions.
type Layout struct {
	Name    string // debian or rhel
	HABin   string // heartbeat, ipfail and what respawn names
	HABins  []string
	InitD   string
	Units   string // systemd's units of packages
	Default string // variables for init scripts
	Doc     string
}

// The families.
var (
	Debian = Layout{
		Name: "debian", HABin: "/usr/libexec/heartbeat", InitD: "/etc/init.d", Units: "/usr/lib/systemd/system",
		Default: "/etc/default", Doc: "/usr/share/doc/systole",
	}
	RHEL = Layout{
		Name: "rhel", HABin: "/usr/lib64/heartbeat", HABins: []string{"/usr/libexec/heartbeat"}, InitD: "/etc/rc.d/init.d",
		Units: "/usr/lib/systemd/system", Default: "/etc/sysconfig", Doc: "/usr/share/doc/systole",
	}
)

// ByName finds a layout; the error names what there is.
func ByName(name string) (Layout, error) {
	for _, l := range []Layout{Debian, RHEL} {
		if l.Name == name {
			return l, nil
		}
	}
	return Layout{}, fmt.Errorf("layout %q: not known (want debian or rhel)", name)
}

// Detect is the layout of the machine below root: RHEL's where /etc/sysconfig and /etc/rc.d are, else Debian's.
func Detect(root fs.FS) Layout {
	if is(root, "etc/rc.d/init.d") && is(root, "etc/sysconfig") {
		return RHEL
	}
	return Debian
}

func is(root fs.FS, dir string) bool {
	st, err := fs.Stat(root, dir)
	return err == nil && st.IsDir()
}

// Kind says how a file is treated.
type Kind uint8

// The kinds of files.
const (
	Regular Kind = iota // ours; replaced by an upgrade
	Config              // the administrator's to change: an upgrade, and an install over it, leave it alone
	Link                // a name of the program, or of a manual page
	Program             // the program itself
	Dir                 // a directory with a mode of its own
	StandIn             // a link for as long as nobody else has a file there
)

// File is one thing to install.
type File struct {
	Path   string
	Kind   Kind
	Mode   fs.FileMode
	Text   []byte // Regular and Config
	Target string // Link, StandIn
}

// binaries are the names of the program, by the directory that the originals have them in. HABin stands for the
// layout's. findif, send_arp and the like are resource-agents' files, which stays installed: they are not laid over.
var binaries = map[string][]string{
	"HABin":                {"heartbeat", "ipfail", "dopd", "drbd-peer-outdater", "apphbd"},
	"/usr/share/heartbeat": {"ResourceManager", "mach_down", "req_resource", "hb_standby", "hb_takeover", "hb_addnode", "hb_delnode", "hb_setweight", "hb_setsite", "ha_propagate"},
	"/usr/bin":             {"cl_status", "cl_respawn"},
	"/usr/sbin":            {"ldirectord"},
}

// inProcess are names that ha.cf has to find although the daemon does their work itself.
var inProcess = []string{"ipfail"}

// table are the names of the ipvsadm package, which are installed when they are asked for.
var table = []string{"ipvsadm", "ipvsadm-save", "ipvsadm-restore"}

// completed are programs besides systole that its completion knows; bash looks for a file of the command's name.
var completed = []string{
	"heartbeat", "ldirectord", "cl_status", "cl_respawn", "hb_standby", "hb_takeover", "hb_delnode", "hb_setweight", "hb_setsite",
	"mach_down", "req_resource", "ResourceManager", "ipvsadm",
}

// completions is where bash-completion looks.
const completions = "/usr/share/bash-completion/completions"

// Wrappers are the resource scripts that run the OCF agent of their name: all that heartbeat 3.0 had.
var Wrappers = []string{
	"AudibleAlarm", "Delay", "Filesystem", "ICP", "IPaddr", "IPaddr2", "IPsrcaddr", "IPv6addr", "LVM", "LinuxSCSI", "MailTo", "Raid1",
	"SendArp", "ServeRAID", "WAS", "WinPopup", "Xinetd", "apache", "db2", "ids", "portblock",
}

// Options choose what is installed.
type Options struct {
	Programs []string // names that the program answers to
	IPVSAdm  bool     // ipvsadm's names too: where its own package is not to stay
	Manual   []Page
}

// Page is a manual page.
type Page struct {
	Name    string // heartbeat.8
	Text    []byte // roff
	Aliases []string
}

// Files are all files of the layout, by path.
func (l Layout) Files(o Options) []File {
	list := []File{{Path: Home, Kind: Program, Mode: 0o755}}
	list = append(list, l.links(o)...)
	list = append(list, l.haD()...)
	list = append(list, l.services()...)
	list = append(list, l.texts(o)...)
	slices.SortFunc(list, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return list
}

func (l Layout) links(o Options) []File {
	var list []File
	add := func(dir, name string) {
		if slices.Contains(o.Programs, name) || slices.Contains(inProcess, name) {
			list = append(list, File{Path: path.Join(dir, name), Kind: Link, Target: toHome(dir)})
		}
	}
	for dir, names := range binaries {
		for _, name := range names {
			if dir != "HABin" {
				add(dir, name)
				continue
			}
			for _, d := range append([]string{l.HABin}, l.HABins...) {
				add(d, name)
			}
		}
	}
	if o.IPVSAdm {
		for _, name := range table {
			add("/usr/sbin", name)
		}
	}
	for _, name := range completed {
		if o.IPVSAdm || !slices.Contains(table, name) {
			list = append(list, File{Path: path.Join(completions, name), Kind: Link, Target: "systole"})
		}
	}
	return list
}

// toHome is the program as a link in a directory below /usr names it.
func toHome(dir string) string {
	if dir == path.Dir(Home) {
		return path.Base(Home)
	}
	return strings.Repeat("../", strings.Count(strings.TrimPrefix(dir, "/usr/"), "/")+1) + strings.TrimPrefix(Home, "/usr/")
}

// haD is /etc/ha.d: everything in it is the administrator's to change.
func (l Layout) haD() []File {
	const etc = "/etc/ha.d"
	var list []File
	for _, dir := range []string{".", "rc.d", "resource.d"} {
		entries, err := files.ReadDir(path.Join("files/ha.d", dir))
		if err != nil {
			panic(err) // it is part of the program
		}
		for _, e := range entries {
			if e.IsDir() || e.Name() == "wrapper" || e.Name() == "shellfuncs" {
				continue
			}
			mode := fs.FileMode(0o755)
			if dir == "." && e.Name() != "harc" || e.Name() == "hto-mapfuncs" {
				mode = 0o644
			}
			list = append(list, File{Path: path.Join(etc, dir, e.Name()), Kind: Config, Mode: mode, Text: text(path.Join("ha.d", dir, e.Name()))})
		}
	}
	for _, name := range Wrappers {
		list = append(list, File{Path: path.Join(etc, "resource.d", name), Kind: Config, Mode: 0o755, Text: text("ha.d/resource.d/wrapper")})
	}
	return append(list,
		// /etc/ha.d/shellfuncs is resource-agents' where that is installed.
		File{Path: functions, Kind: Regular, Mode: 0o644, Text: text("ha.d/shellfuncs")},
		File{Path: etc + "/shellfuncs", Kind: StandIn, Target: functions},
		File{Path: etc + "/resource.d/ldirectord", Kind: Link, Target: "/usr/sbin/ldirectord"},
		File{Path: etc + "/conf", Kind: Dir, Mode: 0o755})
}

func (l Layout) services() []File {
	var list []File
	for _, name := range []string{"heartbeat", "ldirectord"} {
		unit := strings.ReplaceAll(string(text("systemd/"+name+".service")), "HEARTBEAT", l.HABin+"/heartbeat")
		unit = strings.Replace(unit, "# Part of systole. "+l.HABin+"/heartbeat is replaced by the program's path when this file is installed.\n", "# Part of systole.\n", 1)
		list = append(list,
			File{Path: path.Join(l.InitD, name), Kind: Config, Mode: 0o755, Text: text("init.d/" + name)},
			File{Path: path.Join(l.Default, name), Kind: Config, Mode: 0o644, Text: text("default-" + name)},
			File{Path: "/etc/logrotate.d/" + name, Kind: Config, Mode: 0o644, Text: text("logrotate-" + name)},
			File{Path: path.Join(l.Units, name+".service"), Mode: 0o644, Text: []byte(unit)})
	}
	const realserver = "systole-realserver"
	return append(list,
		File{Path: path.Join(l.InitD, realserver), Kind: Config, Mode: 0o755, Text: text("init.d/" + realserver)},
		File{Path: path.Join(l.Units, realserver+".service"), Mode: 0o644, Text: text("systemd/" + realserver + ".service")},
		File{Path: "/usr/lib/tmpfiles.d/heartbeat.conf", Mode: 0o644, Text: text("tmpfiles.conf")},
		File{Path: completions + "/systole", Mode: 0o644, Text: text("completion.bash")},
		File{Path: "/var/lib/heartbeat", Kind: Dir, Mode: 0o755})
}

// texts are samples and manual pages.
func (l Layout) texts(o Options) []File {
	var list []File
	for _, name := range []string{"ha.cf", "authkeys", "haresources", "ldirectord.cf", "systole.cf", "realserver.cf"} {
		list = append(list, File{Path: path.Join(l.Doc, "examples", name), Mode: 0o644, Text: text("samples/" + name)})
	}
	for _, p := range o.Manual {
		base := strings.TrimSuffix(p.Name, path.Ext(p.Name))
		if slices.Contains(table, base) && !o.IPVSAdm {
			continue
		}
		section := strings.TrimPrefix(path.Ext(p.Name), ".")
		dir := "/usr/share/man/man" + section
		list = append(list, File{Path: dir + "/" + p.Name + ".gz", Mode: 0o644, Text: compress(p.Text)})
	}
	return list
}

func text(name string) []byte {
	b, err := files.ReadFile(path.Join("files", name))
	if err != nil {
		panic(err) // it is part of the program
	}
	return b
}
