package compat

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// A line of ha-log as the checklist has it. In the text, {P1} is a process id, the same wherever it
// is written, and {NODE} the node's name; SCRIPT lines are "TAG|TEXT" and are rendered in the dialect
// of the implementation: the tutorial's for ours, Debian 12's for the original.
type logLine struct {
	text string
	only lab.Impl // when limited
	some bool     // limited to that implementation
}

func core(text string) logLine { return logLine{text: "{SYS} {NODE} " + text} }

func script(tag, text string) logLine { return logLine{text: tag + "|" + text} }

func (l logLine) in(impl lab.Impl) logLine { l.only, l.some = impl, true; return l }

// acquisition are lines 2 to 10 of S29. Pids as there: 2 is ResourceManager, 3 and 5 the wrapper, 4
// the agent.
var acquisition = []logLine{
	script("ResourceManager(default)[{P2}]", "info: Acquiring resource group: ha-master IPaddr::172.16.60.111 ipvsadm ldirectord"),
	script("/usr/lib/ocf/resource.d//heartbeat/IPaddr(IPaddr_172.16.60.111)[{P3}]", "INFO:  Resource is stopped"),
	script("ResourceManager(default)[{P2}]", "info: Running /etc/ha.d/resource.d/IPaddr 172.16.60.111 start"),
	script("IPaddr(IPaddr_172.16.60.111)[{P4}]", "INFO: Adding inet address 172.16.60.111/24 with broadcast address 172.16.60.255 to device eth0").in(lab.Ours),
	script("IPaddr(IPaddr_172.16.60.111)[{P4}]", "INFO: Bringing device eth0 up").in(lab.Ours),
	script("IPaddr(IPaddr_172.16.60.111)[{P4}]", "INFO: /usr/libexec/heartbeat/send_arp -i 200 -r 5 -p /var/run/resource-agents/send_arp-172.16.60.111 eth0 172.16.60.111 auto not_used not_used").in(lab.Ours),
	script("IPaddr(IPaddr_172.16.60.111)[{P4}]", "INFO: eval ifconfig eth0:0 172.16.60.111 netmask 255.255.255.0 broadcast 172.16.60.255").in(lab.Original),
	script("/usr/lib/ocf/resource.d//heartbeat/IPaddr(IPaddr_172.16.60.111)[{P5}]", "INFO:  Success"),
	script("ResourceManager(default)[{P2}]", "info: Running /etc/init.d/ipvsadm  start"),
	script("ResourceManager(default)[{P2}]", "info: Running /etc/init.d/ldirectord  start"),
}

// release are lines 3 to 8 of S44.
var release = []logLine{
	script("ResourceManager(default)[{P2}]", "info: Releasing resource group: ha-master IPaddr::172.16.60.111 ipvsadm ldirectord"),
	script("ResourceManager(default)[{P2}]", "info: Running /etc/init.d/ldirectord  stop"),
	script("ResourceManager(default)[{P2}]", "info: Running /etc/init.d/ipvsadm  stop"),
	script("ResourceManager(default)[{P2}]", "info: Running /etc/ha.d/resource.d/IPaddr 172.16.60.111 stop"),
	script("IPaddr(IPaddr_172.16.60.111)[{P4}]", "INFO: IP status = ok, IP_CIP=").in(lab.Ours),
	script("IPaddr(IPaddr_172.16.60.111)[{P4}]", "INFO: ifconfig eth0:0 down").in(lab.Original),
	script("/usr/lib/ocf/resource.d//heartbeat/IPaddr(IPaddr_172.16.60.111)[{P5}]", "INFO:  Success"),
}

var (
	placeholder = regexp.MustCompile(`\{[A-Z][A-Z0-9]*\}`)
	isoDate     = `\d{4}/\d\d/\d\d_\d\d:\d\d:\d\d`
	sysDate     = `[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d`
)

// expression compiles a line; names are the placeholders of its groups.
func (l logLine) expression(impl lab.Impl, node string) (re *regexp.Regexp, names []string) {
	text := l.text
	if tag, rest, ok := strings.Cut(text, "|"); ok {
		if text = tag + ":\t{DATE} " + rest; impl == lab.Original {
			text = "{DATE}  " + tag + ":    " + rest
		}
	}
	var b strings.Builder
	b.WriteString("^")
	at := 0
	for _, m := range placeholder.FindAllStringIndex(text, -1) {
		b.WriteString(regexp.QuoteMeta(text[at:m[0]]))
		switch name := text[m[0]:m[1]]; name {
		case "{DATE}":
			b.WriteString(isoDate)
		case "{SYS}":
			b.WriteString(sysDate)
		case "{NODE}":
			b.WriteString(regexp.QuoteMeta(node))
		default:
			names = append(names, name)
			b.WriteString(`(\d+)`)
		}
		at = m[1]
	}
	b.WriteString(regexp.QuoteMeta(text[at:]) + "$")
	return regexp.MustCompile(b.String()), names
}

// inOrder fails unless the log has the lines in this order, with others between, and process ids
// that agree. Two placeholders may not stand for one number.
func inOrder(log, node string, impl lab.Impl, want []logLine) verdict {
	pids := map[string]string{}
	lines := strings.Split(strings.TrimSuffix(log, "\n"), "\n")
	at := 0
	for _, w := range want {
		if w.some && w.only != impl {
			continue
		}
		re, names := w.expression(impl, node)
		found := false
		for ; at < len(lines) && !found; at++ {
			m := re.FindStringSubmatch(lines[at])
			found = m != nil && agree(pids, names, m)
		}
		if !found {
			return fmt.Errorf("ha-log of %s lacks, in its place: %q", node, re)
		}
	}
	for a, p := range pids {
		for b, q := range pids {
			if a != b && p == q {
				return fmt.Errorf("ha-log of %s: %s and %s are both %s", node, a, b, p)
			}
		}
	}
	return nil
}

// agree binds a line's process ids, and is false where they contradict what is bound.
func agree(pids map[string]string, names, groups []string) bool {
	for i, n := range names {
		if p, ok := pids[n]; ok && p != groups[i+1] {
			return false
		}
	}
	for i, n := range names {
		pids[n] = groups[i+1]
	}
	return true
}

// logs waits until the director's ha-log, from an offset on, has the lines.
func (c *checklist) logs(d *lab.Director, from int, limit time.Duration, want ...logLine) verdict {
	return c.eventually(limit, func() verdict { return inOrder(d.Log()[from:], d.Name(), c.impl, want) })
}

func TestChecklistLogLines(t *testing.T) {
	log := "ResourceManager(default)[7]:\t2018/12/25_15:41:48 info: one  x\nother\nDec 25 15:41:48 n heartbeat: [8]: info: two\nResourceManager(default)[7]:\t2018/12/25_15:41:49 info: three\n"
	one, two, three := script("ResourceManager(default)[{P1}]", "info: one  x"), core("heartbeat: [{P2}]: info: two"), script("ResourceManager(default)[{P1}]", "info: three")
	if v := inOrder(log, "n", lab.Ours, []logLine{one, two, three}); v != nil {
		t.Error(v)
	}
	for name, bad := range map[string][]logLine{
		"order":        {two, one},
		"blanks":       {script("ResourceManager(default)[{P1}]", "info: one x")},
		"other pid":    {one, script("ResourceManager(default)[{P2}]", "info: three")},
		"same pid":     {one, core("heartbeat: [{P1}]: info: two")},
		"rest of line": {core("heartbeat: [{P2}]: info: tw")},
	} {
		if inOrder(log, "n", lab.Ours, bad) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if inOrder(log, "n", lab.Original, []logLine{one}) == nil {
		t.Error("the other dialect is accepted")
	}
}

// TestChecklistJoin: S36 takes the tutorial's order and that of golden/S1, and neither with a line
// missing or out of its place.
func TestChecklistJoin(t *testing.T) {
	const (
		starting  = "Dec 25 15:41:37 ha-slave heartbeat: [4]: info: Starting \"/usr/lib64/heartbeat/ipfail\" as uid 0  gid 0 (pid 4)\n"
		active    = "Dec 25 15:41:38 ha-slave heartbeat: [3]: info: Status update for node ha-master: status active\n"
		harc      = "harc(default)[7]:\t2018/12/25_15:41:38 info: Running /etc/ha.d//rc.d/status status\n"
		told      = "Dec 25 15:41:42 ha-slave ipfail: [4]: info: Status update: Node ha-master now has status active\n"
		asking    = "Dec 25 15:41:44 ha-slave ipfail: [4]: info: Asking other side for ping node count.\n"
		noGiveup  = "Dec 25 15:41:47 ha-slave ipfail: [4]: info: No giveup timer to abort.\n"
		balanced  = "Dec 25 15:41:47 ha-slave ipfail: [4]: info: Ping node count is balanced.\n"
		remote    = "Dec 25 15:41:48 ha-slave heartbeat: [3]: info: remote resource transition completed.\n"
		local     = "Dec 25 15:41:48 ha-slave heartbeat: [3]: info: local resource transition completed.\n"
		initial   = "Dec 25 15:41:48 ha-slave heartbeat: [3]: info: Initial resource acquisition complete (T_RESOURCES(us))\n"
		resources = "Dec 25 15:41:48 ha-slave heartbeat: [9]: info: No local resources [/usr/share/heartbeat/ResourceManager listkeys ha-slave] to acquire.\n"
	)
	for name, lines := range map[string][]string{
		"tutorial": {starting, active, harc, told, asking, noGiveup, remote, remote, initial, resources},
		"golden":   {active, harc, starting, balanced, local, initial, resources},
	} {
		ok := func(lines []string) bool { return joins(strings.Join(lines, ""), "ha-slave", lab.Ours) == nil }
		if !ok(lines) {
			t.Errorf("%s: %v", name, joins(strings.Join(lines, ""), "ha-slave", lab.Ours))
		}
		for i, l := range lines {
			rest := slices.Delete(slices.Clone(lines), i, i+1)
			if ok(rest) {
				t.Errorf("%s is accepted without %q", name, l)
			}
			if l == initial && ok(slices.Insert(rest, 0, l)) || l == starting && ok(append(rest, l)) {
				t.Errorf("%s is accepted with %q out of its place", name, l)
			}
		}
	}
}
