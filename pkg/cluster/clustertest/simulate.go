package clustertest

import (
	"fmt"
	"runtime"
	"sort"
	"strings"
	"sync"
	"time"
)

// Report is what many runs have shown.
type Report struct {
	// Runs is how many were made, Failed which of them went wrong, in the order of their seeds.
	Runs   int
	Failed []Failure
	// Longest are the longest times of all runs.
	Longest map[string]time.Duration
}

// Failure is a run that went wrong.
type Failure struct {
	Seed uint64
	Plan *Plan
	Err  error
}

// Error says which run went wrong and how.
func (f Failure) Error() string {
	return fmt.Sprintf("seed %d, %d nodes, %s: %v", f.Seed, len(f.Plan.Nodes), f.Plan.Settings[0], f.Err)
}

// Story is the run's shortest form that still goes wrong, and what happens in it.
func (f Failure) Story() string {
	short := f.Plan.Shrink(func(p *Plan) bool { return p.Run().Err != nil })
	var b strings.Builder
	b.WriteString(short.String())
	fmt.Fprintf(&b, "%v\n", short.Run(Told(&b, true)).Err)
	return b.String()
}

// String is the longest times in order of their names.
func (r Report) String() string {
	var words []string
	for k, d := range r.Longest {
		if strings.Contains(k, "messages") {
			words = append(words, fmt.Sprintf("%s %d", k, int(d)))
		} else {
			words = append(words, fmt.Sprintf("%s %.2f s", k, d.Seconds()))
		}
	}
	sort.Strings(words)
	return fmt.Sprintf("%d runs, %d failed; longest: %s", r.Runs, len(r.Failed), strings.Join(words, ", "))
}

// Simulate makes n runs of consecutive seeds on all processors, and ends early when so many have
// failed.
func Simulate(first uint64, n, stop int) Report {
	r := Report{Longest: map[string]time.Duration{}}
	var mu sync.Mutex
	next := 0
	take := func() (seed uint64, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if next == n || len(r.Failed) >= stop {
			return 0, false
		}
		next++
		return first + uint64(next-1), true
	}
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for {
				seed, ok := take()
				if !ok {
					return
				}
				plan := Chaos(seed)
				res := plan.Run()
				mu.Lock()
				r.Runs++
				for k, d := range res.Longest {
					r.Longest[k] = max(r.Longest[k], d)
				}
				if res.Err != nil {
					r.Failed = append(r.Failed, Failure{seed, plan, res.Err})
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	sort.Slice(r.Failed, func(i, j int) bool { return r.Failed[i].Seed < r.Failed[j].Seed })
	return r
}
