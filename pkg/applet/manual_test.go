package applet

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/getopt"
	"github.com/systole-ha/systole/pkg/manual"
)

// Manual pages have the options that the programs take: each of them, and no others.
func TestManualOptions(t *testing.T) {
	var questions []string
	var asked []getopt.Opt
	for name, c := range clCommands() {
		if name != "test" { // the original tells nobody of it
			questions = append(questions, name)
		}
		asked = append(asked, c.opts...)
	}
	for page, c := range map[string]struct {
		opts  []getopt.Opt
		words []string
	}{
		"heartbeat":  {append(heartbeatGrammar.Opts, getopt.Opt{Long: "help"}), nil},
		"cl_status":  {asked, questions},
		"cl_respawn": {grammarOf(clRespawnLetters).Opts, nil},
		"ldirectord": {ldirectordOptions.Opts, append(regexp.MustCompile(`--[a-z]+`).FindAllString(ldirectordUsage, -1),
			"start", "stop", "restart", "try-restart", "reload", "force-reload", "status", "configtest", "drain", "undrain")},
	} {
		want := c.words
		for _, o := range c.opts {
			if o.Short != 0 {
				want = append(want, "-"+string(o.Short))
			}
			if o.Long != "" {
				want = append(want, "--"+o.Long)
			}
		}
		p, ok := manual.Find(page)
		if !ok {
			t.Fatalf("no page %s", page)
		}
		var told []string
		for _, m := range regexp.MustCompile(`\x1b\[1m(.+?)\x1b\[0m`).FindAllStringSubmatch(p.Text(true), -1) {
			told = append(told, m[1])
		}
		for _, w := range want {
			if !slices.Contains(told, w) {
				t.Errorf("the page of %s has no %s", page, w)
			}
		}
		for _, w := range told {
			if strings.HasPrefix(w, "-") && !slices.Contains(want, w) {
				t.Errorf("the page of %s has %s, which it does not take", page, w)
			}
		}
		// What stands in front of an explanation is a question, with its options.
		if page == "cl_status" {
			_, section, _ := strings.Cut(p.Text(false), "QUESTIONS\n")
			section, _, _ = strings.Cut(section, "EXIT STATUS")
			for _, m := range regexp.MustCompile(`(?m)^ {4}(\S.*)\n {8}`).FindAllStringSubmatch(section, -1) {
				for _, q := range strings.Split(m[1], ", ") {
					if name, _, _ := strings.Cut(q, " "); !slices.Contains(questions, name) {
						t.Errorf("the page of cl_status has %s, which is no question", name)
					}
				}
			}
		}
	}
}
