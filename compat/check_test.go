package compat

import (
	"regexp"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/lab"
)

// TestCheck runs "systole check" on the tutorial's directors: it has nothing to say; and after changes
// of files and of the machine, and says what each deserves.
func TestCheck(t *testing.T) {
	lab.NeedRoot(t)
	t.Parallel()
	ctx := t.Context()
	h, err := lab.NewHosts(ctx, lab.HostsOptions{Systole: program(t), Env: []string{"SYSTOLE_NO_REBOOT=1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	check := func(d *lab.Director) (int, string) {
		r, err := d.Exec(ctx, "systole", "check")
		if err != nil {
			t.Fatal(err)
		}
		return r.Code, r.Stdout + r.Stderr
	}
	summary := regexp.MustCompile(`^/etc/(ha\.d/(ha\.cf|authkeys|haresources|ldirectord\.cf)|ipvsadm\.rules): ok \(.*\)$`)
	for _, d := range []*lab.Director{h.Master, h.Slave} {
		code, out := check(d)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		for _, line := range lines {
			if !summary.MatchString(line) {
				t.Errorf("%s: %s", d.Name(), line)
			}
		}
		if code != 0 || len(lines) < 5 {
			t.Errorf("%s: status %d\n%s", d.Name(), code, out)
		}
	}

	m := h.Master
	good := map[string]string{}
	for _, name := range []string{"ha.cf", "authkeys", "haresources", "ldirectord.cf"} {
		text, err := m.ReadFile("/etc/ha.d/" + name)
		if err != nil {
			t.Fatal(err)
		}
		good[name] = string(text)
	}
	const ruleFile = "/etc/ipvsadm.rules"
	text, err := m.ReadFile(ruleFile)
	if err != nil || !strings.Contains(string(text), "-s wlc") {
		t.Fatalf("%s: %q %v", ruleFile, text, err)
	}
	good["rules"] = string(text)
	rules := func(text string) {
		if err := m.WriteFile(ruleFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ip := func(args string) {
		if r, err := m.Exec(ctx, "ip", strings.Fields(args)...); err != nil || r.Code != 0 {
			t.Fatalf("ip %s: %s %v", args, r.Stderr, err)
		}
	}
	for _, c := range []struct {
		what         string
		file, change string // old text → new text
		with         string
		do, undo     func()
		status       int
		want         string
	}{
		{what: "another machine's name", file: "ha.cf", change: "node ha-master", with: "node master.example.org", status: 1, want: `ha\.cf:\d+:6: node: this machine is "ha-master", which is no node`},
		{what: "a group of a node that is not there", file: "haresources", change: "ha-master", with: "ha-mister", status: 1, want: `haresources:1:1: "ha-mister" is not a node of ha\.cf`},
		{what: "no such interface", file: "ha.cf", change: "bcast eth0", with: "bcast eth1", status: 1, want: `ha\.cf:\d+:7: bcast: interface "eth1": no such device`},
		{what: "no such interface for multicast", file: "ha.cf", change: "bcast eth0", with: "mcast eth1 225.0.0.1 694 1 0", status: 1, want: `ha\.cf:\d+:7: mcast: interface "eth1": no such device`},
		{
			what: "an interface without an address", file: "ha.cf", change: "bcast eth0", with: "mcast bare 225.0.0.1 694 1 0",
			do: func() { ip("link add bare type veth peer name bare1"); ip("link set bare up") }, undo: func() { ip("link del bare") },
			status: 1, want: `ha\.cf:\d+:7: mcast: interface "bare": cannot assign requested address`,
		},
		{what: "only lo", file: "ha.cf", change: "bcast eth0\nucast eth0 172.16.60.207", with: "bcast lo", status: 1, want: `nobody else hears what goes out on lo`},
		{what: "the same file on both nodes, one ucast", file: "ha.cf", change: "bcast eth0\nucast eth0 172.16.60.207", with: "ucast eth0 172.16.60.206", status: 1, want: `172\.16\.60\.206 is this node's own address, and nothing else reaches the other node`},
		{what: "no such user", file: "ha.cf", change: "respawn root", with: "respawn nosuchuser", status: 1, want: `respawn: no user "nosuchuser"`},
		{what: "no such program", file: "ha.cf", change: "/usr/lib64/heartbeat/ipfail", with: "/usr/lib64/heartbeat/nosuch", status: 1, want: `respawn: "/usr/lib64/heartbeat/nosuch" cannot be executed`},
		{what: "no such stonith plugin", file: "ha.cf", change: "#crm yes", with: "stonith_host * nosuch a b c", status: 1, want: `stonith_host: no stonith plugin "nosuch"`},
		{what: "readable keys", do: func() { chmod(t, m, "644", "/etc/ha.d/authkeys") }, undo: func() { chmod(t, m, "600", "/etc/ha.d/authkeys") }, status: 1, want: `authkeys: mode 644 lets others read the keys`},
		{what: "no such script", file: "haresources", change: "ldirectord", with: "ldirectord nosuch", status: 1, want: `cannot locate resource script "nosuch"`},
		{what: "no such configuration", file: "haresources", change: "ldirectord", with: "ldirectord::nosuch.cf", status: 1, want: `/etc/ha\.d/nosuch\.cf: no such file or directory`},
		{what: "a service on an address of nobody", file: "ldirectord.cf", change: "virtual=172.16.60.111", with: "virtual=172.16.60.112", want: `ldirectord\.cf:\d+:1: warning: virtual: no haresources group brings 172\.16\.60\.112 up`},
		{what: "rules without a service", file: "ldirectord.cf", change: "virtual=172.16.60.111", with: "virtual=172.16.60.112", want: `ipvsadm\.rules:1:1: warning: -A: service 172\.16\.60\.111:80 is in no ldirectord\.cf`},
		{what: "rules with another scheduler", file: "ldirectord.cf", change: "scheduler=wlc", with: "scheduler=rr", want: `ipvsadm\.rules:1:1: warning: -A: service 172\.16\.60\.111:80 has scheduler wlc, .*ldirectord\.cf:\d+:\d says rr \(want -s rr\)`},
		{
			what: "a rule twice", do: func() { rules(good["rules"] + "-A -t 172.16.60.111:80 -s rr\n") }, undo: func() { rules(good["rules"]) },
			status: 1, want: `ipvsadm\.rules:\d:1: -A: add service tcp:172\.16\.60\.111:80: already exists \(want each service and real server once\)`,
		},
		{
			what: "a rule twice and a difference", do: func() {
				rules(strings.Replace(good["rules"], "-s wlc", "-s lc", 1) + "-A -t 172.16.60.111:80 -s rr\n")
			}, undo: func() { rules(good["rules"]) },
			status: 1, want: `ipvsadm\.rules:1:1: warning: -A: service 172\.16\.60\.111:80 has scheduler lc`,
		},
		{what: "an address that is up", do: func() { ip("addr add 172.16.60.111/24 dev eth0") }, undo: func() { ip("addr del 172.16.60.111/24 dev eth0") }, want: `172\.16\.60\.111 is up on eth0, and no heartbeat runs here`},
	} {
		if c.file != "" {
			text := strings.Replace(good[c.file], c.change, c.with, 1)
			if text == good[c.file] {
				t.Fatalf("%s: %q is not in %s", c.what, c.change, c.file)
			}
			write(t, m, c.file, text)
		}
		if c.do != nil {
			c.do()
		}
		code, out := check(m)
		if code != c.status || !regexp.MustCompile(c.want).MatchString(out) {
			t.Errorf("%s: status %d, want %d and %s\n%s", c.what, code, c.status, c.want, out)
		}
		if c.undo != nil {
			c.undo()
		}
		if c.file != "" {
			write(t, m, c.file, good[c.file])
		}
	}

	// A port that another program has, which the director's processes do not see.
	other, err := m.ListenPacket("udp4", "0.0.0.0:694")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if code, out := check(m); code != 0 || !strings.Contains(out, "UDP port 694 is in use by") {
		t.Errorf("a port in use: status %d\n%s", code, out)
	}
}

func chmod(t *testing.T, d *lab.Director, mode, path string) {
	t.Helper()
	if r, err := d.Exec(t.Context(), "chmod", mode, path); err != nil || r.Code != 0 {
		t.Fatalf("chmod %s: %s %v", path, r.Stderr, err)
	}
}

func write(t *testing.T, d *lab.Director, name, text string) {
	t.Helper()
	if err := d.WriteFile("/etc/ha.d/"+name, []byte(text), lab.ConfigMode("/etc/ha.d/"+name)); err != nil {
		t.Fatal(err)
	}
}
