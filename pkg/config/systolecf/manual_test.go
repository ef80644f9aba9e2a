package systolecf

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/manual"
)

// Every directive and option is in systole.cf(5).
func TestManual(t *testing.T) {
	page, ok := manual.Find("systole.cf")
	if !ok {
		t.Fatal("no page")
	}
	text := string(page.Roff())
	for _, name := range slices.AppendSeq(append(names(), "service"), maps.Keys(options)) {
		if !strings.Contains(text, `\fB`+name+`\fP \fB`) && !strings.Contains(text, `\fB`+name+`\fP \fI`) {
			t.Errorf("%s is not in the page", name)
		}
	}
}
