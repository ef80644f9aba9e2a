package haresources

import (
	"fmt"
	"strings"
	"testing"
)

func show(groups []Group) string {
	var lines []string
	for _, g := range groups {
		line := g.Node + " key=" + g.Key()
		for _, r := range g.Resources {
			line += fmt.Sprintf(" %s(%s)", r.Script, strings.Join(r.Args, ","))
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestParse(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"ha-master IPaddr::172.16.60.111 ipvsadm ldirectord\n", "ha-master key=IPaddr::172.16.60.111 IPaddr(172.16.60.111) ipvsadm() ldirectord()"},
		{"HA-Master 10.0.0.1/24/eth0/10.0.0.255 x::a::b\n", "ha-master key=10.0.0.1/24/eth0/10.0.0.255 IPaddr(10.0.0.1/24/eth0/10.0.0.255) x(a,b)"},
		{"# all\n\n \t a  r1\tr2 # rest r3\n", "a key=r1 r1() r2()"},
		{"a r1 \\\n r2 \\\n  r3\nb r4\n", "a key=r1 r1() r2() r3()\nb key=r4 r4()"},
		{"a r1\\\nr2\n", "a key=r1r2 r1r2()"}, // joined without a blank
		{"a r1 # c\\\nb r2\n", "a key=r1 r1()\nb key=r2 r2()"},
		{"# c\\\nb r2\n", "b key=r2 r2()"},
		{"a r1 \\\n r#2\n", "a key=r1 r1() r#2()"}, // no comments in a continuation
		{"a x::::y::\n", "a key=x::::y:: x(y)"},
		{"a 1.2.3.4::x\n", "a key=1.2.3.4::x IPaddr(1.2.3.4::x)"},
		{"a r1 \\", "a key=r1 r1()"},
		{"a r1\r\n", "a key=r1 r1()"},
		{"", ""},
	} {
		groups, problems := Parse("haresources", []byte(tc.text), nil)
		if err := problems.Err(); err != nil {
			t.Errorf("%q: %v", tc.text, err)
		}
		if got := show(groups); got != tc.want {
			t.Errorf("%q:\n%s\nwant\n%s", tc.text, got, tc.want)
		}
	}
}

func TestProblems(t *testing.T) {
	_, problems := Parse("haresources", []byte("a r1\nx r2\nb r1\nb\n"), []string{"a", "b"})
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	want := `haresources:2:1: "x" is not a node of ha.cf (want one of a, b)
haresources:3:3: warning: "r1" is the first resource of haresources:1:3 too: the two lines move as one (want a different first resource in each line)
haresources:4:1: warning: no resources (want resources after the node's name)`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
	if w := problems[0].Wire; w != "Bad nodename in haresources [x]" {
		t.Errorf("the original would log %q", w)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("a r1 \\\n r2::x::y # z\n# c\\\nb 10.0.0.1/24\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 64<<10 {
			return
		}
		groups, _ := Parse("haresources", text, nil)
		for _, g := range groups {
			if g.Node == "" || strings.ContainsAny(g.Key(), space) {
				t.Errorf("group %+v", g)
			}
		}
	})
}
