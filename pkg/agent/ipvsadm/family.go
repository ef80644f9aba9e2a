package ipvsadm

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// family is one of the three init scripts.
type family int

const (
	source family = iota // of ipvsadm's own "make install", which the tutorial uses
	redHat
	debian
)

// The files of the families.
const (
	redHatRules    = "/etc/sysconfig/ipvsadm"
	redHatSettings = "/etc/sysconfig/ipvsadm-config"
	debianRules    = "/etc/ipvsadm.rules"
	debianSettings = "/etc/default/ipvsadm"
)

// familyOf recognizes the script by the settings that it reads, or, where there is none to be stood in
// for, by those that are there.
func familyOf(root, script string) family {
	switch text := scriptText(filepath.Join(root, script)); {
	case strings.Contains(text, "ipvsadm-config"):
		return redHat
	case strings.Contains(text, debianSettings):
		return debian
	case strings.Contains(text, "ipvsadm-restore"):
		return source
	}
	for _, f := range []struct {
		settings string
		family   family
	}{{debianSettings, debian}, {redHatSettings, redHat}} {
		if isThere(root, f.settings) {
			return f.family
		}
	}
	return source
}

// maxScript is how much of a script is looked at.
const maxScript = 64 << 10

// scriptText is the text of a shell script; "" for anything else, this very program above all, which
// may be linked to a script's place.
func scriptText(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxScript))
	if err != nil || !strings.HasPrefix(string(text), "#!") {
		return "" // a directory, for one
	}
	return string(text)
}

func isThere(root, file string) bool {
	_, err := os.Stat(filepath.Join(root, file))
	return err == nil
}

// sourceRules is the rule file of the source package's script.
func sourceRules(root string) string {
	if !isThere(root, redHatRules) && isThere(root, debianRules) {
		return debianRules
	}
	return redHatRules
}

// Usage is what the script prints for an operation that it does not have, and its exit status then.
func Usage(root, name string) (text string, status int) {
	switch familyOf(root, "") {
	case redHat:
		return "Usage: " + name + " {start|stop|restart|force-reload|reload|status|save}\n", 2
	case debian:
		return "Usage: " + name + "\n\t  {start|stop|restart|status|rate|load|save|reload|force-reload}\n", 1
	}
	return "Usage: ipvsadm\n{start|stop|restart|status|panic|save|reload|reload-force}\n", 1
}

// RuleFile is the file that a start in the place of script loads, below root, and whether it loads
// any: why says why not.
func RuleFile(root, script string) (file, why string) {
	switch familyOf(root, script) {
	case redHat:
		file = redHatRules
	case debian:
		text, _ := os.ReadFile(filepath.Join(root, debianSettings)) // one that cannot be read has no AUTO
		if ParseSettings(string(text))["AUTO"] != "true" {
			return debianRules, "not loaded: AUTO is not true in " + filepath.Join(root, debianSettings)
		}
		file = debianRules
	default:
		file = sourceRules(root)
	}
	text, err := os.ReadFile(filepath.Join(root, file))
	switch {
	case err != nil:
		return file, "not there: nothing is loaded"
	case !IsRuleSet(string(text)):
		return file, "a script, not a rule set: nothing is loaded from it"
	}
	return file, ""
}

// settings reads a file of settings; without one there are none.
func (r *run) settings(file string) map[string]string {
	text, err := os.ReadFile(r.path(file))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.errorf("%v", err)
	}
	return ParseSettings(string(text))
}

// ParseSettings reads assignments of a shell file: NAME=WORD, the word perhaps in quotes. Later
// ones win.
func ParseSettings(text string) map[string]string {
	s := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		name = strings.TrimPrefix(name, "export ")
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

// rules reads a rule file. isSet is false if it is none, but something else in its place: the original
// feeds that to ipvsadm-restore all the same, which fails at its first line.
func (r *run) rules(file string) (rules []ipvs.Rule, isSet bool) {
	text, err := os.ReadFile(r.path(file))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, true
	case err != nil:
		r.errorf("%v", err)
		return nil, false
	case !IsRuleSet(string(text)):
		kind := "no rules"
		if strings.HasPrefix(string(text), "#!") {
			kind = "a script, no rules, and is not run"
		}
		r.print("ipvsadm: %s is %s", file, kind)
		r.print("Try `ipvsadm -h' or 'ipvsadm --help' for more information.")
		return nil, false
	}
	rules, _ = ipvs.ParseRules(file, text, r.o.Names(r.ctx))
	return rules, true
}

// IsRuleSet tells a rule file from the shell scripts that people put in its place, which the
// original fails to load: its first line that is neither blank nor a comment begins with an
// option, or with ipvsadm's name.
func IsRuleSet(text string) bool {
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
