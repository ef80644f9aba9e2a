package ipaddr

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/netif"
)

// record keeps what an agent writes.
type record struct {
	lines, printed []string
	pid            int
}

var pidOfTag = regexp.MustCompile(`\[\d+\]$`)

func (r *record) Script(tag, text string) {
	r.lines = append(r.lines, pidOfTag.ReplaceAllString(tag, "")+": "+text)
}
func (r *record) Print(text string) { r.printed = append(r.printed, text) }
func (r *record) NextPID() int      { r.pid++; return r.pid }

// bursts is an Announcer that remembers.
type bursts struct {
	on map[string]func(error)
	n  int
}

func (b *bursts) Announce(link string, ip netip.Addr, done func(error)) {
	b.on[link+" "+ip.String()] = done
	b.n++
}

func (b *bursts) Cancel(link string, ip netip.Addr) bool {
	_, ok := b.on[link+" "+ip.String()]
	delete(b.on, link+" "+ip.String())
	return ok
}

// bench is a fake host with the tutorial's address and an agent on it.
type bench struct {
	host *netif.Fake
	ann  *bursts
	log  *record
	a    *Agent
}

func newBench(t *testing.T, d halog.Dialect) *bench {
	b := &bench{host: netif.NewFake("eth0", "peer0"), ann: &bursts{on: map[string]func(error){}}, log: &record{}}
	b.a = New(Options{Host: b.host, Announcer: b.ann, Dialect: d, StateDir: t.TempDir()})
	b.add(t, "eth0", "172.16.60.206/24", "172.16.60.255", "")
	return b
}

func (b *bench) add(t *testing.T, link, prefix, broadcast, label string) {
	t.Helper()
	a := netif.Addr{Link: link, Prefix: netip.MustParsePrefix(prefix), Label: label}
	if broadcast != "" {
		a.Broadcast = netip.MustParseAddr(broadcast)
	}
	if err := b.host.AddAddr(a); err != nil {
		t.Fatal(err)
	}
}

// do runs one call and gives what can be seen of it, in the form of the transcripts.
func (b *bench) do(t *testing.T, name string, words ...string) string {
	t.Helper()
	var out strings.Builder
	c := agent.Call{Name: name, Path: "/etc/ha.d/resource.d/" + name, Log: b.log}
	if len(words) > 0 {
		c.Op, c.Args = agent.Op(words[len(words)-1]), words[:len(words)-1]
	}
	b.log.lines = nil
	r, err := b.a.Run(t.Context(), c)
	asked := c.Op == agent.Status
	if (err != nil) != (r.Code != 0 && !(asked && r.Code == notRunning)) {
		t.Errorf("%s %v: code %d, error %v", name, words, r.Code, err)
	}
	if want := map[bool]agent.State{true: agent.Running, false: agent.Stopped}[r.Code == 0]; asked && len(c.Args) == 1 && r.State != want {
		t.Errorf("%s %v: state %v, want %v", name, words, r.State, want)
	}
	fmt.Fprintf(&out, "rc=%d\nout: %s", r.Code, r.Output)
	for _, l := range b.log.lines {
		fmt.Fprintf(&out, "log: %s\n", l)
	}
	var addrs []string
	list, err := b.host.Addrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		if ip := a.Prefix.Addr(); !ip.Is4() || ip.IsLoopback() || ip.String() == "172.16.60.206" {
			continue
		}
		line := "addr: " + a.Link + " inet " + a.Prefix.String()
		if a.Broadcast.IsValid() {
			line += " brd " + a.Broadcast.String()
		}
		line += " scope global"
		if a.Secondary {
			line += " secondary"
		}
		addrs = append(addrs, line+" "+a.Label+"\n")
	}
	slices.Sort(addrs)
	return out.String() + strings.Join(addrs, "")
}

// hand does to the fake host what the transcript's operator did to the real one.
func (b *bench) hand(t *testing.T, command string) {
	t.Helper()
	switch command {
	case "sleep 1.5": // the announcements have ended
		clear(b.ann.on)
	case "ip link set eth0 down":
		b.host.SetDown("eth0")
	case "ip link set eth0 up":
		if err := b.host.SetUp("eth0"); err != nil {
			t.Fatal(err)
		}
	case "ip addr add 172.16.60.111/32 dev lo label lo:0":
		b.add(t, "lo", "172.16.60.111/32", "", "lo:0")
	case "ip addr del 172.16.60.111/32 dev lo":
		if err := b.host.DelAddr("lo", netip.MustParsePrefix("172.16.60.111/32")); err != nil {
			t.Fatal(err)
		}
	default:
		t.Fatalf("unknown command in the transcript: %s", command)
	}
}

// TestTranscripts repeats sessions with the original agents. The files were recorded from them (see
// testdata/README); where we differ on purpose a line with # says so and the text is ours.
func TestTranscripts(t *testing.T) {
	for file, d := range map[string]halog.Dialect{
		"debian12-IPaddr.txt": halog.D12, "debian12-IPaddr2.txt": halog.D12,
		"centos6-IPaddr.txt": halog.C6, "centos6-IPaddr2.txt": halog.C6,
	} {
		t.Run(file, func(t *testing.T) {
			f, err := os.Open(filepath.Join("testdata", file))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			b := newBench(t, d)
			var words []string
			var want, addrs []string
			end := func() {
				if words == nil {
					return
				}
				if words[0] == "!" {
					b.hand(t, strings.Join(words[1:], " "))
				} else {
					slices.Sort(addrs)
					text := strings.Join(append(want, addrs...), "")
					if diff := cmp.Diff(text, b.do(t, words[0], words[1:]...)); diff != "" {
						t.Errorf("%s (-want +got):\n%s", strings.Join(words, " "), diff)
					}
				}
				want, addrs = nil, nil
			}
			for s := bufio.NewScanner(f); s.Scan(); {
				line := s.Text()
				if command, ok := strings.CutPrefix(line, "=== "); ok {
					end()
					words = strings.Fields(command)
				} else if strings.HasPrefix(line, "addr: ") {
					addrs = append(addrs, line+"\n")
				} else if !strings.HasPrefix(line, "#") {
					want = append(want, line+"\n")
				}
			}
			end()
		})
	}
}
