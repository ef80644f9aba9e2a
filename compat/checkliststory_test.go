package compat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

const (
	startText = "Starting High-Availability services: INFO:  Resource is stopped\nDone.\n\n"
	stopText  = "Stopping High-Availability services: Done.\n\n"
)

// onTerminal fails unless heartbeat's init script prints that on a terminal.
func (c *checklist) onTerminal(d *lab.Director, verb, want string) verdict {
	r, err := d.Command(c.ctx, "/etc/init.d/heartbeat", verb).OnTerminal()
	if err != nil {
		return err
	}
	if r.Stdout != want || r.Code != 0 {
		return fmt.Errorf("/etc/init.d/heartbeat %s: %q, status %d; want %q", verb, r.Stdout, r.Code, want)
	}
	return nil
}

// processes is ps -ef without its own and grep's lines: pid, parent, user, command.
func (c *checklist) processes(d *lab.Director, word string) []string {
	out, _ := c.run(d, "ps", "-eo", "pid=,ppid=,user=,args=")
	var found []string
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) > 3 && strings.Contains(strings.Join(f[3:], " "), word) {
			found = append(found, strings.Join(f, " "))
		}
	}
	return found
}

// heartbeats judges S23 and its like. The original is nine processes; ours is the first of them alone,
// and the others are its goroutines (ipfail too).
func (c *checklist) heartbeats(d *lab.Director) verdict {
	want := []string{`\d+ 1 root heartbeat: master control process`}
	if c.impl == lab.Original {
		for _, w := range []string{
			"heartbeat: FIFO reader", "heartbeat: write: bcast eth0", "heartbeat: read: bcast eth0", "heartbeat: write: ucast eth0",
			"heartbeat: read: ucast eth0", "heartbeat: write: ping_group group1", "heartbeat: read: ping_group group1", "/usr/lib64/heartbeat/ipfail",
		} {
			want = append(want, `\d+ \d+ root `+w)
		}
	}
	got := strings.Join(c.processes(d, "heartbeat"), "\n")
	if !regexp.MustCompile("^" + strings.Join(want, "\n") + "$").MatchString(got) {
		return fmt.Errorf("ps of %s:\n%s\nwant:\n%s", d.Name(), got, strings.Join(want, "\n"))
	}
	return nil
}

// ports judges S24 and its like: two sockets, which the original's four processes share by pairs.
func (c *checklist) ports(d *lab.Director) verdict {
	out, _ := c.run(d, "lsof", "-i:694")
	n := map[lab.Impl]int{lab.Ours: 2, lab.Original: 4}[c.impl]
	if got := len(regexp.MustCompile(`(?m)^heartbeat +\d+ +root +\d+u +IPv4 +\d+ +0t0 +UDP \*:ha-cluster *$`).FindAllString(out, -1)); got != n || strings.Count(out, "\n") != n+1 {
		return fmt.Errorf("lsof -i:694 of %s has %d sockets, want %d:\n%s", d.Name(), got, n, out)
	}
	return nil
}

// checker judges S25 and its like. The original is a process; ours is a goroutine of heartbeat's, whose
// process ldirectord's pid file names.
func (c *checklist) checker(d *lab.Director) verdict {
	word := map[lab.Impl]string{lab.Ours: "heartbeat: master control process", lab.Original: "/usr/bin/perl -w /usr/sbin/ldirectord start"}[c.impl]
	pid, _ := c.run(d, "sh", "-c", "cat /var/run/ldirectord.ldirectord.pid")
	for _, p := range c.processes(d, word) {
		if strings.HasPrefix(p, strings.TrimSpace(pid)+" 1 ") {
			return nil
		}
	}
	return fmt.Errorf("no %q with pid %q of ldirectord.ldirectord.pid and parent 1: %q", word, pid, c.processes(d, "d"))
}

func (c *checklist) checkerStatus(d *lab.Director) verdict {
	out, code := c.run(d, "/etc/init.d/ldirectord", "status")
	m := regexp.MustCompile(`^ldirectord for /etc/ha.d/ldirectord.cf is running with pid: (\d+)\n$`).FindStringSubmatch(out)
	if m == nil || code != 0 {
		return fmt.Errorf("ldirectord status: %q, exit status %d", out, code)
	}
	if r, err := d.Exec(c.ctx, "kill", "-0", m[1]); err != nil || r.Code != 0 {
		return fmt.Errorf("ldirectord status names pid %s: there is none", m[1])
	}
	return nil
}

func (c *checklist) noChecker(d *lab.Director) verdict {
	if p := c.processes(d, "ldirectord"); len(p) > 0 {
		return fmt.Errorf("ps of %s: %q", d.Name(), p)
	}
	return c.prints(d, "ldirectord is stopped for /etc/ha.d/ldirectord.cf\n", "/etc/init.d/ldirectord", "status")
}

// addresses judges ip addr of eth0: the node's own, then the VIP where it is held.
func (c *checklist) addresses(d *lab.Director, vip bool) verdict {
	out, _ := c.run(d, "ip", "addr", "show", "eth0")
	own := "    inet " + d.Addr().String() + "/24 brd 172.16.60.255 scope global eth0\n"
	label := map[lab.Impl]string{lab.Ours: "eth0", lab.Original: "eth0:0"}[c.impl]
	second := "    inet 172.16.60.111/24 brd 172.16.60.255 scope global secondary " + label + "\n"
	i, j := strings.Index(out, own), strings.Index(out, second)
	if i < 0 || vip && j < i || !vip && strings.Contains(out, "172.16.60.111") {
		return fmt.Errorf("ip addr of %s (VIP expected: %v):\n%s", d.Name(), vip, out)
	}
	return nil
}

// firstStart starts both nodes, at the same time as the times of the tutorial's logs have it, and
// judges the master.
func (c *checklist) firstStart() {
	m, s := c.h.Master, c.h.Slave
	began := time.Now()
	slave := make(chan verdict)
	go func() { slave <- c.onTerminal(s, "start", startText) }()
	c.judge("S22", c.onTerminal(m, "start", startText))
	c.judge("S30", <-slave)
	ready := c.eventually(60*time.Second, func() verdict { return all(c.addresses(m, true), c.tables(m, fullTable)) })
	c.t.Logf("VIP and table %v after the master's start", time.Since(began).Round(100*time.Millisecond))
	for _, id := range []string{"S5", "S6", "S8", "S10"} { // heartbeat and ldirectord work with these files
		c.judge(id, ready)
	}
	c.judge("S23", c.heartbeats(m))
	c.judge("S24", c.ports(m))
	c.judge("S25", c.eventually(5*time.Second, func() verdict { return c.checker(m) }))
	c.judge("S26", c.checkerStatus(m))
	c.judge("S27", c.addresses(m, true))
	c.judge("S28", c.tables(m, fullTable))
	c.judge("S15", c.tables(m, fullTable))
	s29 := append([]logLine{script("ip-request-resp(default)[{P1}]", "received ip-request-resp IPaddr::172.16.60.111 OK yes")}, acquisition...)
	c.judge("S29", c.logs(m, 0, 5*time.Second, s29...))
	c.judge("S9", c.logs(m, 0, 0, s29...))
}

// join is S36: parts of the slave's log, each in its order. Which part comes first depends on
// milliseconds, with the originals too (golden/S1 has other orders than the tutorial): whether the
// slave's ipfail is there when the master becomes active, and asks, or is asked; and whose ten
// seconds end first, which makes the other's transition the "remote" one. Of the alternatives of a
// part one has to hold.
var join = [][][]logLine{
	{{ // the master becomes active
		core(`heartbeat: [{P2}]: info: Status update for node ha-master: status active`),
		script("harc(default)[{P3}]", "info: Running /etc/ha.d//rc.d/status status"),
		core(`heartbeat: [{P2}]: info: Initial resource acquisition complete (T_RESOURCES(us))`),
	}},
	{{ // ipfail is told, and asks
		core(`heartbeat: [{P1}]: info: Starting "/usr/lib64/heartbeat/ipfail" as uid 0  gid 0 (pid {P1})`),
		// The original's ipfail, a process that is slow to sign on here, is often too late to be told.
		core(`ipfail: [{P1}]: info: Status update: Node ha-master now has status active`).in(lab.Ours),
		core(`ipfail: [{P1}]: info: Asking other side for ping node count.`),
		core(`ipfail: [{P1}]: info: No giveup timer to abort.`),
	}, { // or is asked
		core(`heartbeat: [{P1}]: info: Starting "/usr/lib64/heartbeat/ipfail" as uid 0  gid 0 (pid {P1})`),
		core(`ipfail: [{P1}]: info: Ping node count is balanced.`),
	}},
	{{ // the master's ten seconds end first
		core(`heartbeat: [{P1}]: info: Starting "/usr/lib64/heartbeat/ipfail" as uid 0  gid 0 (pid {P1})`),
		core(`heartbeat: [{P2}]: info: remote resource transition completed.`),
		core(`heartbeat: [{P2}]: info: remote resource transition completed.`),
		core(`heartbeat: [{P2}]: info: Initial resource acquisition complete (T_RESOURCES(us))`),
		core(`heartbeat: [{P4}]: info: No local resources [/usr/share/heartbeat/ResourceManager listkeys ha-slave] to acquire.`),
	}, { // or the slave's
		core(`heartbeat: [{P1}]: info: Starting "/usr/lib64/heartbeat/ipfail" as uid 0  gid 0 (pid {P1})`),
		core(`heartbeat: [{P2}]: info: local resource transition completed.`),
		core(`heartbeat: [{P2}]: info: Initial resource acquisition complete (T_RESOURCES(us))`),
		core(`heartbeat: [{P4}]: info: No local resources [/usr/share/heartbeat/ResourceManager listkeys ha-slave] to acquire.`),
	}},
}

// joins fails unless every part of join is in the log.
func joins(log, node string, impl lab.Impl) verdict {
	for _, part := range join {
		var failures []error
		for _, lines := range part {
			v := inOrder(log, node, impl, lines)
			if v == nil {
				failures = nil
				break
			}
			failures = append(failures, v)
		}
		if len(failures) > 0 {
			return errors.Join(failures...)
		}
	}
	return nil
}

// standby judges the slave beside a master that has everything.
func (c *checklist) standby() {
	m, s := c.h.Master, c.h.Slave
	c.judge("S31", c.heartbeats(s))
	c.judge("S32", c.ports(s))
	c.judge("S33", c.noChecker(s))
	c.judge("S34", c.addresses(s, false))
	c.judge("S35", c.tables(s, emptyTable))
	c.judge("S21", all(c.noChecker(s), c.tables(s, emptyTable)))
	c.judge("S36", c.eventually(30*time.Second, func() verdict { return joins(s.Log(), s.Name(), c.impl) }))
	c.judge("S37", all(c.page("http://172.16.60.111/", c.h.Real[0].Page(), c.h.Real[1].Page()), c.page("http://172.16.60.111/lvs_testpage.html", lab.TestPage)))
	c.judge("S38", c.counters(m, "--stats", "Conns InPkts OutPkts InBytes OutBytes"))
	c.judge("S39", c.counters(m, "--rate", "CPS InPPS OutPPS InBPS OutBPS"))
}

// counters judges a listing with five columns of numbers, whatever they are.
func (c *checklist) counters(d *lab.Director, option, heads string) verdict {
	out, _ := c.run(d, "ipvsadm", "-l", option)
	squeezed := regexp.MustCompile(` +`).ReplaceAllString(out, " ")
	squeezed = regexp.MustCompile(`(?m)(http|172\.16\.60\.20[45]:http)( \d+[KMG]?){5}$`).ReplaceAllString(squeezed, "$1 N N N N N")
	want := "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port " + heads + "\n -> RemoteAddress:Port\n" +
		"TCP 172.16.60.111:http N N N N N\n -> 172.16.60.204:http N N N N N\n -> 172.16.60.205:http N N N N N\n"
	if squeezed != want {
		return fmt.Errorf("ipvsadm -l %s:\n%s", option, out)
	}
	return nil
}

// fetcher requests the page one after the other and never gives one up early. One that was cut off is
// asked for once more, as browsers do: a connection does not survive a move, unless the directors
// synchronise connections, which the tutorial's do not.
type fetcher struct {
	stop   context.CancelFunc
	done   sync.WaitGroup
	failed []error
	count  int
	cut    int
	worst  time.Duration
	when   time.Time // the slowest's begin
}

func (c *checklist) fetch() *fetcher {
	ctx, cancel := context.WithCancel(c.ctx)
	f := &fetcher{stop: cancel}
	client := c.h.Client.HTTPClient()
	client.Timeout = 30 * time.Second
	f.done.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			get := func() error {
				resp, err := client.Get("http://172.16.60.111/")
				if err == nil {
					err = resp.Body.Close()
				}
				return err
			}
			err := get()
			if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) {
				f.cut++
				err = get()
			}
			if took := time.Since(began); took > f.worst {
				f.worst, f.when = took, began
			}
			if f.count++; err != nil {
				f.failed = append(f.failed, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	return f
}

// failover stops the master; failback starts it again. A client fetches throughout.
func (c *checklist) failover() {
	m, s := c.h.Master, c.h.Slave
	mFrom, sFrom := len(m.Log()), len(s.Log())
	f := c.fetch()
	c.judge("S41", c.onTerminal(m, "stop", stopText))
	if p := c.processes(m, "heartbeat"); len(p) > 0 {
		c.judge("S42", fmt.Errorf("ps: %q", p))
	}
	c.judge("S42", nil)
	c.judge("S43", all(c.addresses(m, false), c.tables(m, emptyTable), c.noChecker(m)))
	c.judge("S44", c.logs(m, mFrom, 0, append([]logLine{
		core("heartbeat: [{P0}]: info: Heartbeat shutdown in progress. ({P0})"),
		core("heartbeat: [{P1}]: info: Giving up all HA resources."),
	}, release...)...))
	c.judge("S45", c.eventually(20*time.Second, func() verdict { return c.addresses(s, true) }))
	c.judge("S46", c.eventually(20*time.Second, func() verdict { return c.tables(s, fullTable) }))
	c.judge("S47", c.eventually(5*time.Second, func() verdict { return c.checker(s) }))
	lines := []logLine{
		script("harc(default)[{P0}]", "info: Running /etc/ha.d//rc.d/status status"),
		script("mach_down(default)[{P1}]", "info: Taking over resource group IPaddr::172.16.60.111"),
	}
	lines = append(append(lines, acquisition...),
		script("mach_down(default)[{P1}]", "info: /usr/share/heartbeat/mach_down: nice_failback: foreign resources acquired"),
		script("mach_down(default)[{P1}]", "info: mach_down takeover complete for node ha-master."))
	c.judge("S48", c.logs(s, sFrom, 10*time.Second, lines...))
	f.stop()
	f.done.Wait()
	c.judgeFetcher("failover", f)
}

func (c *checklist) judgeFetcher(what string, f *fetcher) {
	c.t.Logf("%s: %d requests, %d cut off, %d failed, the slowest took %v, from %s", what, f.count, f.cut, len(f.failed),
		f.worst.Round(time.Millisecond), f.when.Format("15:04:05.000"))
	var v verdict
	if f.cut > 1 {
		v = fmt.Errorf("%s: %d of %d requests were cut off", what, f.cut, f.count)
	}
	if len(f.failed) > 0 {
		v = fmt.Errorf("%s: %d of %d requests failed: %w", what, len(f.failed), f.count, errors.Join(f.failed...))
		if c.impl == lab.Original {
			v = notOurs(v.Error()) // its ldirectord adds the service long before the real servers
		}
	}
	c.judge("S59", v)
}

func (c *checklist) failback() {
	m, s := c.h.Master, c.h.Slave
	mFrom, sFrom := len(m.Log()), len(s.Log())
	moves, err := c.h.WatchAddrs(m.Node, s.Node)
	if err != nil {
		c.t.Fatal(err)
	}
	f := c.fetch()
	c.judge("S50", c.onTerminal(m, "start", startText))
	back := c.eventually(60*time.Second, func() verdict { return all(c.addresses(m, true), c.tables(m, fullTable)) })
	c.judge("S49", back)
	c.judge("S54", back)
	c.judge("S51", c.heartbeats(m))
	c.judge("S52", c.ports(m))
	c.judge("S53", c.eventually(5*time.Second, func() verdict { return c.checker(m) }))
	c.judge("S55", c.logs(m, mFrom, 5*time.Second, acquisition...))
	if strings.Contains(m.Log()[mFrom:], "received ip-request-resp") {
		c.judge("S55", errors.New("an ip-request-resp line precedes the acquisition"))
	}
	c.judge("S56", c.eventually(10*time.Second, func() verdict {
		return all(c.addresses(s, false), c.noChecker(s), c.tables(s, emptyTable))
	}))
	c.judge("S57", c.logs(s, sFrom, 5*time.Second, append(append([]logLine(nil), release...),
		core("heartbeat: [{P9}]: info: foreign HA resource release completed (standby)."))...))
	c.judge("S58", handedOver(moves.Events(), s.Node, m.Node))
	f.stop()
	f.done.Wait()
	c.judgeFetcher("failback", f)
}

// handedOver fails unless the kernel took the virtual address off one node before it put it on the
// other: the watch sees both in the order in which they happened.
func handedOver(events []lab.AddrEvent, from, to *lab.Node) verdict {
	var told []string
	for _, e := range events {
		if e.Addr.Addr() == lab.VIP {
			told = append(told, fmt.Sprintf("%s %v", e.Node.Name(), e.Added))
		}
	}
	released, acquired := slices.Index(told, from.Name()+" false"), slices.Index(told, to.Name()+" true")
	if released < 0 || acquired < released {
		return fmt.Errorf("the address came (true) and went (false) in this order: %q", told)
	}
	return nil
}

// realServers stops nginx on one real server, the other, and both.
func (c *checklist) realServers() {
	m, rs := c.h.Master, c.h.Real
	const vip = "http://172.16.60.111/"
	soon := func(rows, page string) verdict {
		return c.eventually(20*time.Second, func() verdict {
			return all(c.tables(m, emptyTable+tableService+rows), c.page(vip, page))
		})
	}
	web := func(f func() error) {
		if err := f(); err != nil {
			c.t.Fatal(err)
		}
	}
	c.judge("S60", c.eventually(20*time.Second, func() verdict { return c.tables(m, fullTable) }))
	web(rs[0].StopWeb)
	r, err := rs[0].Exec(c.ctx, "lsof", "-i:80")
	if err != nil || r.Stdout != "" {
		c.judge("S61", fmt.Errorf("lsof: %q %v", r.Stdout, err))
	}
	c.judge("S61", nil)
	c.judge("S62", soon(table205, rs[1].Page()))
	web(rs[0].StartWeb)
	web(rs[1].StopWeb)
	c.judge("S63", soon(table204, rs[0].Page()))
	web(rs[0].StopWeb)
	c.judge("S64", soon(tableSorry, lab.SorryPage))
	web(rs[0].StartWeb)
	web(rs[1].StartWeb)
	c.judge("S65", c.eventually(20*time.Second, func() verdict { return c.tables(m, fullTable) }))
}
