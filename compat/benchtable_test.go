package compat

import (
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// The benchmarks (TestBench…, make bench) are no tests: they assert nothing about time. They print
// figures of ours and of the others, taken in one run, turn by turn, on the same hosts.

// benchRuns is how often each figure is taken, unless a benchmark says otherwise.
var benchRuns = flag.Int("bench-runs", 5, "how often each benchmark takes its figures")

// soakFor is how long a soak under load lasts.
var soakFor = flag.Duration("soak-for", 10*time.Minute, "how long TestSoakFast lasts")

// contender is whose figure it is.
type contender string

// The contenders.
const (
	byOurs       contender = "ours"
	byOriginal   contender = "original"
	byKeepalived contender = "keepalived"
)

// of is the contender that an implementation of the lab is.
func of(i lab.Impl) contender { return contender(i.String()) }

// figure is one thing measured, run by run.
type figure struct {
	name, unit string
	how        string // how it was measured
	runs       map[contender][]float64
}

// figures are collected by all benchmarks of a run and printed as one table at its end.
type figures struct {
	mu  sync.Mutex
	all []*figure
}

var bench figures

// add notes the figure of one run. how says in a few words how it was measured.
func (fs *figures) add(name, unit, how string, who contender, value float64) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	i := slices.IndexFunc(fs.all, func(f *figure) bool { return f.name == name })
	if i < 0 {
		i = len(fs.all)
		fs.all = append(fs.all, &figure{name: name, unit: unit, how: how, runs: map[contender][]float64{}})
	}
	fs.all[i].runs[who] = append(fs.all[i].runs[who], value)
}

// median of the runs; false if there are none.
func (f *figure) median(who contender) (float64, bool) {
	v := slices.Sorted(slices.Values(f.runs[who]))
	if len(v) == 0 {
		return 0, false
	}
	return v[len(v)/2], true
}

// cell is "median (min to max)".
func (f *figure) cell(who contender) string {
	v := slices.Sorted(slices.Values(f.runs[who]))
	switch len(v) {
	case 0:
		return "-"
	case 1:
		return fmt.Sprintf("%.4g", v[0])
	}
	return fmt.Sprintf("%.4g (%.4g to %.4g)", v[len(v)/2], v[0], v[len(v)-1])
}

// ratio is another's median over ours.
func (f *figure) ratio(who contender) string {
	own, ok := f.median(byOurs)
	other, ok2 := f.median(who)
	if !ok || !ok2 || own == 0 {
		return "-"
	}
	return fmt.Sprintf("%.3g", other/own)
}

// print writes the table: medians with the least and the greatest, ratios, and how it was measured.
func (fs *figures) print(to io.Writer) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if len(fs.all) == 0 {
		return nil
	}
	w := tabwriter.NewWriter(to, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "figure\tunit\tours\toriginal\tkeepalived\toriginal/ours\tkeepalived/ours\truns\thow")
	for _, f := range fs.all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\n", f.name, f.unit, f.cell(byOurs), f.cell(byOriginal), f.cell(byKeepalived),
			f.ratio(byOriginal), f.ratio(byKeepalived), len(f.runs[byOurs]), f.how)
	}
	return w.Flush()
}

// TestMain prints the benchmarks' table after them, and removes the program that was built for the tests. In a node it
// is the bad clients.
func TestMain(m *testing.M) {
	if os.Getenv(misbehaveEnv) != "" {
		misbehaveAll()
		return
	}
	code := m.Run()
	left, err := bench.leave()
	if !left && err == nil {
		err = bench.print(os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	removePrograms()
	os.Exit(code)
}
