package compat

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/lab"
	"github.com/systole-ha/systole/pkg/layout"
)

// installRoot installs our program below a directory, as a package does.
func installRoot(t *testing.T, arg ...string) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	args := append([]string{"install", "--layout", "debian", "--destdir", root}, arg...)
	if out, err := exec.Command(program(t), args...).CombinedOutput(); err != nil {
		t.Fatalf("systole %v: %v\n%s", args, err, out)
	}
	return root
}

// spy takes the place of an OCF agent: it tells what it was given, and ends as the file /tmp/status says.
const spy = `#!/bin/sh
echo "agent ${0##*/} $*"
env | grep ^OCF_ | grep -v '=$' | sort
exit "$(cat /tmp/status)"
`

// wrapperCalls are command lines of resource.d's scripts.
var wrapperCalls = []string{
	"IPaddr 10.0.0.1 start", "IPaddr 10.0.0.1/24 start", "IPaddr 10.0.0.1/24/eth0 start", "IPaddr 10.0.0.1/24/eth0/10.0.0.255 stop",
	"IPaddr 10.0.0.1/24/10.0.0.255 status", "IPaddr 10.0.0.1/255.255.255.0/eth0:1 status", "IPaddr2 10.0.0.1/24/eth0:web/10.0.0.255 start", "IPaddr2 10.0.0.1 start",
	"IPv6addr fd00:1:2:3:4:5:6:7/64/eth0 start", "IPv6addr fd00:1:2:3:4:5:6:7 start", "IPsrcaddr 10.0.0.1 start", "SendArp 10.0.0.1/eth0 start",
	"Delay 5 7 start", "Delay 5 start", "Delay start", "MailTo root@example.org start", "MailTo root@example.org subject stop",
	"portblock tcp 80,443 block start", "portblock udp 53 unblock stop", "Filesystem /dev/sdb1 /srv start", "Filesystem /dev/sdb1 /srv ext4 start",
	"Filesystem /dev/sdb1 /srv ext4 noatime,ro stop", "LVM vg0 start", "Raid1 /etc/mdadm.conf /dev/md0 start", "apache /etc/apache2/apache2.conf start", "apache start",
	"db2 db2inst1 start", "ids /opt/ids srv onconf start", "ids start", "Xinetd tftp start", "WinPopup /etc/hosts.pop start",
	"AudibleAlarm paul silas start", "AudibleAlarm start", "ServeRAID 1 2 start", "ICP c0 /dev/sdc start", "LinuxSCSI 0:0:5 start", "WAS 9080 start",
	"IPaddr start", "IPaddr 10.0.0.1 frobnicate", "Filesystem /dev/sdb1 start", "portblock tcp 80 start", "WinPopup",
}

// TestWrappers gives the same command lines to the original's scripts of resource.d and to ours, on top of agents that
// tell what they were given: parameters, instance, exit status, output and log lines have to be the same.
func TestWrappers(t *testing.T) {
	lab.NeedPrograms(t, "/etc/ha.d/resource.d/IPaddr", "/usr/lib/ocf/resource.d/heartbeat/Filesystem")
	n := lab.Net(t)
	results := map[string]map[string]string{}
	for name, roots := range map[string][]string{"original": nil, "ours": {installRoot(t)}} {
		node, err := n.AddNode(lab.NodeSpec{Name: name, Roots: roots})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range layout.Wrappers {
			if err := node.WriteFile("/usr/lib/ocf/resource.d/heartbeat/"+w, []byte(spy), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		results[name] = wrapperResults(t, node)
	}
	for call, want := range results["original"] {
		if diff := cmp.Diff(want, results["ours"][call]); diff != "" {
			t.Errorf("%s (-original +ours):\n%s", call, diff)
		}
	}
}

// usageLine differs: the words are ours.
var (
	usageLine  = regexp.MustCompile(`(?i)^(usage: |for the |at least |$)`)
	wrapperPID = regexp.MustCompile(`\[\d+\]|^\d{4}/\d\d/\d\d_[\d:]{8}`)
)

func wrapperResults(t *testing.T, node *lab.Node) map[string]string {
	t.Helper()
	results := map[string]string{}
	run := func(call, status string) {
		name, args, _ := strings.Cut(call, " ")
		c := node.Command(t.Context(), "/bin/sh", "-c", "echo "+status+" >/tmp/status; rm -f /tmp/ha-log; /etc/ha.d/resource.d/"+name+" "+args+" </dev/null; echo exit $?; cat /tmp/ha-log 2>/dev/null")
		c.Env = append(c.Env, "HA_LOGFILE=/tmp/ha-log", "HA_DATEFMT=%Y/%m/%d_%T\t", "HA_DIR=/etc/ha.d")
		r, err := c.Result()
		if err != nil {
			t.Fatal(err)
		}
		var kept []string
		for line := range strings.Lines(r.Stdout) {
			if line = strings.TrimRight(line, " \n"); !usageLine.MatchString(line) {
				kept = append(kept, wrapperPID.ReplaceAllString(line, "*"))
			}
		}
		results[call+" → "+status] = strings.Join(kept, "\n")
	}
	for _, call := range wrapperCalls {
		run(call, "0")
	}
	for _, status := range []string{"1", "2", "3", "4", "5", "6", "7", "8", "200"} {
		run("Filesystem /dev/sdb1 /srv start", status)
		run("Filesystem /dev/sdb1 /srv status", status)
	}
	return results
}
