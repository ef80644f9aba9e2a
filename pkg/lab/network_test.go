package lab_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// pair is two nodes, a at 10.7.0.1 and b at 10.7.0.2, on one bridge.
func pair(t *testing.T) (n *lab.Network, a, b *lab.Node) {
	t.Helper()
	n = lab.Net(t)
	return n, add(t, n, "a", "10.7.0.1/24"), add(t, n, "b", "10.7.0.2/24")
}

func add(t *testing.T, n *lab.Network, name, addr string) *lab.Node {
	t.Helper()
	nd, err := n.AddNode(lab.NodeSpec{Name: name, Links: []lab.Link{{Addrs: []netip.Prefix{netip.MustParsePrefix(addr)}}}})
	if err != nil {
		t.Fatal(err)
	}
	return nd
}

// reaches tells whether a datagram of from's arrives at to within a moment.
func reaches(t *testing.T, from, to *lab.Node) bool {
	t.Helper()
	in, err := to.ListenPacket("udp4", net.JoinHostPort(to.Addr().String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := from.Dial(t.Context(), "udp4", in.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	for range 10 {
		if _, err := out.Write([]byte("x")); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			continue // an ARP failure is reported on the next write
		}
		if err := in.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := in.ReadFrom(make([]byte, 1)); err == nil {
			return true
		}
	}
	return false
}

func TestNodesReachEachOther(t *testing.T) {
	t.Parallel()
	n, a, b := pair(t)
	if !reaches(t, a, b) {
		t.Fatal("b does not hear a")
	}
	if err := b.Unplug("eth0"); err != nil {
		t.Fatal(err)
	}
	if reaches(t, a, b) {
		t.Error("b hears a without a cable")
	}
	if err := b.Plug("eth0"); err != nil {
		t.Fatal(err)
	}
	if !reaches(t, a, b) {
		t.Error("b does not hear a with the cable back in")
	}
	if err := lab.CanFilter(); err != nil {
		t.Skip(err)
	}
	if err := n.Cut(a, b); err != nil {
		t.Fatal(err)
	}
	if reaches(t, a, b) || reaches(t, b, a) {
		t.Error("a and b hear each other while cut")
	}
	if err := n.Heal(); err != nil {
		t.Fatal(err)
	}
	if !reaches(t, a, b) {
		t.Error("b does not hear a when healed")
	}
}

func TestNodeHasItsOwnMachine(t *testing.T) {
	t.Parallel()
	_, a, b := pair(t)
	ctx := t.Context()
	r, err := a.Exec(ctx, "sh", "-c", "uname -n; echo $$; echo mine > /etc/lab-own; ls /etc/passwd; exit 3")
	if err != nil || r.Code != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	if f := strings.Fields(r.Stdout); len(f) != 3 || f[0] != "a" || len(f[1]) > 3 || f[2] != "/etc/passwd" {
		t.Errorf("uname, pid, file: %q", f)
	}
	if got, err := a.ReadFile("/etc/lab-own"); err != nil || string(got) != "mine\n" {
		t.Errorf("own file: %q, %v", got, err)
	}
	if _, err := b.ReadFile("/etc/lab-own"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("b sees a's file: %v", err)
	}
	if _, err := os.Stat("/etc/lab-own"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the machine sees a's file: %v", err)
	}
	// /var/run is a link to /run, which must be the node's own.
	if err := a.WriteFile("/var/run/x/pid", []byte("7"), 0o600); err != nil {
		t.Error(err)
	}
	if r, err := a.Exec(ctx, "cat", "/run/x/pid"); err != nil || r.Stdout != "7" {
		t.Errorf("written through a link: %+v, %v", r, err)
	}
}

func TestPowerOffKeepsTheDisk(t *testing.T) {
	t.Parallel()
	n, a, b := pair(t)
	sleep := a.Command(t.Context(), "sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/etc/kept", "/var/log/kept", "/tmp/kept"} {
		if err := a.WriteFile(p, []byte(p), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.PowerOff(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := sleep.Wait(); !errors.As(err, &exit) {
		t.Errorf("a process outlived its node: %v", err)
	}
	if _, err := a.Exec(t.Context(), "true"); err == nil {
		t.Error("a node that is off runs commands")
	}
	if got, err := a.ReadFile("/var/log/kept"); err != nil || string(got) != "/var/log/kept" {
		t.Errorf("log of a node that is off: %q, %v", got, err)
	}
	if err := a.WriteFile("/etc/new", nil, 0o600); err != nil {
		t.Error(err)
	}
	if err := a.PowerOn(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/etc/kept", "/var/log/kept", "/tmp/kept", "/etc/new"} {
		if _, err := a.ReadFile(p); err != nil {
			t.Error(err)
		}
	}
	if !reaches(t, b, a) {
		t.Error("a is not reached after power came back")
	}
	if n.Node("a") != a || len(n.Nodes()) != 2 {
		t.Error("nodes got lost")
	}
}

func TestOrphansAreReapedAndLogged(t *testing.T) {
	t.Parallel()
	_, a, _ := pair(t)
	before, err := a.LastPID()
	if err != nil {
		t.Fatal(err)
	}
	// The orphan is init's child; it logs as syslog(3) does.
	r, err := a.Exec(t.Context(), "sh", "-c", "(sleep 0.05; logger -t orphan -p local0.notice said this) >/dev/null 2>&1 &")
	if err != nil || r.Code != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	wait(t, "the orphan's line", func() bool {
		lines, err := a.Syslog()
		return err == nil && len(lines) == 1 && strings.HasSuffix(lines[0].Text, "orphan: said this") &&
			strings.HasPrefix(lines[0].Text, "<133>") && time.Since(lines[0].Time) < time.Minute
	})
	wait(t, "no zombie", func() bool {
		r, err := a.Exec(t.Context(), "sh", "-c", "cat /proc/[0-9]*/stat")
		return err == nil && !strings.Contains(r.Stdout, ") Z ")
	})
	after, err := a.LastPID()
	if err != nil || after-before < 3 {
		t.Errorf("pids %d to %d, %v", before, after, err)
	}
}

func TestTerminal(t *testing.T) {
	t.Parallel()
	_, a, _ := pair(t)
	r, err := a.Command(t.Context(), "sh", "-c", "tty; test -t 0 && test -t 1 && echo yes; sleep 1000 & exit 4").OnTerminal()
	if err != nil || r.Code != 4 || r.Stdout != "/dev/pts/0\nyes\n" {
		t.Errorf("%+v %v", r, err)
	}
}

func TestServeAndDial(t *testing.T) {
	t.Parallel()
	_, a, b := pair(t)
	site, err := b.Serve(":80", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	if err != nil {
		t.Fatal(err)
	}
	client := a.HTTPClient()
	get := func() (string, error) {
		resp, err := client.Get("http://10.7.0.2/")
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
	if body, err := get(); err != nil || body != "hello" {
		t.Fatalf("%q, %v", body, err)
	}
	if err := site.Close(); err != nil {
		t.Fatal(err)
	}
	if body, err := get(); err == nil {
		t.Errorf("a closed site answers %q", body)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	lab.NeedRoot(t)
	n, err := lab.New(context.Background(), lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a := add(t, n, "a", "10.7.0.1/24")
	pid := a.Pid()
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	if err := n.Close(); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if _, err := os.Stat(n.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory: %v", err)
	}
	if b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/comm"); err == nil && strings.HasPrefix(string(b), "exe") {
		t.Errorf("init %d is still there", pid)
	}
}

// wait polls for a thing that happens soon.
func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not seen: %s", what)
		}
	}
}
