package compat

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/systole-ha/systole/"

// floors says which packages may import which: only those of a lower floor. A package that is
// not here fails the test, so that each new one is placed on purpose.
var floors = [][]string{
	0:  {"alloc", "diag", "api/frame", "lasting"},
	1:  {"getopt", "hamsg", "ipvs", "netif", "halog", "agent", "lab", "layout", "config/logdcf", "manual", "perlre", "realtime"},
	2:  {"hbauth", "config/systolecf"},
	3:  {"config/hacf", "config/authkeys", "config/haresources", "config/ldirectordcf", "cluster/ipfail", "cluster/seqtrack", "cluster/liveness", "cluster/takeover"},
	4:  {"cluster", "director", "config/hadir", "config/view"},
	5:  {"apphb", "media", "api/broker", "announce", "realserver", "check", "ipvs/model", "ipvs/kernel", "cluster/clustertest", "ipvs/ipvstest"},
	6:  {"ldirectord", "api", "ipvs/userspace"},
	7:  {"agent/ipaddr", "agent/ipvsadm", "agent/ldirectord", "agent/script", "agent/syncdaemon", "resource"},
	8:  {"daemon"},
	9:  {"demo", "adopt", "metrics"},
	10: {"applet"},
}

// pure packages decide and never act: they get time, randomness and facts as arguments.
var pure = []string{
	"diag", "getopt", "hamsg", "hbauth", "ipvs", "perlre", "config/hacf", "config/authkeys", "config/haresources",
	"config/ldirectordcf", "config/hadir", "config/view", "config/systolecf", "config/logdcf", "cluster", "cluster/ipfail", "cluster/seqtrack", "cluster/liveness", "cluster/takeover", "director", "api/frame", "api/broker",
}

var impure = []string{"os", "os/exec", "os/signal", "net", "net/http", "sync", "sync/atomic", "log", "log/slog", "math/rand", "math/rand/v2", "syscall"}

// importers names the only packages that may import a third-party module.
var importers = map[string][]string{
	"github.com/cloudflare/ipvs":          {"ipvs/kernel"},
	"github.com/mdlayher/genetlink":       {"ipvs/kernel"},
	"github.com/mdlayher/netlink":         {"ipvs/kernel"},
	"github.com/vishvananda/netlink":      {"netif", "lab"},
	"github.com/vishvananda/netns":        {"lab", "netif", "ipvs/kernel"},
	"github.com/j-keck/arping":            {"announce"},
	"github.com/mdlayher/packet":          {"announce", "lab"},
	"github.com/mdlayher/ndp":             {"announce"},
	"github.com/urfave/cli/v2":            {"applet"},
	"github.com/coreos/go-systemd/v22":    {"daemon"},
	"github.com/cpuguy83/go-md2man/v2":    {"manual"},
	"github.com/sirupsen/logrus":          {"halog"},
	"github.com/dlclark/regexp2/v2":       {"perlre"},
	"github.com/go-sql-driver/mysql":      {"check"},
	"github.com/lib/pq":                   {"check"},
	"github.com/sijms/go-ora/v2":          {"check"},
	"github.com/prometheus/client_golang": {"metrics"},
	"github.com/prometheus/common":        {"metrics"},
	"golang.org/x/net":                    {"media", "check", "announce", "lab", "applet"},
	"github.com/cockroachdb/datadriven":   {"cluster/clustertest"},
}

// TestArrows holds every import of pkg/ against the floors, the pure packages' list and the
// third-party importers.
func TestArrows(t *testing.T) {
	floor := map[string]int{}
	for n, names := range floors {
		for _, name := range names {
			floor[name] = n
		}
	}
	isPure := map[string]bool{}
	for _, name := range pure {
		isPure[name] = true
	}
	out, err := exec.Command("go", "list", "-f", `{{.ImportPath}} {{join .Imports " "}}`, "../pkg/...").CombinedOutput()
	if err != nil {
		t.Fatalf("go list ../pkg/...: %v\n%s", err, out)
	}
	seen := 0
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		fields := strings.Fields(line)
		name := strings.TrimPrefix(fields[0], module+"pkg/")
		own, ok := floor[name]
		if !ok {
			t.Errorf("pkg/%s stands on no floor (add it to floors in compat/arch_test.go)", name)
			continue
		}
		seen++
		for _, imp := range fields[1:] {
			if other, ok := strings.CutPrefix(imp, module+"pkg/"); ok {
				if f, known := floor[other]; known && f >= own {
					t.Errorf("pkg/%s (floor %d) imports pkg/%s (floor %d): arrows point down", name, own, other, f)
				}
				continue
			}
			if isPure[name] && contains(impure, imp) {
				t.Errorf("pkg/%s is pure and imports %s", name, imp)
			}
			for mod, who := range importers {
				if (imp == mod || strings.HasPrefix(imp, mod+"/")) && !contains(who, name) {
					t.Errorf("pkg/%s imports %s, which is for %s only", name, imp, strings.Join(who, ", "))
				}
			}
		}
	}
	if seen < len(floor)/2 {
		t.Errorf("only %d packages seen: the test looks in the wrong place", seen)
	}
}

// TestArchitectureTable wants each package of pkg/ in the README's table.
func TestArchitectureTable(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := os.ReadDir("../pkg")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if name := "`pkg/" + d.Name(); !strings.Contains(string(text), name+"`") && !strings.Contains(string(text), name+"/*`") {
			t.Errorf("pkg/%s is not in the table of README.md", d.Name())
		}
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
