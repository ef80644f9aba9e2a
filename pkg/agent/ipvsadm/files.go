package ipvsadm

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// ruleFiles are where a rule file may be: Red Hat's place, then Debian's. The first that exists
// counts.
var ruleFiles = []string{"/etc/sysconfig/ipvsadm", "/etc/ipvsadm.rules"}

// debianSettings are those of Debian's init script. Where the file exists, AUTO says whether the
// table is loaded and cleared at all.
const debianSettings = "/etc/default/ipvsadm"

// settings reads Debian's settings; false if this is another system.
func (r *run) settings() (map[string]string, bool) {
	text, err := os.ReadFile(r.path(debianSettings))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			r.errorf("%v", err)
		}
		return nil, false
	}
	return parseSettings(string(text)), true
}

// parseSettings reads assignments of a shell file: NAME=WORD, the word perhaps in quotes. Later
// ones win.
func parseSettings(text string) map[string]string {
	s := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if !ok || name == "" || strings.ContainsAny(name, " \t#") {
			continue
		}
		if quote := strings.IndexAny(value, `"'`); quote == 0 {
			value, _, _ = strings.Cut(value[1:], value[:1])
		} else if end := strings.IndexAny(value, " \t#;"); end >= 0 {
			value = value[:end]
		}
		s[name] = value
	}
	return s
}

// rules reads the rule file that counts, if there is one and it is one.
func (r *run) rules() (file string, rules []ipvs.Rule) {
	for _, file := range ruleFiles {
		text, err := os.ReadFile(r.path(file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			r.errorf("%v", err)
			return file, nil
		}
		if !isRuleSet(string(text)) {
			kind := "no rules"
			if strings.HasPrefix(string(text), "#!") {
				kind = "a script, no rules, and is not run"
			}
			r.log.Print("ipvsadm: " + file + " is " + kind)
			r.log.Print("Try `ipvsadm -h' or 'ipvsadm --help' for more information.")
			return file, nil
		}
		rules, _ := ipvs.ParseRules(file, text, r.o.Names(r.ctx))
		return file, rules
	}
	return "", nil
}

// isRuleSet tells a rule file from the shell scripts that people put in its place, which the
// original fails to load: its first line that is neither blank nor a comment begins with an
// option, or with ipvsadm's name.
func isRuleSet(text string) bool {
	for line := range strings.Lines(text) {
		line = strings.TrimLeft(line, " \t\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		first, _, _ := strings.Cut(line, " ")
		return strings.HasPrefix(first, "-") || first == "ipvsadm"
	}
	return true
}
