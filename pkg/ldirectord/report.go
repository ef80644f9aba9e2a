package ldirectord

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/systole-ha/systole/pkg/director"
)

// Report is what a running instance says of itself: `ldirectord CONFIG status --json`.
type Report struct {
	PID    int       `json:"pid"`
	Config string    `json:"config"`
	Since  time.Time `json:"since"`  // when the service was started
	Loaded time.Time `json:"loaded"` // when the configuration in force was read
	// Rejected is why the file was not taken when it was read last; nil if it was.
	Rejected []string `json:"rejected"`
	director.Status
}

func (l *loop) report() Report {
	return Report{
		PID: os.Getpid(), Config: l.s.o.Instance.Config, Since: l.s.began, Loaded: l.loaded, Rejected: l.rejected,
		Status: l.director.Status(),
	}
}

// Write prints the report for people: a paragraph a service, a line a server, and under servers
// that are not up what their last failed checks were like.
func (r *Report) Write(out io.Writer, now time.Time) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, since %s, configuration of %s\n", r.State, r.Since.Format(time.DateTime), r.Loaded.Format(time.DateTime))
	if len(r.Rejected) > 0 {
		b.WriteString("the file is now another one, which was not taken:\n")
		for _, line := range r.Rejected {
			b.WriteString("  " + line + "\n")
		}
	}
	if r.Unread != "" {
		b.WriteString("the table cannot be read, its counters are old: " + r.Unread + "\n")
	}
	for _, v := range r.Virtuals {
		writeVirtual(&b, v, now)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func writeVirtual(b *strings.Builder, v director.VirtualStatus, now time.Time) {
	b.WriteString("\n" + v.ID)
	if v.Fallback {
		b.WriteString(", served by the fallback")
	}
	if v.Repairs > 0 {
		fmt.Fprintf(b, ", %d repairs", v.Repairs)
	}
	if v.Error != "" {
		b.WriteString(", table: " + v.Error)
	}
	b.WriteString("\n")
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, r := range v.Reals {
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", r.Addr, health(r), inTable(r), connections(r), answered(r, now))
	}
	_ = w.Flush() // into memory
	for _, r := range v.Reals {
		if r.Health == director.Up && r.Failures == 0 {
			continue
		}
		for _, f := range r.Recent {
			fmt.Fprintf(b, "    %s %s %s\n", f.At.Format(time.DateTime), r.Addr, f.Reason)
			for _, line := range f.Trace {
				b.WriteString("        " + line + "\n")
			}
		}
	}
}

func health(r director.RealStatus) string {
	text := r.Health.String()
	if r.Agent != "" {
		text += ", agent says " + r.Agent
	}
	if r.Drained {
		text += ", drained"
	}
	return text
}

func inTable(r director.RealStatus) string {
	if !r.InTable {
		return "not in the table"
	}
	return fmt.Sprintf("weight %d", r.Weight)
}

func connections(r director.RealStatus) string {
	if !r.InTable {
		return ""
	}
	return fmt.Sprintf("%d active, %d inactive", r.Active, r.Inactive)
}

func answered(r director.RealStatus, now time.Time) string {
	if r.Checked.IsZero() {
		return "not checked"
	}
	text := fmt.Sprintf("checked %v ago", now.Sub(r.Checked).Truncate(100*time.Millisecond))
	if r.Failures > 0 {
		text += fmt.Sprintf(", failed %d times: %s", r.Failures, r.Reason)
	}
	if r.Warning != "" {
		text += ", " + r.Warning
	}
	return text
}
