package halog

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// noon is a day with one digit, in which the originals' formats differ.
var noon = time.Date(2018, time.December, 5, 16, 2, 38, 0, time.Local)

func at(when time.Time) func() time.Time { return func() time.Time { return when } }

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

// writeOne writes one line of each kind.
func writeOne(l *Log) {
	g := l.Logger("heartbeat", 20886)
	g.Log(Info, "Heartbeat shutdown in progress. (20886)")
	g.Logf(Warn, "node %s: is dead", "ha-slave")
	g.Log(Debug, "StartNextRemoteRscReq(): child count 1")
	l.Script("ResourceManager(default)[21467]", "info: Running /etc/init.d/ipvsadm  stop")
	l.Script("IPaddr(IPaddr_172.16.60.111)[21563]", "INFO: IP status = ok, IP_CIP=")
	l.Script("harc(default)[1]", "debug: not to be seen")
	l.Print("INFO:  Success\n")
}

func TestFiles(t *testing.T) {
	for name, c := range map[string]struct {
		cfg        Config
		log, debug string
	}{
		"centos6": {
			log: `Dec 05 16:02:38 ha-master heartbeat: [20886]: info: Heartbeat shutdown in progress. (20886)
Dec 05 16:02:38 ha-master heartbeat: [20886]: WARN: node ha-slave: is dead
ResourceManager(default)[21467]:	2018/12/05_16:02:38 info: Running /etc/init.d/ipvsadm  stop
IPaddr(IPaddr_172.16.60.111)[21563]:	2018/12/05_16:02:38 INFO: IP status = ok, IP_CIP=
`,
			debug: `Dec 05 16:02:38 ha-master heartbeat: [20886]: info: Heartbeat shutdown in progress. (20886)
Dec 05 16:02:38 ha-master heartbeat: [20886]: WARN: node ha-slave: is dead
Dec 05 16:02:38 ha-master heartbeat: [20886]: debug: StartNextRemoteRscReq(): child count 1
ResourceManager(default)[21467]:	2018/12/05_16:02:38 info: Running /etc/init.d/ipvsadm  stop
IPaddr(IPaddr_172.16.60.111)[21563]:	2018/12/05_16:02:38 INFO: IP status = ok, IP_CIP=
INFO:  Success
`,
		},
		"debian12": {
			cfg: Config{Dialect: D12, DebugLevel: 1},
			log: `Dec 05 16:02:38 ha-master heartbeat: [20886]: info: Heartbeat shutdown in progress. (20886)
Dec 05 16:02:38 ha-master heartbeat: [20886]: WARN: node ha-slave: is dead
2018/12/05_16:02:38  ResourceManager(default)[21467]:    info: Running /etc/init.d/ipvsadm  stop
2018/12/05_16:02:38  IPaddr(IPaddr_172.16.60.111)[21563]:    INFO: IP status = ok, IP_CIP=
`,
			debug: `Dec 05 16:02:38 ha-master heartbeat: [20886]: info: Heartbeat shutdown in progress. (20886)
Dec 05 16:02:38 ha-master heartbeat: [20886]: WARN: node ha-slave: is dead
Dec 05 16:02:38 ha-master heartbeat: [20886]: debug: StartNextRemoteRscReq(): child count 1
ResourceManager(default)[21467]:	2018/12/05_16:02:38 info: Running /etc/init.d/ipvsadm  stop
IPaddr(IPaddr_172.16.60.111)[21563]:	2018/12/05_16:02:38 INFO: IP status = ok, IP_CIP=
harc(default)[1]:	2018/12/05_16:02:38 debug: not to be seen
INFO:  Success
`,
		},
		"syslogmsgfmt false": {
			cfg: Config{PlainFormat: true, DebugFile: os.DevNull},
			log: `heartbeat[20886]: 2018/12/05_16:02:38 info: Heartbeat shutdown in progress. (20886)
heartbeat[20886]: 2018/12/05_16:02:38 WARN: node ha-slave: is dead
ResourceManager(default)[21467]:	2018/12/05_16:02:38 info: Running /etc/init.d/ipvsadm  stop
IPaddr(IPaddr_172.16.60.111)[21563]:	2018/12/05_16:02:38 INFO: IP status = ok, IP_CIP=
`,
		},
		"own form": {
			cfg: Config{DebugFile: os.DevNull, Format: func(dst []byte, r Record) []byte {
				return fmt.Appendf(dst, "[%s|cf|%d] %s\n", r.Time.Format("Mon Jan _2 15:04:05 2006"), r.PID, r.Text)
			}},
			log: `[Wed Dec  5 16:02:38 2018|cf|20886] Heartbeat shutdown in progress. (20886)
[Wed Dec  5 16:02:38 2018|cf|20886] node ha-slave: is dead
[Wed Dec  5 16:02:38 2018|cf|0] info: Running /etc/init.d/ipvsadm  stop
[Wed Dec  5 16:02:38 2018|cf|0] INFO: IP status = ok, IP_CIP=
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			cfg := c.cfg
			cfg.Node, cfg.Now, cfg.LogFile = "ha-master", at(noon), filepath.Join(dir, "ha-log")
			if cfg.DebugFile == "" {
				cfg.DebugFile = filepath.Join(dir, "ha-debug")
			}
			l := New(cfg)
			writeOne(l)
			l.Close()
			if got := read(t, cfg.LogFile); got != c.log {
				t.Errorf("log file:\n%swant:\n%s", got, c.log)
			}
			if cfg.DebugFile != os.DevNull {
				if got := read(t, cfg.DebugFile); got != c.debug {
					t.Errorf("debug file:\n%swant:\n%s", got, c.debug)
				}
			}
		})
	}
}

// TestSameFile wants each line once if both files are one.
func TestSameFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := New(Config{LogFile: path, DebugFile: path, Now: at(noon)})
	defer l.Close()
	writeOne(l)
	if got := strings.Count(read(t, path), "\n"); got != 6 {
		t.Errorf("%d lines", got)
	}
}

func TestStderr(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"daemon": {
			Config{Node: "n", LogFile: filepath.Join(dir, "a")},
			"Dec 05 16:02:38 n heartbeat: [7]: ERROR: bad\n",
		},
		"terminal": {
			Config{Node: "n", LogFile: filepath.Join(dir, "b"), Terminal: true},
			"Dec 05 16:02:38 n heartbeat: [7]: ERROR: bad\nINFO:  Resource is stopped\n",
		},
		"nowhere else": {
			Config{Node: "n"},
			"Dec 05 16:02:38 n heartbeat: [7]: ERROR: bad\n2018/12/05_16:02:38 INFO:  Resource is stopped\n",
		},
		"nowhere else, debian12": {
			Config{Node: "n", Dialect: D12},
			"Dec 05 16:02:38 n heartbeat: [7]: ERROR: bad\nDec 05 16:02:38 INFO:  Resource is stopped\n",
		},
	} {
		var out bytes.Buffer
		c.cfg.Stderr, c.cfg.Now = &out, at(noon)
		l := New(c.cfg)
		l.Logger("heartbeat", 7).Log(Error, "bad")
		l.Script("IPaddr(x)[1]", "INFO:  Resource is stopped")
		l.SetStderr(nil)
		l.Logger("heartbeat", 7).Log(Error, "worse")
		l.Close()
		if out.String() != c.want {
			t.Errorf("%s: %q, want %q", name, out.String(), c.want)
		}
		if file := read(t, c.cfg.LogFile); c.cfg.LogFile != "" && strings.Contains(file, "INFO") == c.cfg.Terminal {
			t.Errorf("%s: log file %q", name, file)
		}
	}
}

func TestSyslog(t *testing.T) {
	address := filepath.Join(t.TempDir(), "dev-log")
	listen := func() *net.UnixConn {
		t.Helper()
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	receive := func(c *net.UnixConn) string {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 8192)
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	local0, ok := ParseFacility("local0")
	if !ok {
		t.Fatal("no facility local0")
	}
	l := New(Config{Facility: local0, SyslogAddress: address, Now: at(noon)})
	defer l.Close()
	l.Logger("heartbeat", 1).Log(Info, "nobody listens")
	c := listen()
	for _, m := range []struct{ want, script string }{
		{"<132>Dec  5 16:02:38 heartbeat: [740]: WARN: node x: is dead\x00", ""},
		{"<133>Dec  5 16:02:38 t(default)[1]: info: Running", "info: Running"},
		{"<134>Dec  5 16:02:38 t(default)[1]: INFO:  Success", "INFO:  Success"},
		{"<134>Dec  5 16:02:38 t(default)[1]: info", "info"},
		{"<131>Dec  5 16:02:38 t(default)[1]: ERROR: WARN INFO", "ERROR: WARN INFO"},
		{"<132>Dec  5 16:02:38 t(default)[1]: WARNING: INFO", "WARNING: INFO"},
		{"<133>Dec  5 16:02:38 t(default)[1]: CRIT: Giving up", "CRIT: Giving up"},
		{"<133>Dec  5 16:02:38 t(default)[1]: Going standby [all].", "Going standby [all]."},
	} {
		if m.script == "" {
			l.Logger("heartbeat", 740).Log(Warn, "node x: is dead")
		} else {
			l.Script(Tag("t", "default", 1), m.script)
		}
		if got := receive(c); got != m.want {
			t.Errorf("%q, want %q", got, m.want)
		}
	}
	l.Print("what a script prints does not go to syslog")
	// The daemon is restarted.
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(address); err != nil {
		t.Fatal(err)
	}
	c = listen()
	defer c.Close()
	l.Logger("heartbeat", 1).Log(Crit, "after the restart")
	if got := receive(c); !strings.HasPrefix(got, "<130>") || !strings.Contains(got, "after the restart") {
		t.Error(got)
	}
	// It stops reading: nobody may wait for it long.
	begin := time.Now()
	for range 300 {
		l.Logger("heartbeat", 1).Log(Info, strings.Repeat("x", 4000))
	}
	if took := time.Since(begin); took > 4*time.Second { // once 100 ms, if it does not wait for each
		t.Errorf("300 lines took %v", took)
	}
}

// TestRotation wants the original's line as the first of a new file, and the new file's owner.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ha-log")
	now := noon
	l := New(Config{Node: "n", Entity: "heartbeat", LogFile: path, Now: func() time.Time { return now }})
	defer l.Close()
	g := l.Logger("heartbeat", 7)
	g.Log(Info, "one")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	g.Log(Info, "two") // not looked at again so soon
	now = now.Add(2 * time.Second)
	g.Log(Info, "three")
	if got := read(t, path+".1"); !strings.HasSuffix(got, ": one\nDec 05 16:02:38 n heartbeat: [7]: info: two\n") {
		t.Error(got)
	}
	want := fmt.Sprintf("Dec 05 16:02:40 n heartbeat: [%d]: info: log-rotate detected on logfile %s\nDec 05 16:02:40 n heartbeat: [7]: info: three\n", os.Getpid(), path)
	if got := read(t, path); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	// Removed, and reopened on demand.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l.Reopen()
	g.Log(Info, "four")
	if got := read(t, path); !strings.HasSuffix(got, "info: four\n") || strings.Count(got, "\n") != 1 {
		t.Error(got)
	}
	// The clock goes back.
	now = noon.Add(-time.Hour)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	g.Log(Info, "five")
	if got := read(t, path); !strings.HasSuffix(got, "info: five\n") {
		t.Error(got)
	}
}

// TestNoFile wants lines that cannot be written to be lost and syslogd to be told, once a minute.
func TestNoFile(t *testing.T) {
	dir := t.TempDir()
	address := filepath.Join(dir, "dev-log")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	path := filepath.Join(dir, "sub", "ha-log")
	l := New(Config{LogFile: path, SyslogAddress: address, Now: at(noon)})
	defer l.Close()
	for range 3 {
		l.Logger("heartbeat", 7).Log(Info, "lost")
	}
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	l.Logger("heartbeat", 7).Log(Info, "found")
	if got := read(t, path); !strings.HasSuffix(got, "info: found\n") || strings.Contains(got, "lost") {
		t.Error(got)
	}
	b := make([]byte, 500)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("<3>Dec  5 16:02:38 heartbeat: [%d]: ERROR: Failed to open log file %s: no such file or directory\x00", os.Getpid(), path)
	if got := string(b[:n]); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if err := c.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(b); err == nil {
		t.Errorf("told again: %s", b[:n])
	}
}

// TestStuck logs to a pipe that nobody reads, with a writer: callers go on at once.
func TestStuck(t *testing.T) {
	dir := t.TempDir()
	pipe, path := filepath.Join(dir, "pipe"), filepath.Join(dir, "ha-debug")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	l := New(Config{LogFile: pipe, DebugFile: path, Now: at(noon)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { l.Run(ctx); close(ended) }()
	for !l.isRunning() {
		time.Sleep(time.Millisecond)
	}
	begin := time.Now()
	g := l.Logger("heartbeat", 7)
	const lines = queueLimit / 2
	for i := range lines {
		g.Logf(Info, "%d %s", i, strings.Repeat("x", 100))
	}
	if took := time.Since(begin); took > 2*time.Second { // 200 ms for a single stuck write, if it waited
		t.Errorf("%d lines took their writer %v", lines, took)
	}
	cancel()
	<-ended
	if got := read(t, path); strings.Count(got, "\n") != lines || !strings.Contains(got, fmt.Sprintf(" %d xxx", lines-1)) {
		t.Errorf("the other file has %d lines of %d", strings.Count(got, "\n"), lines)
	}
	g.Log(Info, "after the end")
	if got := read(t, path); !strings.HasSuffix(got, "after the end\n") {
		t.Error("a line after the end of Run is not written")
	}
	l.Close()
}

// TestOverflow wants lines beyond the queue's limit to be counted.
func TestOverflow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ha-log")
	l := New(Config{LogFile: path})
	l.writing.Lock() // a disk that does not answer
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { l.Run(ctx); close(ended) }()
	for !l.isRunning() {
		time.Sleep(time.Millisecond)
	}
	for range queueLimit + 5 {
		l.Logger("heartbeat", 7).Log(Info, "x")
	}
	l.Flush(time.Millisecond) // in vain
	l.writing.Unlock()
	cancel()
	<-ended
	l.Close()
	if got := read(t, path); strings.Count(got, "\n") != queueLimit+1 || !strings.Contains(got, "WARN: cl_log: 5 messages were dropped") {
		t.Errorf("%d lines, the last: %s", strings.Count(got, "\n"), got[strings.LastIndex(got[:len(got)-1], "\n")+1:])
	}
}

// TestOrder wants the lines of a goroutine in order, also around the begin and the end of Run.
func TestOrder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ha-log")
	l := New(Config{LogFile: path})
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for w := range 3 {
		wg.Go(func() {
			g := l.Logger("w", w)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					g.Logf(Info, "%d", i)
					time.Sleep(20 * time.Microsecond)
				}
			}
		})
	}
	for range 5 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { l.Run(ctx); close(ended) }()
		time.Sleep(2 * time.Millisecond)
		l.Flush(time.Second)
		cancel()
		<-ended
	}
	close(stop)
	wg.Wait()
	l.Close()
	next := map[int]int{}
	for line := range strings.Lines(read(t, path)) {
		if strings.Contains(line, "dropped") {
			continue
		}
		var w, i int
		if _, err := fmt.Sscanf(line[strings.Index(line, "["):], "[%d]: info: %d", &w, &i); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if i < next[w] {
			t.Fatalf("writer %d: %d after %d", w, i, next[w]-1)
		}
		next[w] = i + 1
	}
	if len(next) != 3 {
		t.Errorf("lines of %d writers", len(next))
	}
}

// TestForgery wants one line for one text, whatever is in it, of bounded length.
func TestForgery(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ha-log")
	l := New(Config{Node: "n", LogFile: path, Now: at(noon)})
	defer l.Close()
	l.Logger("heartbeat", 7).Log(Info, "a\nDec 05 16:02:38 n heartbeat: [7]: info: forged\x00\n")
	l.Script("x(default)[1]", strings.Repeat("y", 10000))
	lines := strings.Split(read(t, path), "\n")
	if len(lines) != 3 || !strings.HasSuffix(lines[0], "info: a Dec 05 16:02:38 n heartbeat: [7]: info: forged") || strings.Count(lines[1], "y") != maxText {
		t.Errorf("%.200q", lines)
	}
}

func TestOpenDebug(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ha-debug")
	l := New(Config{DebugFile: path, Now: at(noon)})
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { l.Run(ctx); close(ended) }()
	l.Script("ResourceManager(default)[1]", "info: Running x  start")
	f, err := l.OpenDebug()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("said by x\n"); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-ended
	if got := read(t, path); got != "ResourceManager(default)[1]:\t2018/12/05_16:02:38 info: Running x  start\nsaid by x\n" {
		t.Error(got)
	}
	f, err = New(Config{}).OpenDebug()
	if err != nil || f.Name() != os.DevNull {
		t.Errorf("without a debug file: %v, %v", f, err)
	}
	f.Close()
}

func TestNames(t *testing.T) {
	if got := fmt.Sprint(Emerg, Alert, Crit, Error, Warn, Notice, Info, Debug, Prio(9)); got != "EMERG ALERT CRIT ERROR WARN notice info debug (undef)" {
		t.Error(got)
	}
	for name, want := range map[string]Facility{"daemon": 24, "local7": 184, "none": 0, "kern": 0} {
		if f, ok := ParseFacility(name); !ok || f != want {
			t.Errorf("%s: %d, %v", name, f, ok)
		}
	}
	if _, ok := ParseFacility("zz"); ok {
		t.Error("zz is a facility")
	}
	for name, want := range map[string]Dialect{"centos6": C6, "debian12": D12} {
		if d, ok := ParseDialect(name); !ok || d != want || d.String() != name {
			t.Errorf("%s: %v, %v", name, d, ok)
		}
	}
	if _, ok := ParseDialect(""); ok {
		t.Error("no name is a dialect")
	}
	l := New(Config{})
	a, b := l.NextPID(), l.Logger("x", 1).Child().pid
	if a == b || a <= 0 || b <= 0 {
		t.Errorf("numbers %d, %d", a, b)
	}
}
