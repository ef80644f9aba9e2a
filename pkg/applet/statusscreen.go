package applet

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/systole-ha/systole/pkg/daemon"
)

// write prints the screen.
func (o *overview) write(out io.Writer, now time.Time) error {
	var b strings.Builder
	if r := o.Heartbeat; r != nil {
		writeCluster(&b, r, now)
	}
	for i := range o.Ldirectord {
		r := &o.Ldirectord[i]
		if b.Len() > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "ldirectord %s: ", r.Config)
		if err := r.Write(&b, now); err != nil {
			return err
		}
	}
	if len(o.Degraded) > 0 {
		b.WriteString("\nDEGRADED: " + strings.Join(o.Degraded, "\n          ") + "\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// stamp is a time for people; the zero time is none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}

func writeCluster(b *strings.Builder, r *daemon.Report, now time.Time) {
	fmt.Fprintf(b, "%s: heartbeat %s, %s", r.Node, r.Version, r.State)
	if !r.Since.IsZero() {
		fmt.Fprintf(b, ", since %s", stamp(r.Since))
	}
	fmt.Fprintf(b, "\nholds %s", r.Held)
	if !r.HeldSince.IsZero() {
		fmt.Fprintf(b, " since %s", stamp(r.HeldSince))
	}
	if !r.Stable && r.Held != "transition" {
		b.WriteString(", resources are on the move")
	}
	b.WriteString("\n\n")
	w := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NODE\tSTATUS\tSINCE\tLINKS")
	for _, n := range r.Nodes {
		var links []string
		for _, l := range n.Links {
			text := l.Name + " " + l.Status
			if l.Status != "up" && !l.Since.IsZero() {
				text += " since " + stamp(l.Since)
			}
			links = append(links, text)
		}
		text := strings.Join(links, ", ")
		if n.Late > 0 {
			text += fmt.Sprintf(" (%d heartbeats late)", n.Late)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", n.Name, n.Status, stamp(n.Since), text)
	}
	_ = w.Flush() // into memory
	if len(r.Groups) > 0 {
		b.WriteString("\n")
		w = tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "HELD BY\tOF\tRESOURCES")
		for _, g := range r.Groups {
			holders := strings.Join(g.Holders, " and ")
			if holders == "" {
				holders = "nobody"
			}
			fmt.Fprintf(w, "%s\t%s\t%s\n", holders, g.Preferred, strings.Join(g.Resources, " "))
		}
		_ = w.Flush()
	}
	if n := len(r.Moves); n > 0 {
		m := r.Moves[n-1]
		fmt.Fprintf(b, "\nlast move: %s, from %s to %s", stamp(m.At), m.From, m.To)
		if m.Took > 0 {
			fmt.Fprintf(b, " in %v", time.Duration(m.Took*float64(time.Second)).Round(time.Millisecond))
		} else if m.At.Before(now) {
			b.WriteString(", going on")
		}
		if m.Why != "" {
			b.WriteString(": " + m.Why)
		}
		b.WriteString("\n")
	}
}
