package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/halog"
)

// TestDevice runs a stand-in for cluster-glue's stonith that writes down its arguments.
func TestDevice(t *testing.T) {
	dir := t.TempDir()
	logFile := filepath.Join(dir, "ha-log")
	log := halog.New(halog.Config{Node: "alpha", Entity: "heartbeat", LogFile: logFile})
	for _, tt := range []struct {
		name, script string
		conf         hacf.Stonith
		do           cluster.Stonith
		args         string
		want         cluster.StonithResult
		logged       string
	}{
		{"reset", "exit 0", hacf.Stonith{Type: "null", Params: "a b"}, cluster.Stonith{ID: 1, Node: "bravo"}, "-t null -p a b -T reset bravo", cluster.StonithOK, ""},
		{"status", "exit 0", hacf.Stonith{Type: "external/x", Config: "/etc/x"}, cluster.Stonith{ID: 2}, "-t external/x -F /etc/x -S", cluster.StonithOK, ""},
		{"not its host", "exit 4", hacf.Stonith{Type: "null"}, cluster.Stonith{ID: 3, Node: "bravo"}, "-t null -p  -T reset bravo", cluster.StonithBadHost, ""},
		{"failure", "echo power switch: no answer; exit 5", hacf.Stonith{Type: "null"}, cluster.Stonith{ID: 4, Node: "bravo"}, "-t null -p  -T reset bravo", cluster.StonithFailed, "stonith: power switch: no answer"},
		{"killed", "kill -9 $$", hacf.Stonith{Type: "null"}, cluster.Stonith{ID: 5, Node: "bravo"}, "-t null -p  -T reset bravo", cluster.StonithFailed, ""},
		{"leaks", "sleep 3 & exit 0", hacf.Stonith{Type: "null"}, cluster.Stonith{ID: 6, Node: "bravo"}, "-t null -p  -T reset bravo", cluster.StonithOK, ""},
		{"missing", "", hacf.Stonith{Type: "null"}, cluster.Stonith{ID: 7, Node: "bravo"}, "", cluster.StonithFailed, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			command, said := filepath.Join(t.TempDir(), "stonith"), filepath.Join(t.TempDir(), "args")
			if tt.script != "" {
				if err := os.WriteFile(command, []byte("#!/bin/sh\necho \"$*\" > "+said+"\n"+tt.script+"\n"), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			answer := make(chan cluster.StonithDone, 1)
			d := &device{conf: &tt.conf, command: command, ctx: t.Context(), done: func(d cluster.StonithDone) { answer <- d }}
			d.operate(tt.do, log.Logger("heartbeat", 1))
			d.wait()
			got := <-answer
			args, _ := os.ReadFile(said) // empty where the command did not run
			if got.ID != tt.do.ID || got.Result != tt.want || strings.TrimSpace(string(args)) != tt.args || tt.script != "" && got.PID == 0 {
				t.Errorf("%+v, called with %q", got, args)
			}
			log.Flush(time.Second)
			text, err := os.ReadFile(logFile)
			if err != nil && tt.logged != "" {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), tt.logged) {
				t.Errorf("logged %s", text)
			}
		})
	}
}

// TestDeviceEnds: what is under way when the daemon ends is killed, with all that it has started, and tells
// nothing.
func TestDeviceEnds(t *testing.T) {
	command, pids := filepath.Join(t.TempDir(), "stonith"), filepath.Join(t.TempDir(), "pids")
	if err := errors.Join(unix.Mkfifo(pids, 0o600), os.WriteFile(command, []byte("#!/bin/sh\nsleep 1000 &\necho $! >"+pids+"\nwait\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	log := halog.New(halog.Config{Node: "alpha", Entity: "heartbeat", LogFile: filepath.Join(t.TempDir(), "ha-log")})
	ctx, cancel := context.WithCancel(t.Context())
	d := &device{conf: &hacf.Stonith{Type: "null"}, command: command, ctx: ctx, done: func(d cluster.StonithDone) { t.Errorf("%+v", d) }}
	d.operate(cluster.Stonith{ID: 1, Node: "bravo"}, log.Logger("heartbeat", 1))
	text, err := os.ReadFile(pids) // waits for it
	pid, perr := strconv.Atoi(strings.TrimSpace(string(text)))
	cancel()
	d.wait()
	if err = errors.Join(err, perr); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); !ended(pid); time.Sleep(time.Millisecond) { // it is nobody's child now
		if time.Now().After(end) {
			_ = unix.Kill(pid, unix.SIGKILL)
			t.Fatal("what the device has started goes on")
		}
	}
}
