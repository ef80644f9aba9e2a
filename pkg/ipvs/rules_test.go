package ipvs_test

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/alloc"
	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/model"
)

func TestProblems(t *testing.T) {
	const rules = `# comment

ipvsadm -A -t 10.0.0.1:80
   -A -t nowhere:80
-A -t 10.0.0.1:81 -s rr -s rr
-A -t 10.0.0.1
-A -t 10.0.0.1:81 -w 5
-a -t 10.0.0.1:80
-a -t 10.0.0.1:80 -r 10.0.0.2 -w5x
-a -t 10.0.0.1:80 -r fd00::2
-a -t 10.0.0.1:80 -r 10.0.0.2 -i --tun-type gue
-a -t 10.0.0.1:80 -r 10.0.0.2 --tun-type gue
-A -u 10.0.0.1:53 -p 0
-A -t 10.0.0.1:80 -b sh-port
-A -t 10.0.0.1:80 -b what
-A -f 0
-A -6 -f 1
-A -t [fd00::1]:80 -p -M 129
-A -t 10.0.0.1:80 --frobnicate
-A -t 10.0.0.1:80 -n=1
-A -t
GW=10.0.0.1
-R
-L extra
-A -L
--set 1 2
--set 1 2 x
--start-daemon somebody
--start-daemon master --mcast-group 10.0.0.1
-L --timeout --daemon
-A -t 10.0.0.1:80 -o
-A -t 10.0.0.1:80 -M bad -p
`
	want := strings.Split(strings.TrimSpace(`
f:4:10: illegal virtual server address[:port] specified (want ADDRESS:PORT)
f:5:25: multiple 'scheduler' options specified
f:6:7: Zero port specified for non-persistent service (want ADDRESS:PORT, or -p)
f:7:19: Illegal 'weight' option with the 'add-service' command
f:8:18: You need to supply the 'real-server' option for the 'add-server' command
f:9:31: illegal weight specified (want 0 or more)
f:10:19: Different address family is allowed only for tunneling servers (want an address of the service's family, or -i)
f:11:48: You need to supply the 'tun-port' option for the 'gue' tunnel type
f:12:31: Tunnel options conflict with forward method (want -i with tunnel options)
f:13:22: invalid timeout value `+"`0'"+` specified (want 1 to 2678400 seconds)
f:14:22: incompatible scheduler flag `+"`sh-port'"+` (want a flag of the service's scheduler)
f:15:22: invalid scheduler flag `+"`what'"+` (want flag-1, flag-2, flag-3, sh-fallback, sh-port, mh-fallback or mh-port)
f:16:7: invalid fwmark value `+"`0'"+` specified (want a firewall mark of 1 to 4294967295)
f:17:4: -6 used before -f (want -6 behind -f MARK)
f:18:26: illegal ipv6 netmask specified (want a prefix length of 1 to 128)
f:19:19: --frobnicate: unknown option
f:20:19: -n=1: option does not take an argument
f:21:4: -t: missing argument
f:22:1: not a command: "GW=10.0.0.1" (want a command first: -A, -E, -D, -C, -R, -S, -a, -e, -d, -L, -Z, --set, --start-daemon, --stop-daemon or -h)
f:23:1: not a command: "-R" (want a command other than -R)
f:24:4: unexpected argument extra
f:25:4: invalid option `+"`-L'"+` (want one command a line)
f:26:10: --set option requires 3 timeout values (want seconds for tcp, tcpfin and udp)
f:27:11: invalid timeout value `+"`x'"+` specified (want 0 to 2678400 seconds)
f:28:16: illegal start-daemon parameter specified (want master or backup)
f:29:37: invalid IPv4 mcast-group `+"`10.0.0.1'"+` (want a multicast address)
f:30:14: The option 'daemon' conflicts with the 'timeout' option in the 'list' command
f:31:19: One-Packet Scheduling is only for UDP virtual services (want -o with -u or -f)
f:32:22: illegal virtual server persistent mask specified (want a mask like 255.255.255.0)
`), "\n")
	commands, problems := ipvs.ParseRules("f", []byte(rules), ipvs.Names{})
	if len(commands) != len(want)+1 || commands[0].Err != nil || commands[0].Pos.String() != "f:3:9" {
		t.Errorf("%d commands, the first %+v", len(commands), commands[0])
	}
	for i := range max(len(problems), len(want)) {
		switch {
		case i >= len(problems):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("too much: %v", problems[i])
		case problems[i].String() != want[i]:
			t.Errorf("got  %v\nwant %v", problems[i], want[i])
		}
	}
}

func TestSplitRule(t *testing.T) {
	for line, want := range map[string]struct {
		words   []string
		columns []int
	}{
		"":                               {},
		" \t\r\n":                        {},
		"ipvsadm ipvsadm  -C\r\n":        {[]string{"-C"}, []int{18}},
		"-A\t-t 1.2.3.4:80 ipvsadm":      {[]string{"-A", "-t", "1.2.3.4:80"}, []int{1, 4, 7}},
		"-A -t '1.2.3.4:80'\f \"a b\"":   {[]string{"-A", "-t", "'1.2.3.4:80'\f", `"a`, `b"`}, []int{1, 4, 7, 21, 24}},
		"-A -t 1.2.3.4:80\x00-s rr\n-C ": {[]string{"-A", "-t", "1.2.3.4:80", "rr", "-C"}, []int{1, 4, 7, 21, 24}},
	} {
		words, columns := ipvs.SplitRule(line)
		if !slices.Equal(words, want.words) || !slices.Equal(columns, want.columns) {
			t.Errorf("%q: %q at %v, want %q at %v", line, words, columns, want.words, want.columns)
		}
	}
}

// FuzzParseRules holds that rules never crash the parser, that each problem has a place in the
// text, and that a table written as rules and read again is the same table.
func FuzzParseRules(f *testing.F) {
	f.Add([]byte("-A -t 10.0.0.1:80 -s wlc -p 600 -M 255.0.255.0\n-a -t 10.0.0.1:80 -r 10.0.0.2 -i --tun-type gue --tun-port 5 --tun-csum -w 3 -x 5 -y 2\n"))
	f.Add([]byte("-A -f 1 -6 -p -M 64 -b flag-1\n-a -f 1 -6 -r [fd00::2]:80 -m\n-A -u [::1]:53 -o --pe sip -p 5 -s sh -b sh-port\n"))
	f.Add([]byte("ipvsadm -A --tcp-service=1:80 -srr\n-Ln --stats\n--set 1 2 3\n-e -t 1:80 -r ::1.2.3.4 -w=-1 -- x\n-R\n-A -t [\x00"))
	f.Add([]byte("-A --sctp-service 0x7f.1:080 -p=\n-D -t 1.2.3.4.5:6\n--start-daemon master --mcast-group ff02::1 --mcast-ttl 7\n-C\n-Z -f 5"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if got := alloc.Bytes(func() { ipvs.ParseRules("f", text, ipvs.Names{}) }); len(text) <= 1<<16 && got > alloc.Text {
			t.Errorf("%d bytes allocated for %d", got, len(text))
		}
		commands, problems := ipvs.ParseRules("f", text, ipvs.Names{})
		lines := strings.Split(string(text), "\n")
		for _, p := range problems {
			if p.Pos.Line < 1 || p.Pos.Line > len(lines) || p.Pos.Col < 1 || p.Pos.Col > len(lines[p.Pos.Line-1])+1 || p.Msg == "" {
				t.Errorf("no such place: %v", p)
			}
		}
		table := model.New()
		for _, r := range commands {
			if r.Err == nil && r.Command.ChangesTable() {
				_ = table.Do(t.Context(), r.Command.Op) // a refusal is as good
			}
		}
		have := writable(t, table)
		var written []byte
		for _, e := range have {
			written = ipvs.AppendRule(written, e, ipvs.Names{})
		}
		if again := writable(t, load(t, written, ipvs.Names{})); !reflect.DeepEqual(have, again) {
			t.Errorf("%+v\nwritten as\n%sread as\n%+v", have, written, again)
		}
	})
}

// writable is a table, sorted, without what ipvsadm's rules cannot say: marks that it prints as
// negative numbers, the mask of a service that is not persistent, the third flag of two schedulers, thresholds.
func writable(t *testing.T, table *model.Table) []ipvs.Entry {
	t.Helper()
	entries, err := table.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries = slices.DeleteFunc(entries, func(e ipvs.Entry) bool { return e.FWMark >= 1<<31 })
	for i, e := range entries {
		if e.Scheduler == "sh" || e.Scheduler == "mh" {
			entries[i].SchedFlags &^= ipvs.SchedFlag3
		}
		if e.Persistent == 0 {
			entries[i].Netmask, entries[i].OddMask = 0, netip.Addr{}
		}
	}
	slices.SortFunc(entries, func(a, b ipvs.Entry) int { return strings.Compare(a.ID(), b.ID()) })
	for _, e := range entries {
		for i := range e.Dests {
			e.Dests[i].UpperThreshold, e.Dests[i].LowerThreshold = 0, 0
		}
		slices.SortFunc(e.Dests, func(a, b ipvs.DestEntry) int { return a.Addr.Compare(b.Addr) })
	}
	return entries
}
