package ldirectordcf

import (
	"regexp"
	"slices"
	"testing"

	"github.com/systole-ha/systole/pkg/manual"
)

// ldirectord.cf(5) has every directive that is not refused, and no other.
func TestManual(t *testing.T) {
	page, ok := manual.Find("ldirectord.cf")
	if !ok {
		t.Fatal("no page")
	}
	global, section := Directives()
	known := append(global, section...)
	told := map[string]bool{"timeout": true, "connecttimeout": true}
	for _, m := range regexp.MustCompile(`\\fB([a-z]+6?)(=|\\fP)`).FindAllStringSubmatch(string(page.Roff()), -1) {
		told[m[1]] = true
		if m[2] == "=" && !slices.Contains(known, m[1]) {
			t.Errorf("%s is in the page and no directive", m[1])
		}
	}
	for _, name := range known {
		if !told[name] {
			t.Errorf("%s is not in the page", name)
		}
	}
}
