package ldirectord

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/check"
)

// web is a real HTTP server on a loopback address of its own.
type web struct {
	listener net.Listener
	server   *http.Server
	mode     atomic.Value // string: what it answers with
}

func newWeb(t *testing.T, address string) *web {
	t.Helper()
	w := &web{}
	w.mode.Store("good")
	w.listen(t, address)
	t.Cleanup(func() { w.server.Close() })
	return w
}

func (w *web) listen(t *testing.T, address string) {
	t.Helper()
	var err error
	if w.listener, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	w.server = &http.Server{Handler: w}
	go func() { _ = w.server.Serve(w.listener) }() // ends with Close
}

func (w *web) address() string { return w.listener.Addr().String() }

// ServeHTTP answers as the mode says.
func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	switch w.mode.Load() {
	case "good":
		_, _ = io.WriteString(rw, "all is ok here\n")
	case "wrong":
		_, _ = io.WriteString(rw, "Sorry\n")
	case "missing":
		http.NotFound(rw, r)
	case "hung":
		<-r.Context().Done()
	case "drip":
		for i := 0; r.Context().Err() == nil; i++ {
			_, _ = io.WriteString(rw, "x")
			rw.(http.Flusher).Flush()
			time.Sleep(200 * time.Millisecond)
		}
	case "flood":
		rw.Header().Set("Content-Length", fmt.Sprint(1<<30))
		block := make([]byte, 1<<16)
		for range 1 << 14 {
			if _, err := rw.Write(block); err != nil {
				return
			}
		}
	}
}

// TestLoopback has real web servers, the real checkers, and a model of the table: servers that
// fail in every way at once leave within checkinterval and timeout, and return within
// checkinterval.
func TestLoopback(t *testing.T) {
	b := newBench(t, "")
	modes := []string{"wrong", "missing", "hung", "drip", "flood", "refused", "good"}
	var webs []*web
	config := "checkinterval=1\nchecktimeout=1\nfallback=127.0.0.1:80\n"
	var all []string
	for i := range modes {
		w := newWeb(t, fmt.Sprintf("127.0.7.%d:0", i+1))
		webs = append(webs, w)
		all = append(all, w.address())
		config += fmt.Sprintf("virtual=10.0.0.%d:80\n    real=%s masq\n    service=http\n    request=\"/.test.html\"\n    receive=\"\\bok\\b\"\n", i+1, w.address())
	}
	script := filepath.Join(b.dir, "external")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$@\" > "+b.dir+"/args.new && mv "+b.dir+"/args.new "+b.dir+"/args\nexec test -e "+b.dir+"/up\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	config += "virtual=10.0.0.20:80\n    real=127.0.0.1:81 masq\n    checktype=external\n    checkcommand=\"" + script + "\"\n"
	config += "virtual=10.0.0.21:80\n    real=" + all[len(all)-1] + " masq\n    checktype=connect\n"
	b.write(config + "# end\n")
	b.change = func(o *Options) {
		o.Checker = func(service string) check.Checker {
			c, known := check.For(service)
			if !known {
				t.Errorf("no checker for %s", service)
			}
			return c
		}
	}
	b.start()
	service := func(i int, dest string) string { return fmt.Sprintf("tcp:10.0.0.%d:80 %s*1", i+1, dest) }
	others := " tcp:10.0.0.20:80 127.0.0.1:80*1 tcp:10.0.0.21:80 " + all[len(all)-1] + "*1"
	want := func(limit time.Duration, dest func(i int) string, others string) {
		t.Helper()
		var parts []string
		for i := range modes {
			parts = append(parts, service(i, dest(i)))
		}
		target := strings.Join(parts, " ") + others
		for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
			if got := b.rules(); got == target {
				return
			} else if time.Since(begin) > limit {
				t.Fatalf("after %v the table is\n%s\nwant\n%s\nlog:\n%s", limit, got, target, b.out)
			}
		}
	}
	up := func(i int) string { return all[i] }
	const slack = 2 * time.Second // of a machine that has other things to do
	want(slack, up, others)

	for i, mode := range modes {
		if mode == "refused" {
			webs[i].server.Close()
		} else {
			webs[i].mode.Store(mode)
		}
	}
	if err := os.WriteFile(filepath.Join(b.dir, "up"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	othersUp := " tcp:10.0.0.20:80 127.0.0.1:81*1 tcp:10.0.0.21:80 " + all[len(all)-1] + "*1"
	want(2*time.Second+slack, func(i int) string {
		if modes[i] == "good" {
			return all[i]
		}
		return "127.0.0.1:80"
	}, othersUp)
	for i, reason := range []string{"not found in 6 bytes", "404 Not Found", "no answer in time", "not found", "not found", "refused"} {
		begins := fmt.Sprintf("Check of real server %s (tcp:10.0.0.%d:80) failed: ", all[i], i+1)
		if !slices.ContainsFunc(b.lines(), func(l string) bool { return strings.HasPrefix(l, begins) && strings.Contains(l, reason) }) {
			t.Errorf("%s: no line says %s...%s:\n%s", modes[i], begins, reason, b.out)
		}
	}

	for i, mode := range modes {
		webs[i].mode.Store("good")
		if mode == "refused" {
			webs[i].listen(t, all[i])
		}
	}
	want(2*time.Second+slack, up, othersUp)
	if args, err := os.ReadFile(filepath.Join(b.dir, "args")); err != nil || string(args) != "10.0.0.20 80 127.0.0.1 81\n" {
		t.Errorf("external was called with %q, %v", args, err)
	}
	b.stop()
	b.expect("")
}
