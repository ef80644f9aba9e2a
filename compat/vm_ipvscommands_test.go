package compat

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// commandLine is a line of commands.txt.
type commandLine struct {
	n     int
	words []string
	stdin string
}

// commandGroups reads commands.txt; each group begins with an empty table.
func commandGroups(t *testing.T) [][]commandLine {
	text, err := os.ReadFile(filepath.Join(recordDir, "commands.txt"))
	if err != nil {
		t.Fatal(err)
	}
	groups := make([][]commandLine, 1)
	for n, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		if line == "clear" {
			groups = append(groups, nil)
			continue
		}
		c := commandLine{n: n + 1}
		line, stdin, has := strings.Cut(line, " <<< ")
		if has {
			if c.stdin, err = strconv.Unquote(stdin); err != nil {
				t.Fatalf("commands.txt:%d: %v", c.n, err)
			}
		}
		for _, w := range strings.Fields(line) {
			c.words = append(c.words, strings.ReplaceAll(w, `""`, ""))
		}
		last := len(groups) - 1
		groups[last] = append(groups[last], c)
	}
	return groups
}

// testCommandLines runs testdata/ipvsadm/commands.txt on both sides, one after the other: the kernel numbers the
// services of all network namespaces together, and a listing that needs a second message shows one twice if
// somebody else's table changes meanwhile.
func testCommandLines(t *testing.T) {
	original, ours := newSide(t, false), newSide(t, true)
	for _, group := range commandGroups(t) {
		if len(group) > 0 {
			testGroup(t, original, ours, group)
		}
	}
}

func testGroup(t *testing.T, original, ours *side, group []commandLine) {
	for _, c := range group {
		if !bothSay(t, original, ours, c.words[0], c.stdin, c.words[1:]...) {
			t.Logf("commands.txt:%d", c.n)
		}
	}
	for _, args := range []string{"-S -n", "-L -n", "-C", "--set 900 120 300"} {
		if !bothSay(t, original, ours, "ipvsadm", "", strings.Fields(args)...) {
			t.Logf("commands.txt: the group that begins in line %d", group[0].n)
		}
	}
}

// testProgram runs ours as a process: its name, input, output and exit status are its own.
func testProgram(t *testing.T) {
	original, ours := newSide(t, false), newSide(t, true)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "ipvsadm")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		stdin string
		args  []string
	}{
		{"", []string{"-A", "-t", "10.0.0.1:80"}},
		{"", []string{"-A", "-t", "10.0.0.1:80"}},
		{"-a -t 10.0.0.1:80 -r 10.0.0.2\n-L -n\n", []string{"-R"}},
		{"", []string{"-L", "-n", "-t", "10.0.0.9:80"}},
		{"", []string{"-L", "-n", "extra"}},
		{"", []string{"-q"}},
		{"", nil},
	} {
		a := original.exec("/usr/sbin/ipvsadm", "/usr/sbin/ipvsadm", c.stdin, c.args...)
		b := ours.exec(link, link, c.stdin, c.args...)
		b.stderr = strings.ReplaceAll(b.stderr, link, "/usr/sbin/ipvsadm")
		if a != b {
			t.Errorf("%q < %q\n--- original\n%v--- ours\n%v", c.args, c.stdin, a, b)
		}
	}
	help := ours.exec(link, link, "", "-h")
	if help.status != 0 || !strings.HasPrefix(help.stdout, "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n") || !strings.Contains(help.stdout, "--tun-remcsum") {
		t.Errorf("help: %v", help)
	}
}

// testCounters has both programs show one table with traffic.
func testCounters(t *testing.T) {
	original := newSide(t, false)
	ours := &side{ours: true, jobs: original.jobs} // in the same namespace
	for _, c := range []string{
		"link add d0 type dummy", "link set d0 up", "addr add 10.0.0.1/24 dev d0", "addr add 10.0.0.2/24 dev d0",
		"addr add fd00::1/64 dev d0 nodad", "addr add fd00::2/64 dev d0 nodad",
	} {
		if r := original.exec("ip", "ip", "", strings.Fields(c)...); r.status != 0 {
			t.Fatalf("ip %s: %v", c, r)
		}
	}
	const rules = `-A -t 10.0.0.1:80 -s rr -p 100
-a -t 10.0.0.1:80 -r 10.0.0.2:8080 -m
-A -u 10.0.0.1:53 -s rr
-a -u 10.0.0.1:53 -r 10.0.0.2:53 -m
-A -t [fd00::1]:80 -s wlc
-a -t [fd00::1]:80 -r [fd00::2]:8080 -m
-A -u 10.0.0.1:5060 --pe sip -p 60 -o
-a -u 10.0.0.1:5060 -r 10.0.0.2:5060 -m
`
	if r := ours.run("ipvsadm", rules, "-R"); r != (result{}) {
		t.Fatalf("%v", r)
	}
	original.do(func() {
		for _, server := range []string{"10.0.0.2:8080", "[fd00::2]:8080"} {
			listener, err := net.Listen("tcp", server)
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(func() { listener.Close() })
			go func() { // ends when the listener is closed
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					_, _ = io.Copy(conn, io.LimitReader(conn, 1000))
					conn.Close()
				}
			}()
		}
		for i, client := range []string{"10.0.0.1:80", "10.0.0.1:80", "10.0.0.1:80", "[fd00::1]:80"} {
			conn, err := net.DialTimeout("tcp", client, 10*time.Second)
			if err != nil {
				t.Errorf("%s: %v", client, err)
				continue
			}
			if i == 0 {
				defer conn.Close()
			} else {
				t.Cleanup(func() { conn.Close() })
			}
			fmt.Fprint(conn, strings.Repeat("x", 1000*(i+1)/4))
		}
		for client, text := range map[string]string{
			"10.0.0.1:53":   "a question",
			"10.0.0.1:5060": "INVITE sip:x@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.9:5060\r\nCall-ID: abcdef12345@10.0.0.9\r\nContent-Length: 0\r\n\r\n",
		} {
			conn, err := net.Dial("udp", client)
			if err != nil {
				t.Errorf("%s: %v", client, err)
				continue
			}
			fmt.Fprint(conn, text)
			conn.Close()
		}
	})
	// The kernel adds counters up every two seconds.
	for range 100 {
		if !strings.Contains(ours.run("ipvsadm", "", "-L", "-n", "--stats", "-t", "10.0.0.1:80").stdout, " 0        0        0        0        0\n") {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, args := range []string{
		"-L -n", "-L", "-L -n --stats", "-L --stats --exact", "-L -n --rate", "-L -n --persistent-conn", "-L -n --thresholds",
		"-L -n -c", "-L -c", "-L -n -c --persistent-conn", "-L -n -t 10.0.0.1:80 --stats", "-S -n",
		"-Z -t 10.0.0.1:80", "-L -n --stats", "-Z", "-L -n --stats",
	} {
		// Rates may move between the two: again, then. Times to live do on a slow machine: ours are to be between the original's.
		var a, b result
		same := false
		for range 5 {
			a, b = original.run("ipvsadm", "", strings.Fields(args)...), ours.run("ipvsadm", "", strings.Fields(args)...)
			same = a == b || strings.Contains(args, "-c") && expireBetween(a, b, original.run("ipvsadm", "", strings.Fields(args)...))
			if same {
				break
			}
		}
		if !same {
			t.Errorf("ipvsadm %s\n--- original\n%v--- ours\n%v", args, a, b)
		}
		switch args {
		case "-L -n -c --persistent-conn":
			if !strings.Contains(b.stdout, "sip                abcdef12345@10.0.0.9\n") || strings.Count(b.stdout, "\nTCP ") < 4 {
				t.Errorf("too few connections to compare:\n%s", b.stdout)
			}
		case "-L -n -t 10.0.0.1:80 --stats":
			if strings.Contains(b.stdout, " 0        0        0        0        0\n") {
				t.Errorf("no traffic to compare:\n%s", b.stdout)
			}
		}
	}
}

// expireBetween tells whether b is as a and c but for times to live, which are between theirs.
func expireBetween(a, b, c result) bool {
	expire := regexp.MustCompile(` \d\d:\d\d `)
	times := [3][]string{}
	for i, r := range []*result{&a, &b, &c} {
		times[i] = expire.FindAllString(r.stdout, -1)
		r.stdout = expire.ReplaceAllString(r.stdout, " MM:SS ")
	}
	if a != b || b != c {
		return false
	}
	for i, at := range times[1] {
		if at > times[0][i] || at < times[2][i] {
			return false
		}
	}
	return true
}
