package daemon

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pump runs a clients' events until stop is closed or nothing came for a while.
func pump(c *clients, until func() bool) bool {
	for range 1000 {
		if until() {
			return true
		}
		select {
		case f := <-c.events:
			f()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return false
}

func newClients(t *testing.T, commands ...string) (*clients, *logbook, *bool) {
	t.Helper()
	log, book := newLog(t)
	stopped := new(bool)
	ctx, cancel := context.WithCancel(context.Background())
	c := &clients{log: log, debug: func() int { return 3 }, done: func() { *stopped = true }, events: make(chan func(), 16), ctx: ctx}
	for _, cmd := range commands {
		c.list = append(c.list, &client{Client: Client{User: "root", Command: cmd}})
	}
	t.Cleanup(func() { cancel(); c.wg.Wait() })
	return c, book, stopped
}

func TestClientsStopLastFirst(t *testing.T) {
	c, book, stopped := newClients(t, "/bin/sleep 61", "/bin/sleep 62")
	c.start(time.Now())
	c.stop()
	if !pump(c, func() bool { return *stopped }) {
		t.Fatalf("not stopped:\n%s", book)
	}
	first := strings.Index(book.String(), "killing /bin/sleep 62 process group")
	second := strings.Index(book.String(), "killing /bin/sleep 61 process group")
	if first < 0 || second < first {
		t.Errorf("order of killing:\n%s", book)
	}
	if !strings.Contains(book.String(), `info: Starting child client "/bin/sleep 61" (0,0)`) {
		t.Errorf("no start line:\n%s", book)
	}
}

// A restart that becomes an end asks again, before or after the clients have gone.
func TestClientsStopTwice(t *testing.T) {
	c, book, _ := newClients(t, "/bin/sleep 61", "/bin/sleep 62")
	answers := 0
	c.done = func() {
		answers++
		if c.list[0].pid != 0 || c.list[1].pid != 0 {
			t.Errorf("a client still runs:\n%s", book)
		}
	}
	c.start(time.Now())
	c.stop()
	c.stop()
	if !pump(c, func() bool { return answers == 1 }) {
		t.Fatalf("not stopped:\n%s", book)
	}
	c.stop()
	if answers != 2 {
		t.Errorf("%d answers", answers)
	}
}

// A client that has ended by itself as it is asked to is no reason not to wait for another.
func TestClientsStopAsOneDies(t *testing.T) {
	c, book, stopped := newClients(t, "/bin/sleep 61", "/bin/sleep 62")
	c.start(time.Now())
	first, last := c.list[0], c.list[1]
	if err := unix.Kill(last.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	told := <-c.events // its end, of which the loop does not know yet
	c.stop()
	if first.asked || *stopped {
		t.Fatalf("goes on before it knows of the end:\n%s", book)
	}
	told()
	if !first.asked || *stopped {
		t.Fatalf("first asked %v, stopped %v:\n%s", first.asked, *stopped, book)
	}
	if !pump(c, func() bool { return *stopped }) || first.pid != 0 {
		t.Fatalf("not stopped:\n%s", book)
	}
	if strings.Contains(book.String(), "ERROR") {
		t.Errorf("complains:\n%s", book)
	}
}

// What does not end by SIGTERM is killed at the end of all, with what it has started.
func TestClientsKilled(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pid")
	c, book, stopped := newClients(t, "/bin/sh -c 'trap \"\" TERM; sleep 63 & echo $! >"+file+".new; mv "+file+".new "+file+"; wait; wait'")
	c.start(time.Now())
	var child int
	if !pump(c, func() bool {
		text, _ := os.ReadFile(file)
		child, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		return child > 0
	}) {
		t.Fatalf("does not start:\n%s", book)
	}
	c.stop()
	if *stopped {
		t.Fatal("does not wait")
	}
	c.kill()
	c.wg.Wait()
	if !pump(c, func() bool { return ended(child) }) {
		t.Error("the client's child lives on")
	}
}

func TestClientThatWantsToStayDown(t *testing.T) {
	c, book, stopped := newClients(t, "/bin/sh -c 'exit 100'")
	c.start(time.Now())
	if !pump(c, func() bool { return c.list[0].dead }) {
		t.Fatalf("not noticed:\n%s", book)
	}
	if strings.Contains(book.String(), "Respawning") {
		t.Errorf("respawned:\n%s", book)
	}
	c.stop()
	if !*stopped {
		t.Error("waits for a client that is down")
	}
}

// A client that dies at once is started again, and given up after eleven fast deaths.
func TestRespawnTooFast(t *testing.T) {
	c, book, _ := newClients(t, "/bin/false")
	cl := c.list[0]
	now := time.Unix(0, 0)
	state := func() *os.ProcessState {
		cmd := exec.Command("/bin/false")
		_ = cmd.Run() // exit status 1 is what is wanted
		return cmd.ProcessState
	}()
	for i := 1; i <= maxFast+1; i++ {
		cl.pid, cl.started = 1, now
		c.died(now.Add(time.Second), cl, state, nil)
		if i <= maxFast && cl.dead {
			t.Fatalf("given up after %d fast deaths", i)
		}
	}
	if !cl.dead || !strings.Contains(book.String(), `Client /bin/false "respawning too fast"`) {
		t.Errorf("not given up:\n%s", book)
	}
	if n := strings.Count(book.String(), `Respawning client "/bin/false":`); n != maxFast {
		t.Errorf("respawned %d times, want %d", n, maxFast)
	}
}

// A client runs as its user and the user's groups, leads a process group, and has its 0, 1 and 2 on the
// null device and nothing else open.
func TestClientsWorld(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to become another user")
	}
	leak, err := os.Open("/dev/zero")
	if err != nil {
		t.Fatal(err)
	}
	defer leak.Close()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "world")
	closed := t.TempDir() // the daemon is where its client may not go
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(closed)
	c, book, _ := newClients(t, "/bin/sh -c '{ id -un; id -gn; echo $HA_CURHOST $HA_debug; ls -l /proc/$$/fd | grep -c zero; readlink /proc/$$/fd/0; ps -o pgid= -p $$; echo $$; } > "+out+"; exit 100'")
	c.env = []string{"HA_CURHOST=paul", "HA_debug=0"}
	c.list[0].User = "nobody"
	c.start(time.Now())
	if !pump(c, func() bool { return c.list[0].dead }) {
		t.Fatalf("not ended:\n%s", book)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(text))
	if len(f) != 8 || f[0] != "nobody" || f[1] != "nogroup" || f[2] != "paul" || f[3] != "3" || f[4] != "0" || f[5] != "/dev/null" || f[6] != f[7] {
		t.Errorf("%q", f)
	}
	if want := fmt.Sprintf("[%s]: info: Starting %q as uid 65534  gid 65534 (pid %s)", f[7], c.list[0].Command, f[7]); !strings.Contains(book.String(), want) {
		t.Errorf("no %q in\n%s", want, book)
	}
}

func TestClientThatCannotRun(t *testing.T) {
	c, book, _ := newClients(t, "/no/such/program -x", "/etc/passwd")
	c.start(time.Now())
	for _, want := range []string{
		"ERROR: Cannot exec /no/such/program -x: No such file or directory", "ERROR: Cannot exec /etc/passwd: Permission denied",
	} {
		if !strings.Contains(book.String(), want) {
			t.Errorf("no %q in\n%s", want, book)
		}
	}
	if !c.list[0].dead || !c.list[1].dead {
		t.Error("they will be tried again")
	}
}

// The machine is rebooted when a failfast client dies, and not when it ends well, or when it is stopped.
func TestFailfast(t *testing.T) {
	for command, want := range map[string]bool{
		"/bin/sh -c 'exit 3'": true, "/bin/sh -c 'kill -9 $$'": true, "/bin/sh -c 'exit 0'": false,
	} {
		c, book, _ := newClients(t, command)
		rebooted := false
		c.reboot = func() { rebooted = true }
		c.list[0].Failfast = true
		c.start(time.Now())
		if !pump(c, func() bool { return strings.Contains(book.String(), "Respawning") }) {
			t.Fatalf("%s: not noticed:\n%s", command, book)
		}
		if rebooted != want || strings.Contains(book.String(), "EMERG: Rebooting system.  Reason: "+command) != want {
			t.Errorf("%s: rebooted %v\n%s", command, rebooted, book)
		}
		c.ending = true
	}
	c, book, stopped := newClients(t, "/bin/sleep 60")
	c.reboot = func() { t.Error("a stop reboots") }
	c.list[0].Failfast = true
	c.start(time.Now())
	c.stop()
	if !pump(c, func() bool { return *stopped }) {
		t.Fatalf("not stopped:\n%s", book)
	}
}

func TestDeathLines(t *testing.T) {
	c, book, _ := newClients(t, "/bin/sleep 60")
	c.start(time.Now())
	if err := unix.Kill(c.list[0].pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("WARN: Managed /bin/sleep 60 process %d killed by signal 9 [SIGKILL - Kill, unblockable].", c.list[0].pid)
	if !pump(c, func() bool { return strings.Contains(book.String(), want) }) {
		t.Errorf("no %q in\n%s", want, book)
	}
	c.stop()
}
