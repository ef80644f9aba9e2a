package compat

import (
	"errors"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/config/authkeys"
	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/haresources"
	"github.com/systole-ha/systole/pkg/diag"
)

// recordedHost is the machine on which the records were made.
func recordedHost() hacf.Host {
	in := func(names ...string) func(string) bool {
		return func(name string) bool { return slices.Contains(names, name) }
	}
	executable, link := in("/bin/true", "/etc"), in("eth0", "lo")
	return hacf.Host{
		Node:        "hba",
		UserExists:  in("root", "hacluster"),
		GroupExists: in("root", "haclient"),
		Executable:  executable,
		CheckLink: func(name string) error {
			if !link(name) {
				return errors.New("No such device")
			}
			return nil
		},
		CheckTTY: func(path string) error {
			switch path {
			case "/dev/null", "/dev/zero":
				return nil
			case "/etc/passwd":
				return errors.New("not a character device")
			}
			return fs.ErrNotExist
		},
		CheckMcast: func(name string) error {
			if !link(name) {
				return errors.New("No such device")
			}
			return nil
		},
		Resolve:       func(string, bool) error { return errors.New(unknownReason) },
		StonithType:   in("null"),
		Readable:      in(),
		ServiceOfPort: func(port int) string { return map[int]string{53: "domain"}[port] },
	}
}

// original is what the original would have logged for the problems.
func original(problems diag.List) []string {
	var lines []string
	for _, p := range problems {
		if p.Wire == "" {
			continue
		}
		level := "ERROR: "
		if p.Sev == diag.Warning {
			level = "WARN: "
		}
		for line := range strings.SplitSeq(strings.ReplaceAll(p.Wire, "\n]", `\n]`), "\n") {
			if !strings.HasPrefix(line, "ERROR: ") && !strings.HasPrefix(line, "WARN: ") && !strings.HasPrefix(line, "info: ") {
				line = level + line
			}
			lines = append(lines, visible(line))
		}
	}
	return lines
}

// problemsOf leaves out of a record what is no problem of the file: what goes to standard error
// without a level, and what the daemon tells of its state.
func problemsOf(log []string) []string {
	var lines []string
	for _, l := range log {
		if !strings.HasPrefix(l, "stderr: ") && !strings.HasPrefix(l, "notice: ") && !strings.HasPrefix(l, "info: Pacemaker support: ") &&
			l != "info: Enabling logging daemon " && !strings.HasPrefix(l, "info: logfile and debug file are those specified") {
			lines = append(lines, l)
		}
	}
	return lines
}

// differences are the cases in which we answer otherwise on purpose, with our answer (see DEVIATIONS.md).
var differences = map[string]string{
	"> keepalive 500cl_gfoo": "refused", // a slip of the original's: "cl_g" is no unit
	// A carriage return ends a line; the original takes it for a letter of the resource's name.
	`= hba r1\r`:              "accepted | keys of hba: r1\\n | resources of hba: r1 \\n | keys of hbb: | resources of hbb:",
	`= hba r1\r | = hbb r2\r`: "accepted | keys of hba: r1\\n | resources of hba: r1 \\n | keys of hbb: r2\\n | resources of hbb: r2 \\n",
	// A backslash at the end of the file continues nothing; the original takes it for a resource.
	`= hba r1 \\`: "accepted | keys of hba: r1\\n | resources of hba: r1 \\n | keys of hbb: | resources of hbb:",
}

func TestHaCfRecords(t *testing.T) {
	compare(t, "ha.cf.txt", func(c *confCase) (diag.List, []string) {
		_, problems := hacf.Parse("/etc/ha.d//ha.cf", []byte(c.text(haCfBase)), recordedHost())
		return problems, nil
	})
}

func TestAuthkeysRecords(t *testing.T) {
	compare(t, "authkeys.txt", func(c *confCase) (diag.List, []string) {
		_, problems := authkeys.Parse("/etc/ha.d//authkeys", []byte(c.text("")))
		return problems, nil
	})
}

func TestHaresourcesRecords(t *testing.T) {
	compare(t, "haresources.txt", func(c *confCase) (diag.List, []string) {
		groups, problems := haresources.Parse("/etc/ha.d//haresources", []byte(c.text("")), []string{"hba", "hbb", "10.98.0.9", "g1"})
		var scripts []string
		for _, node := range []string{"hba", "hbb"} {
			var keys, all string
			for _, g := range groups {
				if g.Node != node {
					continue
				}
				keys += g.Key() + "\n"
				for _, r := range g.Resources {
					all += r.Word + " "
				}
				all += "\n"
			}
			scripts = append(scripts, visible("keys of "+node+": "+keys), visible("resources of "+node+": "+all))
		}
		return problems, scripts
	})
}

// TestHaCfLines holds what systole show prints against what was read: the same file again.
func TestHaCfLines(t *testing.T) {
	read := func(text string) (*hacf.Config, error) {
		c, problems := hacf.Parse("ha.cf", []byte(text), recordedHost())
		return c, problems.Err()
	}
	meaning := func(c hacf.Config) hacf.Config {
		c.Params, c.Pending = nil, nil
		c.Nodes, c.Media, c.Clients, c.APIAuth = slices.Clone(c.Nodes), slices.Clone(c.Media), slices.Clone(c.Clients), slices.Clone(c.APIAuth)
		for i := range c.Nodes {
			c.Nodes[i].Pos = diag.Pos{}
		}
		for i := range c.Media {
			c.Media[i].Pos = diag.Pos{}
		}
		for i := range c.Clients {
			c.Clients[i].Pos = diag.Pos{}
		}
		for i := range c.APIAuth {
			c.APIAuth[i].Pos = diag.Pos{}
		}
		if c.Stonith != nil {
			s := *c.Stonith
			s.Pos = diag.Pos{}
			c.Stonith = &s
		}
		return c
	}
	tried := 0
	for _, c := range readConfRecord(t, filepath.Join(confDir, "ha.cf.txt")).cases() {
		first, err := read(c.text(haCfBase))
		if err != nil {
			continue
		}
		tried++
		var text strings.Builder
		for _, l := range first.Lines() {
			text.WriteString(l.Directive + " " + l.Value + "\n")
		}
		again, err := read(text.String())
		if err != nil {
			t.Errorf("%s: %v\n%s", c.name(), err, text.String())
		} else if a, b := meaning(*first), meaning(*again); !reflect.DeepEqual(a, b) {
			t.Errorf("%s: read\n%+v\nagain\n%+v", c.name(), a, b)
		}
	}
	if tried < 100 {
		t.Errorf("only %d files", tried)
	}
}

// compare holds a parser against a record: the same verdict, the same lines for the log, and what
// else the record has.
func compare(t *testing.T, file string, parse func(c *confCase) (problems diag.List, more []string)) {
	for _, c := range readConfRecord(t, filepath.Join(confDir, file)).cases() {
		problems, more := parse(c)
		verdict := "accepted"
		if problems.Err() != nil {
			verdict = "refused"
		}
		got := answer(verdict, append(original(problems), more...))
		want := answer(c.verdict, problemsOf(c.log))
		if other, ok := differences[c.name()]; ok {
			want = other
		}
		if got != want {
			t.Errorf("%s\n%s\nthe original:\n%s\nproblems: %v", c.name(), got, want, problems)
		}
	}
}

// answer is an answer on one line.
func answer(verdict string, log []string) string {
	parts := []string{verdict}
	for _, l := range log {
		parts = append(parts, strings.TrimRight(l, " "))
	}
	return strings.Join(parts, " | ")
}
