package ipvs_test

import (
	"bufio"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/model"
)

// TestRecords holds rule reading, rule text and listings against what the original ipvsadm
// printed (testdata/ipvsadm/README.md).
func TestRecords(t *testing.T) {
	files, err := filepath.Glob("../../testdata/ipvsadm/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("records: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var names ipvs.Names
			var table *model.Table
			for _, f := range archive.Files {
				switch text := string(f.Data); f.Name {
				case "hosts":
					names.Addr, names.Host = hosts(text)
				case "services":
					names.Port, names.Service = services(text)
				case "rules":
					table = load(t, f.Data, names)
				default:
					if got := show(t, table, strings.Fields(f.Name), names); got != text {
						t.Errorf("ipvsadm %s\ngot\n%s\nwant\n%s", f.Name, got, text)
					}
				}
			}
		})
	}
}

func load(t *testing.T, rules []byte, names ipvs.Names) *model.Table {
	t.Helper()
	commands, problems := ipvs.ParseRules("rules", rules, names)
	if len(problems) > 0 {
		t.Fatalf("problems: %v", problems)
	}
	table := model.New()
	for _, r := range commands {
		if err := table.Do(t.Context(), r.Command.Op); err != nil {
			t.Errorf("%v: %v", r.Pos, err)
		}
	}
	return table
}

// show does what the program ipvsadm does for -L and -S.
func show(t *testing.T, table *model.Table, args []string, names ipvs.Names) string {
	t.Helper()
	c, usage := ipvs.ParseCommand(args, names)
	if usage != nil {
		t.Fatalf("ipvsadm %v: %v", args, usage)
	}
	entries, err := table.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ipvs.SortEntries(entries)
	if c.Numeric {
		names = ipvs.Names{}
	}
	switch {
	case c.Kind == ipvs.CmdSave:
		var b []byte
		for _, e := range entries {
			b = ipvs.AppendRule(b, e, names)
		}
		return string(b)
	case c.List == ipvs.ListConnections:
		return string(ipvs.AppendConns(nil, nil, c.Format.PersistentConn, names))
	case c.List == ipvs.ListTimeouts:
		timeouts, err := table.Timeouts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return string(ipvs.AppendTimeouts(nil, timeouts))
	case c.List == ipvs.ListDaemons:
		return string(ipvs.AppendSyncDaemons(nil, nil))
	case c.List == ipvs.ListService:
		entries = slices.DeleteFunc(entries, func(e ipvs.Entry) bool { return e.VIP != c.Op.Service.VIP })
		return string(ipvs.AppendListing(nil, nil, entries, c.Format, names))
	}
	info := ipvs.Info{Version: [3]uint8{1, 2, 1}, ConnSize: 4096}
	return string(ipvs.AppendListing(nil, &info, entries, c.Format, names))
}

// hosts resolves by a text like /etc/hosts.
func hosts(text string) (func(string) (netip.Addr, bool), func(netip.Addr) (string, bool)) {
	addrs, names := map[string]netip.Addr{}, map[netip.Addr]string{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		a := netip.MustParseAddr(words[0])
		names[a] = words[1]
		for _, w := range words[1:] {
			if a.Is4() {
				addrs[w] = a
			}
		}
	}
	return func(host string) (netip.Addr, bool) { a, ok := addrs[host]; return a, ok },
		func(a netip.Addr) (string, bool) { n, ok := names[a]; return n, ok }
}

// services resolves by a text like /etc/services.
func services(text string) (func(name, proto string) (uint16, bool), func(port uint16, proto string) (string, bool)) {
	ports, names := map[string]uint16{}, map[string]string{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		words := strings.Fields(lines.Text())
		number, proto, _ := strings.Cut(words[1], "/")
		port, _ := strconv.ParseUint(number, 10, 16)
		names[words[1]] = words[0]
		for _, w := range append(words[:1:1], words[2:]...) {
			ports[w+"/"+proto] = uint16(port)
		}
	}
	return func(name, proto string) (uint16, bool) { p, ok := ports[name+"/"+proto]; return p, ok },
		func(port uint16, proto string) (string, bool) {
			n, ok := names[strconv.Itoa(int(port))+"/"+proto]
			return n, ok
		}
}
