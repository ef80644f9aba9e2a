package compat

import (
	"flag"
	"math/rand/v2"
	"strings"
	"testing"
)

var (
	randomLines = flag.Int("ipvsadm-lines", 60, "how many random command lines the original ipvsadm and ours are compared on")
	randomSeed  = flag.Uint64("ipvsadm-seed", 1, "which ones")
)

// testRandomCommandLines compares the two ipvsadms on command lines that are often right, often
// wrong in one thing, and sometimes in several, so that the order of the checks shows.
func testRandomCommandLines(t *testing.T) {
	original, ours := newSide(t, false), newSide(t, true)
	r := rand.New(rand.NewPCG(*randomSeed, 0))
	for range *randomLines {
		args, stdin := randomCommandLine(r), ""
		if args[0] == "-R" {
			for range 4 {
				stdin += strings.Join(randomCommandLine(r), " ") + "\n"
			}
		}
		if r.IntN(25) == 0 {
			args = []string{"-C"}
		}
		bothSay(t, original, ours, "ipvsadm", stdin, args...)
		if !bothSay(t, original, ours, "ipvsadm", "", "-Sn") {
			t.Logf("after ipvsadm %q < %q", args, stdin)
			bothSay(t, original, ours, "ipvsadm", "", "-C")
		}
	}
}

// bothSay runs one command line on both sides.
func bothSay(t *testing.T, original, ours *side, name, stdin string, args ...string) bool {
	a, b := original.run(name, stdin, args...), ours.run(name, stdin, args...)
	if a != b {
		t.Errorf("%s %q < %q\n--- original\n%v--- ours\n%v", name, args, stdin, a, b)
	}
	return a == b
}

func pick(r *rand.Rand, words ...string) string { return words[r.IntN(len(words))] }

func randomCommandLine(r *rand.Rand) []string {
	var args []string
	add := func(words ...string) { args = append(args, words...) }
	service := func() {
		add(strings.Fields(pick(r, "-t 10.0.0.1:80", "-t 10.0.0.1:80", "-t 10.0.0.1:80", "-u 10.0.0.1:53", "-t 10.0.0.2:0", "-f 1", "-f 1 -6", "-f 2", "-t [fd00::1]:80", "--sctp-service 10.0.0.1:80", "-t 200.1.1.1:80", "-u [fd00::1]:53", "-t 10.0.0.1", "-u=10.0.0.1:http", "-6 -f 1", "-f 0", "-t x", "-t localhost:80", "-t 1:80", "-t 010.1.1.1:80", "-t 0x7f000001:80", "-u 10.0.0.1:domain", "--tcp-service=127.1:http", "-f +5"))...)
	}
	option := func() {
		add(strings.Fields(pick(r, "-s rr", "-s wlc", "-s sh", "-s mh", "-s nosuch", "-p", "-p 600", "-p=5", "-p0", "-M 255.255.255.0", "-M 64", "-M 0xffff0000", "-o", "--pe sip", "--pe x", "-b flag-1", "-b sh-port", "-b mh-fallback,flag-3", "-b flag-3", "-b ,x",
			"-r 10.0.0.3", "-r 10.0.0.3:8080", "-r [fd00::3]:80", "-r fd00::4", "-r 10.0.0.4:http", "-m", "-i", "-g", "-w 5", "-w 0", "-w -1", "-w5", "-x 10", "-y 5", "-x=3", "--tun-type gre", "--tun-type gue", "--tun-port 6080", "--tun-csum", "--tun-nocsum", "--tun-remcsum", "--tun-type ipip",
			"-n", "--stats", "--rate", "--thresholds", "--persistent-conn", "--tun-info", "--exact", "--sort", "-c", "--timeout", "--daemon", "--syncid 5", "--mcast-interface lo", "--mcast-ttl 300", "--mcast-group 224.0.0.99", "--sync-maxlen 99", "--mcast-port 0", "foo", "-q", "--foo", "--", "-6", "-L", "-h", "--set"))...)
	}
	likely := func(words ...string) {
		if r.IntN(2) == 0 {
			add(strings.Fields(pick(r, words...))...)
		}
	}
	switch r.IntN(14) {
	case 0, 1:
		add(pick(r, "-A", "-A", "-E", "--add-service"))
		service()
		likely("-s rr", "-s sh", "-s mh", "-s wrr")
		likely("-p", "-p 100", "-p 5 -M 255.255.255.0")
		likely("-b sh-port", "-b mh-port", "-b flag-1,flag-2", "-o")
	case 2, 3, 4, 5:
		add(pick(r, "-a", "-a", "-a", "-e", "--add-server"))
		service()
		add(strings.Fields(pick(r, "-r 10.0.0.3", "-r 10.0.0.3:8080", "-r [fd00::3]:80", "-r fd00::4", "-r 200.0.0.4:http", "-r 224.0.0.1", "-r 10.0.0.9:99 -i", "-r 127.0.0.1:1", "-r 130.0.0.1"))...)
		likely("-m", "-i", "-g", "-i --tun-type gre", "-i --tun-type gue --tun-port 55")
		likely("-w 5", "-w 0", "-x 5 -y 2", "-x 5", "-y 2")
	case 6:
		add("-d")
		service()
		add(strings.Fields(pick(r, "-r 10.0.0.3:80", "-r 10.0.0.3:8080", "-r [fd00::3]:80", "-r 10.0.0.3"))...)
	case 7:
		add("-D")
		service()
	case 8:
		add("-Z")
		likely("-t 10.0.0.1:80", "-f 1", "-u 10.0.0.1:53")
	case 9, 10:
		add(pick(r, "-L", "-Ln", "-l", "--list"))
		likely("-t 10.0.0.1:80", "-f 1 -6", "-n")
		likely("--stats", "--rate", "--thresholds", "--persistent-conn", "--tun-info")
	case 11:
		add(pick(r, "-S", "-Sn"))
	case 12:
		add(strings.Fields(pick(r, "--set 1 2 3", "--set 1 2", "--set 0 0 0", "--set 900 120 x", "--start-daemon master", "--stop-daemon master", "--start-daemon backup --mcast-interface lo", "--stop-daemon backup", "--start-daemon x"))...)
	case 13:
		add("-R")
		return args
	}
	for r.IntN(3) == 0 {
		option()
	}
	if r.IntN(8) == 0 && len(args) > 2 { // out of order
		r.Shuffle(len(args)-1, func(i, j int) { args[i+1], args[j+1] = args[j+1], args[i+1] })
	}
	return args
}
