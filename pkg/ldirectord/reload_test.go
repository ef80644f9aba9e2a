package ldirectord

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/ipvs"
)

const oneReal = `checkinterval=1
autoreload=yes
virtual=10.0.0.1:80
    real=10.0.0.2:80 gate 3
    service=http
`

func TestAutoreload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, oneReal)
		b.farm.set(up, "10.0.0.2:80", "10.0.0.3:80")
		b.start()
		time.Sleep(3 * time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3")

		b.write(oneReal) // touched only
		time.Sleep(3 * time.Second)
		if n := b.logged("has changed on disk"); n != 0 {
			t.Errorf("a touched file has changed %d times", n)
		}

		// An editor at work: the file is empty for a moment.
		if err := os.Truncate(b.in.Path, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(watchInterval / 2)
		b.write(oneReal + "    checktimeout=never\n")
		time.Sleep(3 * time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3")
		for _, want := range []string{
			"Configuration file '" + b.in.Config + "' has changed on disk",
			" - reread new configuration",
			"reading file " + b.in.Config + " at line 7: invalid check timeout",
			"what was in force stays in force",
		} {
			if b.logged(want) != 1 {
				t.Errorf("log has not one line with %q:\n%s", want, b.out)
			}
		}

		b.write(strings.Replace(oneReal, "gate 3", "gate 4", 1) + "    real=10.0.0.3:80 gate\n")
		time.Sleep(3 * time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*4 10.0.0.3:80*1")

		// An editor or a copy that failed: no services are no change, unless somebody asks for it.
		b.write("# nothing yet\n")
		time.Sleep(3 * time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*4 10.0.0.3:80*1")
		if b.logged(b.in.Config+" has no virtual services any more: only taken with \"reload\"") != 1 {
			t.Errorf("log:\n%s", b.out)
		}
		b.server.Reload(t.Context())
		time.Sleep(time.Second)
		b.expect("")

		// Without autoreload a change is only told, until somebody asks.
		quiet := strings.Replace(oneReal, "autoreload=yes\n", "", 1)
		b.write(quiet)
		b.server.Reload(t.Context())
		time.Sleep(3 * time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3")
		b.write(quiet + "    real=10.0.0.3:80 gate\n")
		time.Sleep(3 * time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3")
		if b.logged(" - ignore new configuration") != 1 {
			t.Errorf("log:\n%s", b.out)
		}
		b.server.Reload(t.Context())
		time.Sleep(time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3 10.0.0.3:80*1")
		if b.logged("Reloading Linux Director Daemon config on signal") != 3 {
			t.Errorf("log:\n%s", b.out)
		}
		b.stop()
	})
}

func TestFileGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, oneReal)
		b.farm.set(up, "10.0.0.2:80")
		b.start()
		time.Sleep(time.Second)
		if err := os.Rename(b.in.Path, b.in.Path+".away"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if n := b.logged("can not open file " + b.in.Config + " for checking"); n != 1 {
			t.Errorf("told %d times", n)
		}
		b.server.Reload(t.Context())
		time.Sleep(time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3")
		if n := b.logged("can not open file " + b.in.Config); n != 2 {
			t.Errorf("log:\n%s", b.out)
		}
		b.write(strings.Replace(oneReal, "gate 3", "gate 9", 1))
		time.Sleep(3 * time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*9")
		b.stop()
	})
}

// TestCallback runs a program after changes on disk, whether they are taken or not.
func TestCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "")
		seen := filepath.Join(b.dir, "seen")
		program := filepath.Join(b.dir, "callback")
		if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$1\" >> "+seen+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		config := "callback=\"" + program + "\"\n" + oneReal
		b.write(config)
		b.start()
		for i, change := range []string{"    real=10.0.0.3:80 gate\n", "    nonsense\n", "# comment\n"} {
			time.Sleep(time.Second)
			b.write(config + change)
			time.Sleep(3 * time.Second)
			if text, _ := os.ReadFile(seen); string(text) != strings.Repeat(b.in.Config+"\n", i+1) {
				t.Errorf("after change %d the callback has written %q; log:\n%s", i+1, text, b.out)
			}
		}
		b.stop()
	})
}

// countingTable counts what is written.
type countingTable struct {
	ipvs.Table
	writes *atomic.Int64
}

func (c countingTable) Do(ctx context.Context, op ipvs.Op) error {
	c.writes.Add(1)
	return c.Table.Do(ctx, op)
}

// TestReloadOfManyWritesNothing reads a file of a thousand services again that has not changed.
func TestReloadOfManyWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var config strings.Builder
		config.WriteString("checkinterval=5\nquiescent=yes\nfallback=127.0.0.1:80\n")
		b := newBench(t, "")
		for i := range 1000 {
			fmt.Fprintf(&config, "virtual=10.1.%d.%d:80\n\tservice=http\n\tpersistent=60\n\tnetmask=255.255.255.0\n", i/250, i%250)
			for j := range 3 {
				name := fmt.Sprintf("10.2.%d.%d:80", j, i%250)
				fmt.Fprintf(&config, "\treal=%s masq %d l:1 u:%d\n", name, 1+i%7, 10+i/250)
				if i%5 != 0 { // 50 servers are down, in all of their services
					b.farm.set(up, name)
				}
			}
		}
		b.write(config.String())
		var writes atomic.Int64
		b.change = func(o *Options) {
			o.OpenTable = func() (ipvs.Table, error) { return countingTable{unclosed{b.table}, &writes}, nil }
		}
		b.start()
		time.Sleep(20 * time.Second)
		if n := writes.Swap(0); n < 4000 {
			t.Errorf("only %d operations at the start", n)
		}
		b.server.Reload(t.Context())
		time.Sleep(20 * time.Second)
		if n := writes.Load(); n != 0 {
			t.Errorf("%d operations at a reload of the same file", n)
		}
		if n := b.logged("Changed virtual server: "); n != 1000 {
			t.Errorf("%d services were read again", n)
		}
		b.stop()
	})
}

// TestStampBeforeReading has a file change while it is read: its stamp must not be that of the change.
func TestStampBeforeReading(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	type answer struct {
		text  []byte
		stamp stamp
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		text, s, err := readStamped(path)
		answers <- answer{text, s, err}
	}()
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	fmt.Fprint(w, "old")
	for { // until it is being read
		if n, err := unix.IoctlGetInt(int(w.Fd()), unix.TIOCINQ); err != nil {
			t.Fatal(err)
		} else if n == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	fmt.Fprint(w, ", new")
	changed := time.Now().Add(time.Hour)
	if err := os.Chtimes(path, changed, changed); err != nil {
		t.Fatal(err)
	}
	w.Close()
	a := <-answers
	if a.err != nil || string(a.text) != "old, new" || a.stamp.mtime == changed.UnixNano() {
		t.Errorf("%q %+v %v", a.text, a.stamp, a.err)
	}
}

// TestChangeWithinOneTick writes the file twice without its time showing it.
func TestChangeWithinOneTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "")
		mtime := time.Now()
		write := func(config string) {
			b.write(config)
			if err := os.Chtimes(b.in.Path, mtime, mtime); err != nil {
				t.Fatal(err)
			}
		}
		write(oneReal)
		b.farm.set(up, "10.0.0.2:80")
		b.start()
		write(strings.Replace(oneReal, "gate 3", "gate 4", 1))
		time.Sleep(5 * time.Second)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*4")
		b.stop()
	})
}
