package compat

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// odd are the days of a pair that are not in [stories]. Each is played with the original on
// either side. ha and keys change both nodes' ha.cf and authkeys, haMaster and haSlave one of them.
var odd = []struct {
	name           string
	ha, haMaster   string // "old => new", or a line more
	keys, keySlave string
	play           func(*interop)
}{
	{name: "standby", play: playStandby},
	{name: "standby-arguments", play: playStandbyArguments},
	{name: "off", ha: "auto_failback on => auto_failback off", play: playFailbackOff},
	{name: "legacy", ha: "auto_failback on => auto_failback legacy", play: playFailbackLegacy},
	{name: "restarts", play: playRestarts},
	{name: "netstring", ha: "keepalive 2 => keepalive 2\nmsgfmt netstring", play: playNetstring("S12")},
	{name: "netstring-mixed", haMaster: "keepalive 2 => keepalive 2\nmsgfmt netstring", play: playNetstring("S12-mixed")},
	{name: "loss", play: playLoss},
	{name: "loss-ucast", ha: "bcast eth0 => #", play: playLoss},
	{name: "other-key", keySlave: "auth 3\n3 md5 Another\n", play: playStrangers},
	{name: "ping-group", play: playPingGroup},
	{name: "broken-files", play: playBrokenFiles},
	{name: "reload", play: playReload},
	{name: "key-missing", keys: "auth 2\n2 sha1 HI!\n3 md5 Hello!\n", keySlave: "auth 3\n3 md5 Hello!\n", play: playKeyMissing},
}

// TestMatrix plays what happens to a pair on odd days, next to the original.
func TestMatrix(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	for _, o := range odd {
		for _, p := range pairs[:2] {
			beside(t, &all, fmt.Sprintf("%s/%v-%v", o.name, p[0], p[1]), func(t *testing.T) {
				h := tutorial(t, lab.HostsOptions{
					Master: p[0], Slave: p[1],
					Env:          []string{"SYSTOLE_NO_REBOOT=1"},
					Config:       map[string]string{"/etc/ha.d/systole.cf": "logdialect debian12\n"},
					MasterConfig: oddConfig(true, o.keys, o.ha, o.haMaster),
					SlaveConfig:  oddConfig(false, o.keys+o.keySlave, o.ha),
					Log:          func(string, ...any) {},
				})
				s := &interop{T: t, Hosts: h}
				t.Cleanup(func() {
					for _, d := range []*lab.Director{s.Master, s.Slave} {
						if s.Failed() {
							s.Logf("ha-log of %s (%v):\n%s", d.Name(), d.Impl, d.Log())
						}
					}
				})
				o.play(s)
			})
		}
	}
	all.Wait()
}

// oddConfig is the tutorial's configuration with changes of ha.cf, each "old => new". The last "auth" in
// keys begins the text that counts.
func oddConfig(master bool, keys string, changes ...string) map[string]string {
	cf := lab.TutorialConfig(master)["/etc/ha.d/ha.cf"]
	cf = strings.ReplaceAll(cf, "initdead 10\n", "initdead 8\n")
	for _, c := range changes {
		if old, to, ok := strings.Cut(c, " => "); ok {
			cf = strings.Replace(cf, old+"\n", to+"\n", 1)
		}
	}
	if strings.Contains(cf, "legacy") {
		cf = strings.ReplaceAll(cf, "respawn root", "#respawn root") // ipfail does not know legacy
	}
	files := map[string]string{"/etc/ha.d/ha.cf": cf}
	if keys != "" {
		files["/etc/ha.d/authkeys"] = keys[strings.LastIndex(keys, "auth "):]
	}
	return files
}

// up starts both nodes and waits until ha-master has the resources, and both are at rest.
func (s *interop) up() {
	s.Helper()
	s.first()
	s.hold("local", "local")
}

// scriptsOver waits until no script of a resource runs. The original loses what two of them, or one and a stop,
// write into its FIFO at the same time, and then never ends.
func (s *interop) scriptsOver() {
	s.Helper()
	still := func(d *lab.Director) bool {
		procs, err := d.Processes()
		return err != nil || slices.ContainsFunc(procs, func(p lab.Process) bool {
			return regexp.MustCompile(`ResourceManager|harc|mach_down|req_resource|ip-request`).MatchString(p.Args)
		})
	}
	calm := 0
	if !s.seen(limit, func() bool {
		calm++
		if still(s.Master) || still(s.Slave) {
			calm = 0
		}
		return calm > 10 // half a second
	}) {
		s.Fatal("scripts go on and on")
	}
}

// down stops both nodes.
func (s *interop) down() {
	s.Helper()
	s.scriptsOver()
	s.do("stop ha-master", s.Master.Stop)
	s.owner(s.Slave, s.Master)
	s.do("stop ha-slave", s.Slave.Stop)
	s.noOwner()
}

// hold waits until cl_status rscstatus says so on ha-master and on ha-slave.
func (s *interop) hold(master, slave string) {
	s.Helper()
	var got [2]string
	if !s.seen(limit, func() bool {
		for i, d := range []*lab.Director{s.Master, s.Slave} {
			r, err := d.Exec(s.Context(), "cl_status", "rscstatus")
			if err != nil {
				s.Fatal(err)
			}
			got[i] = strings.TrimSpace(r.Stdout)
		}
		return got == [2]string{master, slave}
	}) {
		s.Fatalf("ha-master and ha-slave hold %q, want %s and %s", got, master, slave)
	}
}

// ask runs hb_standby or hb_takeover.
func (s *interop) ask(d *lab.Director, arg ...string) {
	s.Helper()
	s.do(d.Name()+": "+strings.Join(arg, " "), func(ctx context.Context) (lab.Result, error) {
		return d.Exec(ctx, "/usr/share/heartbeat/"+arg[0], arg[1:]...)
	})
}

func playStandby(s *interop) {
	s.up()
	never := s.neverBoth()
	s.ask(s.Master, "hb_standby")
	s.owner(s.Slave, s.Master)
	s.hold("none", "all")
	s.ask(s.Master, "hb_takeover")
	s.owner(s.Master, s.Slave)
	s.told("S6", s.Master, s.Slave)
	s.down()
	never()
}

func playStandbyArguments(s *interop) {
	s.up()
	never := s.neverBoth()
	for _, step := range []struct {
		on            *lab.Director
		ask           string
		master, slave string
	}{ // as in the record S6-variants
		{s.Master, "hb_standby foreign", "local", "local"},
		{s.Master, "hb_standby local", "none", "all"},
		{s.Master, "hb_takeover local", "local", "local"},
		{s.Slave, "hb_takeover foreign", "none", "all"},
		{s.Slave, "hb_standby failback", "local", "local"},
		{s.Slave, "hb_takeover all", "none", "all"},
		{s.Slave, "hb_standby all", "all", "none"},
	} {
		s.ask(step.on, strings.Fields(step.ask)...)
		s.Logf("%s: %s", step.on.Name(), step.ask)
		s.hold(step.master, step.slave)
		if has := step.master != "none"; s.Master.HoldsVIP() != has || s.Slave.HoldsVIP() == has {
			s.Errorf("after %q the virtual address: on ha-master %v, on ha-slave %v", step.ask, s.Master.HoldsVIP(), s.Slave.HoldsVIP())
		}
	}
	s.told("S6-variants", s.Master, s.Slave)
	var both sync.WaitGroup
	for _, d := range []*lab.Director{s.Master, s.Slave} {
		both.Go(func() { _, _ = d.Exec(s.Context(), "/usr/share/heartbeat/hb_standby") })
	}
	both.Wait()
	s.settledOwner()
	never()
}

func playFailbackOff(s *interop) {
	s.up()
	if err := s.Master.PowerOff(); err != nil {
		s.Fatal(err)
	}
	s.owner(s.Slave, s.Master)
	if err := s.Master.PowerOn(); err != nil {
		s.Fatal(err)
	}
	s.do("start ha-master", s.Master.Start)
	s.hold("none", "all")
	s.owner(s.Slave, s.Master)
	s.ask(s.Master, "hb_takeover")
	s.hold("all", "none")
	s.owner(s.Master, s.Slave)
	s.do("stop ha-slave", s.Slave.Stop)
	s.owner(s.Master, s.Slave)
}

func playFailbackLegacy(s *interop) {
	s.do("start ha-master", s.Master.Start)
	s.do("start ha-slave", s.Slave.Start)
	s.owner(s.Master, s.Slave)
	if err := s.Master.PowerOff(); err != nil {
		s.Fatal(err)
	}
	s.owner(s.Slave, s.Master)
	if err := s.Master.PowerOn(); err != nil {
		s.Fatal(err)
	}
	s.do("start ha-master", s.Master.Start)
	s.owner(s.Master, s.Slave)
	s.do("stop ha-master", s.Master.Stop)
	s.owner(s.Slave, s.Master)
}

func playRestarts(s *interop) {
	s.up()
	never := s.neverBoth()
	for range 3 {
		s.do("stop ha-master", s.Master.Stop)
		s.owner(s.Slave, s.Master)
		s.do("start ha-master", s.Master.Start)
		s.owner(s.Master, s.Slave)
	}
	s.hold("local", "local")
	s.down()
	never()
}

// withoutDone takes out of a record what an original with msgfmt netstring does not always say: it loses its
// own word that it is done, beside an original in two runs of six.
func withoutDone(log string) string {
	var kept strings.Builder
	for line := range strings.Lines(log) {
		if !strings.Contains(line, "Standby resource acquisition done [all].") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func playNetstring(record string) func(*interop) {
	return func(s *interop) {
		s.up()
		s.told("S1", s.Master, s.Slave)
		never := s.neverBoth()
		s.scriptsOver()
		if !s.stops(s.Master) {
			s.owner(s.Slave, s.Master)
			never()
			return
		}
		s.owner(s.Slave, s.Master)
		s.told(record, s.Master)
		if s.Slave.Impl == lab.Original {
			s.media = withoutDone
		}
		s.told(record, s.Slave)
		never()
		s.scriptsOver()
		if s.stops(s.Slave) {
			s.noOwner()
		}
	}
}

// stops stops a node, of which an original may have msgfmt netstring: it waits for ever for a word of its
// own that it has lost ("done", or at the very end that it has shut down), and is switched off then.
func (s *interop) stops(d *lab.Director) bool {
	s.Helper()
	if d.Impl == lab.Ours {
		s.do("stop "+d.Name(), d.Stop)
		return true
	}
	ctx, cancel := context.WithTimeout(s.Context(), 30*time.Second)
	defer cancel()
	r, err := d.Stop(ctx)
	switch {
	case err == nil && r.Code == 0:
		return true
	case ctx.Err() == nil:
		s.Fatalf("stop %s: %+v %v", d.Name(), r, err)
	}
	s.Logf("%s, an original, has lost a word of its own, and does not stop: it is switched off", d.Name())
	if err := d.PowerOff(); err != nil {
		s.Fatal(err)
	}
	return false
}

// playLoss loses 30 % of the packets of both for a while: whatever that leads to, one owner is left.
func playLoss(s *interop) {
	s.up()
	for _, d := range []*lab.Director{s.Master, s.Slave} {
		if err := s.Loss(d.Node, 30); err != nil {
			s.Fatal(err)
		}
	}
	time.Sleep(30 * time.Second)
	if err := s.Heal(); err != nil {
		s.Fatal(err)
	}
	owner := s.settledOwner()
	s.Logf("%s has the resources; %d and %d times the other was declared dead", owner.Name(),
		strings.Count(s.Master.Log(), "node ha-slave: is dead"), strings.Count(s.Slave.Log(), "node ha-master: is dead"))
}

// playStrangers has nodes that do not believe each other: both take everything, and say why.
func playStrangers(s *interop) {
	s.do("start ha-master", s.Master.Start)
	s.do("start ha-slave", s.Slave.Start)
	if !s.seen(limit, func() bool { return s.Master.HoldsVIP() && s.Slave.HoldsVIP() }) {
		s.Fatalf("the virtual address: on ha-master %v, on ha-slave %v", s.Master.HoldsVIP(), s.Slave.HoldsVIP())
	}
	for _, d := range []*lab.Director{s.Master, s.Slave} {
		if !strings.Contains(d.Log(), "ERROR: netstring authentication failed, ") {
			s.Errorf("%s (%v) does not complain", d.Name(), d.Impl)
		}
	}
}

// playKeyMissing has ha-slave without the key that ha-master signs with. ha-master has ha-slave's, but only
// ours uses it: an original ha-master takes everything, too.
func playKeyMissing(s *interop) {
	if s.Master.Impl == lab.Original {
		playStrangers(s)
		return
	}
	s.do("start ha-master", s.Master.Start)
	s.do("start ha-slave", s.Slave.Start)
	s.owner(s.Slave, s.Master)
	for d, want := range map[*lab.Director]string{s.Slave: "Invalid authentication [2] in message!", s.Master: "Status update for node ha-slave: status active"} {
		if !strings.Contains(d.Log(), want) {
			s.Errorf("%s (%v) does not say %q", d.Name(), d.Impl, want)
		}
	}
}

// TestMatrixKeys has the nine pairs of the record S10-matrix: ha-master signs with one key and ha-slave with
// another, and both have all three. The original believes a message signed with its own key, and any that is
// signed with crc; ours believes all that are signed rightly.
func TestMatrixKeys(t *testing.T) {
	t.Parallel()
	const keys = "1 crc\n2 sha1 HI!\n3 md5 Hello!\n"
	var all sync.WaitGroup
	for m := 1; m <= 3; m++ {
		for sl := 1; sl <= 3; sl++ {
			for _, p := range pairs[:2] {
				beside(t, &all, fmt.Sprintf("%d-%d/%v-%v", m, sl, p[0], p[1]), func(t *testing.T) {
					h := tutorial(t, lab.HostsOptions{
						Master: p[0], Slave: p[1], Env: []string{"SYSTOLE_NO_REBOOT=1"}, Log: func(string, ...any) {},
						MasterConfig: oddConfig(true, fmt.Sprintf("auth %d\n%s", m, keys)),
						SlaveConfig:  oddConfig(false, fmt.Sprintf("auth %d\n%s", sl, keys)),
					})
					s := &interop{T: t, Hosts: h}
					s.do("start ha-master", s.Master.Start)
					s.do("start ha-slave", s.Slave.Start)
					s.believes(s.Master, s.Slave, m, sl)
					s.believes(s.Slave, s.Master, sl, m)
				})
			}
		}
	}
	all.Wait()
}

// believes wants a node that signs with key own to take the messages of another, or to say that it does not.
func (s *interop) believes(d, other *lab.Director, own, others int) {
	s.Helper()
	const refused = "authtoken does not match"
	takes := "Status update for node " + other.Name() + ": status "
	want, not := takes, refused
	if d.Impl == lab.Original && others != own && others != 1 {
		want, not = refused, takes
	}
	if !s.seen(limit, func() bool { return strings.Contains(d.Log(), want) }) || strings.Contains(d.Log(), not) {
		s.Errorf("%s (%v) signs with key %d, the other with %d: want %q and not %q in\n%s", d.Name(), d.Impl, own, others, want, not, d.Log())
	}
}
