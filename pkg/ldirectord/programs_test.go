package ldirectord

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/systole-ha/systole/pkg/check"
)

// TestFallbackCommand runs a real program, in order, with the original's arguments.
func TestFallbackCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "")
		seen := filepath.Join(b.dir, "seen")
		program := filepath.Join(b.dir, "fb")
		if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"$# $*\" >>"+seen+"\nexit 3\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		b.write("checkinterval=1\nfallbackcommand=" + program + " loud\n" +
			"virtual=10.0.0.1:80\n    real=10.0.0.2:80 gate\n    service=http\n" +
			"virtual6=[fd00::1]:53\n    real6=[fd00::2]:53 gate\n    fallbackcommand=\"" + program + "\"\n    checktype=ping\n" +
			"virtual=7\n    real=10.0.0.3:80 gate\n    checktype=connect\n# end\n")
		b.farm.set(up, "10.0.0.2:80", "[fd00::2]:53")
		b.start()
		time.Sleep(time.Second)
		b.farm.set(refused, "10.0.0.2:80")
		time.Sleep(time.Second)
		b.stop()
		text, _ := os.ReadFile(seen)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		slices.Sort(lines)
		want := []string{
			"3 start [fd00::1]:53 udp", "3 stop [fd00::1]:53 udp",
			"4 loud start 10.0.0.1:80 tcp", "4 loud start 10.0.0.1:80 tcp", "4 loud start :0 fwm", "4 loud stop 10.0.0.1:80 tcp",
		}
		if !slices.Equal(lines, want) {
			t.Errorf("runs:\n%s\nwant:\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
		}
		if n := b.logged("system(" + program + " loud stop 10.0.0.1:80 tcp) failed: exit status 3"); n != 1 {
			t.Errorf("log:\n%s", b.out)
		}
	})
}

// TestSlowProgramsDelayNobody: a fallbackcommand that hangs holds up its own kind only, and is
// killed with its children when the service ends.
func TestSlowProgramsDelayNobody(t *testing.T) {
	b := newBench(t, "")
	b.write("checkinterval=1\nvirtual=10.0.0.1:80\n    real=10.0.0.2:80 gate\n    service=http\n    fallbackcommand=\"sleep 1000; :\"\n# end\n")
	b.farm.set(up, "10.0.0.2:80")
	b.start()
	<-b.ready
	for begin := time.Now(); b.rules() != "tcp:10.0.0.1:80 10.0.0.2:80*1"; time.Sleep(time.Millisecond) {
		if time.Since(begin) > 5*time.Second {
			t.Fatalf("table %s", b.rules())
		}
	}
	b.cancel() // a stop would give the program its grace
	select {
	case <-b.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the service has not ended")
	}
}

// TestMonitorFile reads what real files get.
func TestMonitorFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "")
		file := filepath.Join(b.dir, "monitor")
		b.write("checkinterval=1\nvirtual=10.0.0.1:80\n    real=10.0.0.2:80 gate\n    service=http\n    monitorfile=\"" + file + "\"\n# end\n")
		b.farm.set(func(context.Context) check.Result {
			return check.Result{Reason: "no", Monitor: "404 Not\r\nFound|100%"}
		}, "10.0.0.2:80")
		b.start()
		time.Sleep(1500 * time.Millisecond)
		b.farm.set(up, "10.0.0.2:80")
		if err := os.Rename(file, file+".1"); err != nil { // logrotate
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		// The original's form; its date is ctime's.
		want := regexp.MustCompile(fmt.Sprintf(`^\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} 2[0-9]{3}\] \[%d\] negotiate http tcp 10\.0\.0\.2 80 1 gate /  \[up\] -\n$`, os.Getpid()))
		if text, _ := os.ReadFile(file); !want.Match(text) {
			t.Errorf("%q", text)
		}
		if text, _ := os.ReadFile(file + ".1"); strings.Count(string(text), "[down] 404 Not%0d%0aFound%7c100%25\n") != 2 {
			t.Errorf("%q", text)
		}
		// It cannot be written any more: told once.
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(file, 0o755); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if n := b.logged("Failed to write monitorfile: open " + file + ": is a directory"); n != 1 {
			t.Errorf("told %d times:\n%s", n, b.out)
		}
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*1")
		b.stop()
	})
}

// others records what is done with the configurations of execute.
type others struct {
	mu    sync.Mutex
	calls []string
	fails string
}

func (o *others) run(_ context.Context, name, action string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.calls = append(o.calls, name+" "+action)
	if o.fails == name+" "+action {
		return 1
	}
	return 0
}

func (o *others) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	calls := o.calls
	o.calls = nil
	return calls
}

func TestExecute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &others{fails: "b.cf reload"}
		b := newBench(t, "execute=a.cf\nexecute = b.cf\nexecute=a.cf\nexecute=ldirectord\n"+oneReal)
		b.change = func(c *Options) { c.Execute = o.run }
		b.farm.set(up, "10.0.0.2:80")
		expect := func(when string, want ...string) {
			t.Helper()
			got := o.take()
			slices.SortStableFunc(got, func(a, b string) int { return strings.Compare(a[:1], b[:1]) }) // one waits for no other
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
		}
		b.start()
		time.Sleep(time.Second)
		expect("start", "a.cf start", "b.cf start")
		if b.logged("execute=ldirectord: that is this instance itself: not run") != 1 {
			t.Errorf("log:\n%s", b.out)
		}
		b.write("execute=b.cf\nexecute=c.cf\n" + oneReal)
		b.server.Reload(t.Context())
		time.Sleep(time.Second)
		expect("reload", "a.cf stop", "b.cf reload", "b.cf start", "c.cf start")
		if b.logged("system(ldirectord b.cf reload) failed: exit status 1") != 1 {
			t.Errorf("log:\n%s", b.out)
		}
		b.write("execute=d.cf\nnonsense\n" + oneReal)
		b.server.Reload(t.Context())
		time.Sleep(time.Second)
		expect("broken reload")
		// A reload that was under way when the end came starts nothing again.
		late := Load(t.Context(), b.in, LoadOptions{})
		late.Err = nil
		b.server.call(t.Context(), func(l *loop) { l.stop("TERM"); l.read(late) })
		b.stop()
		expect("stop", "b.cf stop", "c.cf stop")
	})
}

// TestExecuteStops stops many at once, and those too that are still being started.
func TestExecuteStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &others{}
		b := newBench(t, "execute=a.cf\nexecute=b.cf\nexecute=c.cf\nexecute=hung.cf\n"+oneReal)
		b.change = func(c *Options) {
			c.Execute = func(ctx context.Context, name, action string) int {
				if name+" "+action == "hung.cf start" {
					<-ctx.Done()
					return 1
				}
				if action == "stop" {
					select {
					case <-time.After(4 * time.Second):
					case <-ctx.Done():
						return 1
					}
				}
				return o.run(ctx, name, action)
			}
		}
		b.start()
		time.Sleep(time.Second)
		o.take()
		begin := time.Now()
		b.stop()
		if took := time.Since(begin); took != programGrace+4*time.Second {
			t.Errorf("the stop took %v", took)
		}
		stops := o.take()
		slices.Sort(stops)
		if want := []string{"a.cf stop", "b.cf stop", "c.cf stop", "hung.cf stop"}; !slices.Equal(stops, want) {
			t.Errorf("%q, want %q", stops, want)
		}
	})
}

// TestExecuteStopHangs: an end waits for a stop, but not for ever.
func TestExecuteStopHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "execute=a.cf\n"+oneReal)
		b.change = func(c *Options) {
			c.Execute = func(ctx context.Context, _, action string) int {
				if action == "stop" {
					<-ctx.Done()
				}
				return 0
			}
		}
		b.start()
		time.Sleep(time.Second)
		begin := time.Now()
		b.stop()
		if took := time.Since(begin); took != stopGrace {
			t.Errorf("the stop took %v", took)
		}
	})
}
