package resource

import (
	"context"
	"fmt"

	"github.com/systole-ha/systole/pkg/config/haresources"
)

// VerifyAllIdle looks at the key of every group, as the init script does before the daemon's start,
// logs those that are active, and returns how many there are. print gets the lines that the original
// prints on standard error besides.
func (m *Manager) VerifyAllIdle(ctx context.Context, print func(line string)) (active int) {
	j := &job{Manager: m, ctx: ctx}
	s := m.script("ResourceManager")
	for _, g := range m.o.Groups() {
		if len(g.Resources) == 0 || !j.owned(s, g.Resources[0]) {
			continue
		}
		active++
		lines := idleLines(g.Resources[0], m.o.Paths.Programs)
		for _, text := range lines {
			s.log("%s", text[0])
		}
		for _, text := range lines {
			print(text[1])
		}
	}
	if active > 0 {
		s.log("CRITICAL: Non-idle resources will affect resource takeback!")
		s.log("CRITICAL: Non-idle resources may affect data integrity!")
	}
	return active
}

// idleLines are the lines about an active resource: for the log, for standard error.
func idleLines(r haresources.Resource, programs string) [][2]string {
	same := func(text string) [2]string { return [2]string{text, text} }
	read := "info: Read the docs and/or %ssource to " + programs + "/ResourceManager for more details."
	return [][2]string{
		same(fmt.Sprintf("CRITICAL: Resource %s is active, and should not be!", r.Word)),
		same("CRITICAL: Non-idle resources can affect data integrity!"),
		same("info: If you don't know what this means, then get help!"),
		{fmt.Sprintf(read, ""), fmt.Sprintf(read, "the ")},
	}
}
