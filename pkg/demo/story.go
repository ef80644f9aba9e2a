package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// Options are what Run needs.
type Options struct {
	Out     io.Writer
	Systole string // the program to run on the directors
}

// pollEvery is how often the logs are looked at: often enough to tell which node did something first.
const pollEvery = 3 * time.Millisecond

// fetchEvery is the client's rhythm, and with it the resolution of a gap.
const fetchEvery = 5 * time.Millisecond

// Run builds the hosts, tells the story and takes the hosts down. It returns an error when a step
// did not come out as it should within its time, or when ctx ended.
func Run(ctx context.Context, o Options) error {
	s := &story{ctx: ctx, out: o.Out, begun: time.Now()}
	if lab.HaveIPVS() && lab.Privileged() {
		s.printf("This kernel has ip_vs: it balances the load, by direct routing.\n")
	} else {
		s.printf("This kernel has no ip_vs that we may use: systole's userspace forwarder stands in for it.\n")
	}
	s.printf("%s", cast)
	hosts, err := lab.NewHosts(ctx, lab.HostsOptions{Systole: o.Systole, Env: []string{"SYSTOLE_NO_REBOOT=1"}})
	if err != nil {
		return fmt.Errorf("build the hosts: %w", err)
	}
	s.hosts = hosts
	err = s.tell()
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if cerr := hosts.Close(); cerr != nil && err == nil {
		err = fmt.Errorf("take the hosts down: %w", cerr)
	}
	s.summary()
	return err
}

const cast = `
  ha-master 172.16.60.206   director, prefers to hold the virtual address 172.16.60.111
  ha-slave  172.16.60.207   director, stands by
  rs-204    172.16.60.204   real server: a web page
  rs-205    172.16.60.205   real server: another
  client    172.16.60.1     fetches http://172.16.60.111/ every 5 ms from nine addresses

Both directors run systole's heartbeat with the tutorial's files: keepalive 2, deadtime 5,
haresources "ha-master IPaddr::172.16.60.111 ipvsadm ldirectord".
`

type story struct {
	ctx    context.Context
	out    io.Writer
	begun  time.Time
	hosts  *lab.Hosts
	probe  *lab.Probe
	events *events
	rows   []row
}

// row is a line of the summary.
type row struct {
	step    string
	took    time.Duration // from the act to the wanted state
	holder  string
	answers map[string]int
	failed  int
	gap     time.Duration
}

func (s *story) tell() error {
	h := s.hosts
	begin := time.Now()
	var err error
	s.probe, err = h.Client.ProbeHTTP(netip.AddrPortFrom(lab.VIP, 80), fetchEvery, h.ClientAddrs...)
	if err != nil {
		return err
	}
	s.events = newEvents(s)
	for i, st := range s.steps() {
		if err := s.play(i, begin, st); err != nil {
			return err
		}
		begin = time.Now()
	}
	s.probe.Stop()
	return nil
}

func (s *story) play(i int, begin time.Time, st step) error {
	s.printf("\n[%5.1f s] %d. %s\n", time.Since(s.begun).Seconds(), i+1, st.name)
	for line := range strings.Lines(st.tell + "\n") {
		s.printf("  %s", line)
	}
	acted := time.Now()
	if err := s.watch(acted, st.act); err != nil {
		return fmt.Errorf("%s: %w", st.name, err)
	}
	for !st.until() {
		if time.Since(acted) > st.limit {
			s.evidence()
			return fmt.Errorf("%s: not there after %v", st.name, st.limit)
		}
		if s.events.poll(acted); !s.sleep(pollEvery) {
			return s.ctx.Err()
		}
	}
	took := time.Since(acted)
	for end := time.Now().Add(st.after); time.Now().Before(end); {
		if s.events.poll(acted); !s.sleep(pollEvery) {
			return s.ctx.Err()
		}
	}
	r := row{step: st.name, took: took, holder: s.holder(), gap: s.probe.Longest(begin, time.Now()).Duration()}
	by, failed := s.probe.Answers(begin, time.Now())
	r.answers, r.failed = map[string]int{}, failed
	for page, n := range by {
		r.answers[who(page)] += n
	}
	if i == 0 { // nobody was served before: that is no outage
		r.gap, r.failed = 0, 0
	}
	s.rows = append(s.rows, r)
	s.report(r)
	return nil
}

// watch acts, and tells what happens meanwhile: to start and to stop a director takes its time.
func (s *story) watch(acted time.Time, act func() error) error {
	result := make(chan error, 1)
	go func() { result <- act() }() // joined below
	for {
		select {
		case err := <-result:
			return err
		case <-time.After(pollEvery):
			s.events.poll(acted)
		}
	}
}

// report says how things are now.
func (s *story) report(r row) {
	s.printf("  Now: the virtual address is on %s; ", r.holder)
	var parts []string
	for _, w := range []string{"rs-204", "rs-205", "sorry page"} {
		if n := r.answers[w]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d from %s", n, w))
		}
	}
	if r.failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", r.failed))
	}
	s.printf("the client got %s", strings.Join(parts, ", "))
	if r.gap > 0 {
		s.printf("; longest gap %s", millis(r.gap))
	}
	s.printf("\n")
	for _, d := range []*lab.Director{s.hosts.Master, s.hosts.Slave} {
		if !d.HoldsVIP() {
			continue
		}
		out, err := d.Exec(s.ctx, "ipvsadm", "-Ln")
		if err != nil || out.Code != 0 {
			s.printf("  ipvsadm -Ln on %s: %s%v\n", d.Name(), out.Stderr, err)
			continue
		}
		s.printf("  [root@%s ~]# ipvsadm -Ln\n", d.Name())
		for line := range strings.Lines(out.Stdout) {
			s.printf("  %s\n", strings.TrimRight(line, " \n"))
		}
	}
}

func (s *story) summary() {
	if len(s.rows) == 0 {
		return
	}
	s.printf("\nSummary after %.0f s\n\n", time.Since(s.begun).Seconds())
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "  step\tdone after\taddress on\trs-204\trs-205\tsorry\tfailed\tlongest gap\t")
	for _, r := range s.rows {
		gap := millis(r.gap)
		if r.gap == 0 {
			gap = "-"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t\n",
			r.step, seconds(r.took), r.holder, r.answers["rs-204"], r.answers["rs-205"], r.answers["sorry page"], r.failed, gap)
	}
	if err := w.Flush(); err != nil {
		return // the reader has gone
	}
	s.printf("\nA gap is the longest time between two pages that the client got, whoever served them.\n")
}

func millis(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// who names a page's server.
func who(page string) string {
	switch {
	case strings.HasSuffix(page, ".204"):
		return "rs-204"
	case strings.HasSuffix(page, ".205"):
		return "rs-205"
	case strings.HasPrefix(page, "Sorry"):
		return "sorry page"
	}
	return page
}

func done(r lab.Result, err error) error {
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("exit status %d: %s%s", r.Code, r.Stdout, r.Stderr)
	}
	return err
}

// lately counts the answers of the last third of a second.
func (s *story) lately() map[string]int {
	by, _ := s.probe.Answers(time.Now().Add(-300*time.Millisecond), time.Now())
	names := map[string]int{}
	for page, n := range by {
		names[who(page)] += n
	}
	return names
}

// answered tells whether each of them has answered lately.
func (s *story) answered(names ...string) bool {
	by := s.lately()
	for _, n := range names {
		if by[n] == 0 {
			return false
		}
	}
	return true
}

// listed tells whether the table of the director that holds the address has that real server.
func (s *story) listed(real string) bool {
	for _, d := range []*lab.Director{s.hosts.Master, s.hosts.Slave} {
		if d.HoldsVIP() {
			out, err := d.Exec(s.ctx, "ipvsadm", "-Ln")
			return err == nil && strings.Contains(out.Stdout, real)
		}
	}
	return false
}

// only tells whether nobody else has answered lately.
func (s *story) only(name string) bool {
	by := s.lately()
	return by[name] > 0 && len(by) == 1
}

// recent tells whether anybody has answered lately.
func (s *story) recent() bool { return len(s.lately()) > 0 }

func (s *story) holder() string {
	var names []string
	for _, d := range []*lab.Director{s.hosts.Master, s.hosts.Slave} {
		if d.HoldsVIP() {
			names = append(names, d.Name())
		}
	}
	if names == nil {
		return "nobody"
	}
	return strings.Join(names, " and ")
}

// evidence prints what the directors logged last, for a step that did not come out.
func (s *story) evidence() {
	for _, d := range []*lab.Director{s.hosts.Master, s.hosts.Slave} {
		if !d.Running() {
			continue
		}
		lines := strings.Split(strings.TrimSpace(d.Log()), "\n")
		s.printf("\n%s's ha-log ends:\n", d.Name())
		for _, line := range lines[max(0, len(lines)-20):] {
			s.printf("  %s\n", line)
		}
	}
}

// sleep waits; false is an interruption.
func (s *story) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *story) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(s.out, format, args...) // a reader that left changes nothing
}
