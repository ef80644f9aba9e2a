package compat

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// The tables of ipvsadm -Ln, as ipvsadm 1.31 prints them.
const (
	emptyTable = "IP Virtual Server version 1.2.1 (size=4096)\n" +
		"Prot LocalAddress:Port Scheduler Flags\n" +
		"  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
	tableService = "TCP  172.16.60.111:80 wlc persistent 600\n"
	table204     = "  -> 172.16.60.204:80             Route   1      0          0         \n"
	table205     = "  -> 172.16.60.205:80             Route   1      0          0         \n"
	tableSorry   = "  -> 127.0.0.1:80                 Route   1      0          0         \n"
	fullTable    = emptyTable + tableService + table204 + table205
)

// connections are the two last columns of a destination, which depend on the traffic; Local is what
// older kernels call the route to themselves.
var (
	connections = regexp.MustCompile(`(?m)^(  -> \S+ +)(Route|Local)( +\d+ +)\d+ +\d+ +$`)
	order       = strings.NewReplacer(table205+table204, table204+table205)
)

// tables fails unless the director's table is that, connections and the order of destinations aside.
func (c *checklist) tables(d *lab.Director, want string) verdict {
	got, _ := c.run(d, "ipvsadm", "-Ln")
	if got = order.Replace(connections.ReplaceAllString(got, "${1}Route${3}0          0         ")); got != want {
		return fmt.Errorf("ipvsadm -Ln of %s:\n%swant:\n%s", d.Name(), got, want)
	}
	return nil
}

// page fails unless the client gets that page; "" is either real server's.
func (c *checklist) page(url string, want ...string) verdict {
	resp, err := c.h.Client.HTTPClient().Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	for _, w := range want {
		if strings.TrimSpace(string(body)) == w {
			return nil
		}
	}
	return fmt.Errorf("GET %s: %q, want %q", url, body, want)
}

// environment judges what the tutorial builds before heartbeat comes in.
func (c *checklist) environment() {
	h := c.h
	for _, n := range h.Nodes() {
		r, err := n.Exec(c.ctx, "sh", "-c", "uname -n; cat /proc/sys/net/ipv4/ip_forward")
		if want := n.Name() + "\n1\n"; err != nil || r.Stdout != want {
			c.judge("S1", fmt.Errorf("%q, want %q; %v", r.Stdout, want, err))
		}
	}
	for _, d := range []*lab.Director{h.Master, h.Slave} {
		hosts, _ := c.run(d, "cat", "/etc/hosts")
		if !strings.Contains(hosts, "172.16.60.206 ha-master\n172.16.60.207 ha-slave\n") {
			c.judge("S1", fmt.Errorf("/etc/hosts: %q", hosts))
		}
		c.judge("S1", nil)
		c.judge("S20", c.page("http://"+d.Addr().String()+"/", lab.SorryPage))
	}
	c.judge("S2", notOurs("files of another distribution"))
	c.judge("S3", notOurs("laid by a package; here it is Debian's"))
	c.judge("S4", notOurs("laid by a package; here it is Debian's"))
	modules, err := os.ReadFile("/proc/modules")
	c.judge("S12", err)
	for _, m := range []string{"", "_rr", "_wrr", "_lc", "_wlc", "_lblc", "_lblcr", "_dh", "_sh", "_sed", "_nq", "_ftp", "_pe_sip"} {
		if !strings.Contains("\n"+string(modules), "\nip_vs"+m+" ") {
			c.judge("S12", fmt.Errorf("no ip_vs%s", m))
		}
	}
	c.judge("S13", notOurs("a build of the C program; "+map[lab.Impl]string{lab.Ours: "ipvsadm is one of our programs here", lab.Original: "Debian's is used"}[c.impl]))
	c.judge("S14", c.prints(h.Master, emptyTable, "ipvsadm", "-L", "-n"))
	c.judge("S16", notOurs("a script of the tutorial; the hosts do what it does"))
	for i, rs := range h.Real {
		r, err := rs.Exec(c.ctx, "sh", "-c", "ifconfig lo:0; cd /proc/sys/net/ipv4/conf; cat lo/arp_ignore lo/arp_announce all/arp_ignore all/arp_announce; lsof -nP -i:80")
		switch {
		case err != nil:
			c.judge("S17", err)
		case !regexp.MustCompile(`inet 172\.16\.60\.111  netmask 255\.255\.255\.255\n`).MatchString(r.Stdout) || !strings.Contains(r.Stdout, "\n1\n2\n1\n2\n"):
			c.judge("S17", fmt.Errorf("%q", r.Stdout))
		}
		c.judge("S17", nil)
		if !regexp.MustCompile(`nginx +\d+ +root .*TCP \*:80 \(LISTEN\)\nnginx +\d+ +www-data .*TCP \*:80 \(LISTEN\)\n`).MatchString(r.Stdout) {
			c.judge("S18", fmt.Errorf("lsof: %q", r.Stdout))
		}
		c.judge("S18", nil)
		site := "http://" + rs.Addr().String() + "/"
		c.judge("S19", all(c.page(site, fmt.Sprintf("this is test page of realserver%02d:%s", i+1, rs.Addr())), c.page(site+"lvs_testpage.html", lab.TestPage)))
	}
}

// configuration judges the four files, each wrong one by a start of its own on the slave.
func (c *checklist) configuration() {
	d := c.h.Slave
	files := lab.TutorialConfig(false)
	with := func(path, text string) {
		if err := d.WriteFile(path, []byte(text), lab.ConfigMode(path)); err != nil {
			c.t.Fatal(err)
		}
	}
	status := func() bool { _, code := c.run(d, "/usr/libexec/heartbeat/heartbeat", "-s"); return code == 0 }
	refused := func(why string) verdict {
		r, err := d.Start(c.ctx)
		if err != nil {
			return err
		}
		// The init script returns before a daemon that gives up has done so.
		v := c.eventually(10*time.Second, func() verdict {
			if status() {
				return fmt.Errorf("heartbeat runs %s: %+v", why, r)
			}
			return nil
		})
		if v != nil {
			_, v2 := d.Stop(c.ctx)
			v = errors.Join(v, v2)
		}
		return v
	}
	const ldcf, cf, keys = "/etc/ha.d/ldirectord.cf", "/etc/ha.d/ha.cf", "/etc/ha.d/authkeys"
	c.judge("S11", c.prints(d, "ldirectord is stopped for /etc/ha.d/ldirectord.cf\n", "/etc/init.d/ldirectord", "status"))
	with(ldcf, strings.Replace(files[ldcf], "\treal=", "real=", 1))
	if out, code := c.run(d, "/etc/init.d/ldirectord", "start"); code == 0 {
		c.judge("S10", fmt.Errorf("ldirectord starts with an unindented line: %q", out))
		c.run(d, "/etc/init.d/ldirectord", "stop")
	}
	with(ldcf, files[ldcf])

	with(cf, strings.Replace(files[cf], "/usr/lib64/heartbeat/ipfail", "/usr/lib64/heartbeat/nothere", 1))
	c.judge("S7", refused("with a respawn path that does not exist"))
	with(cf, files[cf])
	if err := d.WriteFile(keys, []byte(files[keys]), 0o644); err != nil {
		c.t.Fatal(err)
	}
	c.judge("S8", refused("with authkeys of mode 644"))
	with(keys, files[keys])

	with(cf, strings.Replace(files[cf], "ping_group", "ping_group group1 10.0.11.21 10.0.11.22\nping_group", 1))
	r, err := d.Start(c.ctx)
	if err != nil || r.Code != 0 {
		c.judge("S40", fmt.Errorf("start: %+v %v", r, err))
	}
	c.judge("S40", c.eventually(20*time.Second, func() verdict {
		if n := strings.Count(d.Log(), "glib: ping group heartbeat started."); n != 2 || !status() {
			return fmt.Errorf("ping group heartbeat started %d times; runs: %v", n, status())
		}
		return nil
	}))
	if r, err := d.Stop(c.ctx); err != nil || r.Code != 0 {
		c.judge("S40", fmt.Errorf("stop: %+v %v", r, err))
	}
	with(cf, files[cf])
	// The machine begins anew, with the logs and the state of a first start.
	if err := d.PowerOff(); err != nil {
		c.t.Fatal(err)
	}
	for _, p := range []string{"/var/log/ha-log", "/var/log/ha-debug", "/var/log/syslog"} {
		if err := d.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			c.t.Fatal(err)
		}
	}
	if err := d.PowerOn(); err != nil {
		c.t.Fatal(err)
	}
}
