package haresources

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/alloc"
	"github.com/systole-ha/systole/pkg/diag"
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
		{"a r1 \\#c\nb r2\n", "a key=r1 r1() b() r2()"},
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
	_, problems := Parse("haresources", []byte("a r1\nx r2\nb r1 r0\nb\nb r0\r\nb r3 \\\n # r4\na r9 #\\\ny r10\n"), []string{"a", "B"})
	var got []string
	for _, p := range problems {
		got = append(got, p.String())
	}
	want := `haresources:2:1: "x" is not a node of ha.cf (want one of a, B)
haresources:3:3: warning: "r1", which names this group, is in line 1 too (want a first resource that is in no other line)
haresources:4:1: warning: no resources (want resources after the node's name)
haresources:5:3: warning: "r0", which names this group, is in line 3 too (want a first resource that is in no other line)
haresources:5:5: warning: carriage return: the original takes it for a letter of the line's last resource (want line ends without a carriage return)
haresources:7:2: warning: no comment: what follows a # in a continued line is resources (want comments on lines of their own)
haresources:9:1: warning: "y" is not a node of ha.cf: the resources of this line are nobody's (want one of a, B)`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("got\n%s\nwant\n%s", s, want)
	}
	if w := problems[0].Wire; w != "Bad nodename in haresources [x]" {
		t.Errorf("the original would log %q", w)
	}
}

func TestPositions(t *testing.T) {
	groups, _ := Parse("haresources", []byte("\na  r1 \\\n\tr2\\\nr3 # no comment\n"), nil)
	var got []string
	for _, r := range groups[0].Resources {
		got = append(got, r.Pos.String()+" "+r.Word)
	}
	want := "haresources:2:4 r1, haresources:3:2 r2r3, haresources:4:4 #, haresources:4:6 no, haresources:4:9 comment"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("%s, want %s", s, want)
	}
}

func TestHostile(t *testing.T) {
	const size = 64 << 10
	for name, text := range map[string]string{
		"bad nodes":     strings.Repeat("x\n", size/2),
		"same keys":     strings.Repeat("a r\n", size/4),
		"words":         "a " + strings.Repeat("r ", size/2),
		"continuations": strings.Repeat("a \\\n", size/4),
		"one word":      strings.Repeat("x", size),
	} {
		began := time.Now()
		_, problems := Parse("haresources", []byte(text), []string{"a"})
		if took := time.Since(began); took > 2*time.Second || len(problems) > diag.MaxProblems+1 {
			t.Errorf("%s: %v, %d problems", name, took, len(problems))
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("a r1 \\\n r2::x::y # z\n# c\\\nb 10.0.0.1/24\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 64<<10 {
			return
		}
		if got := alloc.Bytes(func() { Parse("haresources", text, []string{"a", "b"}) }); got > alloc.Text {
			t.Errorf("%d bytes allocated for %d", got, len(text))
		}
		groups, problems := Parse("haresources", text, []string{"a", "b"})
		for _, g := range groups {
			if g.Node == "" || strings.ContainsAny(g.Key(), blanks+"\n") || g.Pos.Line == 0 {
				t.Errorf("group %+v", g)
			}
		}
		if len(problems) > diag.MaxProblems+1 {
			t.Errorf("%d problems", len(problems))
		}
	})
}

// Warnings alone, however many, refuse no file.
func TestManyWarnings(t *testing.T) {
	_, problems := Parse("haresources", []byte(strings.Repeat("a\n", diag.MaxProblems+5)), []string{"a"})
	if n := len(problems); n != diag.MaxProblems+1 || problems.Err() != nil {
		t.Errorf("%d problems, %v, %v", n, problems.Err(), problems[n-1])
	}
}
