package compat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/api/frame"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// badClients is how many connect at once.
const badClients = 1000

// TestBadClients has a thousand clients misbehave on the socket of a pair's node: they sign on and never read, send
// garbage, stop in the middle of a frame, promise megabytes, lie about who they are. Heartbeats stay on time, memory
// stays bounded, the others are served, nothing moves. (About 15 s.)
func TestBadClients(t *testing.T) {
	v := newVictimWith(t, "apiauth default uid=root\n")
	same := v.unchanged()
	before := v.memory()
	self, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = v.Master.WriteFile("/usr/bin/bad-clients", self, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	bad := v.Master.Command(t.Context(), "/usr/bin/bad-clients")
	bad.Env = append(bad.Env, misbehaveEnv+"=1")
	var out bytes.Buffer
	bad.Stdout, bad.Stderr = &out, &out
	if err := bad.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- bad.Wait() }()
	asked, slowest, most := 0, time.Duration(0), before
	for over := false; !over; asked++ {
		select {
		case err := <-done:
			if over = true; err != nil {
				t.Errorf("bad clients: %v", err)
			}
		default:
		}
		begun := time.Now()
		if out := v.run(v.Master, 0, "cl_status", "rscstatus"); strings.TrimSpace(out) != "local" {
			t.Errorf("cl_status rscstatus: %q", out)
		}
		slowest, most = max(slowest, time.Since(begun)), max(most, v.memory())
	}
	v.alive(3)
	t.Logf("%d clients; cl_status asked %d times meanwhile, the slowest took %v; %d KiB resident before, at most %d KiB", badClients, asked, slowest, before, most)
	if most > before+64<<10 {
		t.Errorf("the daemon has grown from %d to %d KiB", before, most)
	}
	for what, want := range map[string]int{"0 OK dropped <nil>": badClients / badKinds, "4 badreq incorrect/false credentials <nil>": badClients / badKinds} {
		if n := strings.Count(out.String(), what+"\n"); n != want {
			t.Errorf("%d clients say %q, want %d\n%.2000s", n, what, want, out.String())
		}
	}
	for _, d := range v.directors() {
		for line := range strings.Lines(d.Log()) {
			if strings.Contains(line, "ate heartbeat") {
				t.Errorf("%s: %s", d.Name(), line)
			}
		}
	}
	if n := strings.Count(v.Master.Log(), "\n"); n > 1000 {
		t.Errorf("ha-log has %d lines", n)
	}
	same("bad clients")
}

// memory is what a daemon's process has resident, in KiB.
func (v *victim) memory() int {
	v.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", v.pid(v.Master)))
	if err != nil {
		v.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); f[0] == "VmRSS:" {
			n, err := strconv.Atoi(f[1])
			if err != nil {
				v.Fatal(err)
			}
			return n
		}
	}
	v.Fatalf("no VmRSS in\n%s", text)
	return 0
}

// misbehaveEnv has a copy of this test's program be the bad clients, in the node: the daemon is told of no process
// that it could not see.
const misbehaveEnv = "SYSTOLE_TEST_BAD_CLIENTS"

// badKinds is how many ways there are to be a bad client.
const badKinds = 5

// misbehaveAll is the program. It prints a line for each client that was refused, and why.
func misbehaveAll() {
	var all sync.WaitGroup
	for i := range badClients {
		all.Go(func() {
			if said, err := misbehave(i); err != nil || said != "" {
				fmt.Printf("%d %s %v\n", i%badKinds, said, err)
			}
		})
	}
	all.Wait()
}

// misbehave is one bad client. It returns what the answer to its sign-on says.
func misbehave(i int) (said string, err error) {
	c, err := net.Dial("unix", "/run/heartbeat/register")
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	say := func(m *hamsg.Msg) error { _, err := c.Write(frame.Append(nil, m.AppendNetstring(nil))); return err }
	id := fmt.Sprintf("bad%d", i)
	request := func(kind string) *hamsg.Msg {
		return hamsg.New(hamsg.TAPIRequest).Add(hamsg.FReqType, kind).SetInt(hamsg.FPID, int64(os.Getpid())).Add(hamsg.FFromID, id)
	}
	signOn := func(uid string) string {
		err := say(request("signon").Add(hamsg.FUID, uid).Add(hamsg.FGID, "0"))
		for err == nil {
			var body []byte
			if body, err = frame.Read(c); err != nil {
				break
			}
			var m *hamsg.Packet
			if m, err = hamsg.Decode(body); err == nil && m.Type() == hamsg.TAPIResponse {
				return m.Get(hamsg.FResult) + " " + m.Get(hamsg.FComment)
			}
		}
		return err.Error()
	}
	switch i % badKinds {
	case 0: // never reads what it asks for
		said = signOn("0")
		for range 3000 {
			if say(request("nodelist")) != nil {
				return said + "dropped", nil
			}
		}
		return said + "not dropped", nil
	case 1: // garbage
		_, _ = c.Write([]byte(strings.Repeat("\xff\x00garbage>>>\n", 5000))) // it is dropped in the midst of it
	case 2: // unparsable frames
		for range 20 {
			_, _ = c.Write(frame.Append(nil, []byte("this is no message")))
		}
	case 3: // half a frame, of as many bytes as may be
		head := binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, frame.Max), 0xabcd)
		_, err = c.Write(append(head, make([]byte, 1000)...))
		time.Sleep(3 * time.Second)
		return "", err
	case 4: // another user
		return signOn("1000"), nil
	}
	_, _ = io.Copy(io.Discard, c) // until it is dropped
	return "", nil
}
