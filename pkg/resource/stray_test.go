package resource

import (
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/halog"
)

// What a killed daemon left running is released; where nothing runs nothing happens, not even in
// the log.
func TestDropGroup(t *testing.T) {
	b := newBench(t, "ha-master first second", halog.C6, Options{})
	state := "#!/bin/sh\ncase $1 in\nstatus) [ -e $RUN/${0##*/} ] && echo running || echo stopped ;;\nstart) : >$RUN/${0##*/} ;;\nstop) rm -f $RUN/${0##*/} ;;\nesac\n"
	b.program(t, "ha.d/resource.d/first", state)
	b.program(t, "ha.d/resource.d/second", state)
	drop := func() string {
		t.Helper()
		if d := b.Do(t.Context(), cluster.Call{Verb: cluster.DropGroup, Arg: "first"}); d.Code != 0 {
			t.Errorf("%+v", d)
		}
		return b.log(t)
	}
	if log := drop(); log != "" {
		t.Errorf("nothing runs, and the log says:\n%s", log)
	}
	b.program(t, "run/second", "")
	if log := drop(); log != "" || !b.Owned(t.Context(), "second") {
		t.Errorf("a member that may run here on purpose was touched:\n%s", log)
	}
	b.program(t, "run/first", "")
	log := drop()
	if !strings.Contains(log, "WARN: first is running here and should not be") || !strings.Contains(log, "second  stop") || !strings.Contains(log, "first  stop") {
		t.Errorf("log:\n%s", log)
	}
	if b.Owned(t.Context(), "first") || b.Owned(t.Context(), "second") {
		t.Error("still runs")
	}
}

// An address that is not the key runs nowhere on purpose.
func TestDropGroupAddress(t *testing.T) {
	b := newBench(t, "ha-master first IPaddr2::192.0.2.7", halog.C6, Options{})
	state := "#!/bin/sh\nfor last; do :; done\ncase $last in\nstatus) [ -e $RUN/${0##*/} ] && echo running || echo stopped ;;\nstop) rm -f $RUN/${0##*/} ;;\nesac\n"
	b.program(t, "ha.d/resource.d/first", state)
	b.program(t, "ha.d/resource.d/IPaddr2", state)
	b.program(t, "run/IPaddr2", "")
	b.Do(t.Context(), cluster.Call{Verb: cluster.DropGroup, Arg: "first"})
	if log := b.log(t); !strings.Contains(log, "WARN: IPaddr2::192.0.2.7 is running here and should not be") || !strings.Contains(log, "IPaddr2 192.0.2.7 stop") {
		t.Errorf("log:\n%s", log)
	}
}

// A group is asked for unless all of it runs: a killed daemon leaves the address behind, but not what
// ran in its own process.
func TestReqResource(t *testing.T) {
	b := newBench(t, "ha-master first second", halog.C6, Options{})
	state := "#!/bin/sh\ncase $1 in\nstatus) [ -e $RUN/${0##*/} ] && echo running || echo stopped ;;\nesac\n"
	b.program(t, "ha.d/resource.d/first", state)
	b.program(t, "ha.d/resource.d/second", state)
	asks := func() bool {
		t.Helper()
		d := b.Do(t.Context(), cluster.Call{Verb: cluster.ReqResource, Arg: "first", Env: []string{"HA_NICEFAILBACK=yes"}})
		if d.Code != 0 {
			t.Errorf("%+v", d)
		}
		return len(d.Say) == 1 && strings.Contains(string(d.Say[0]), "t=ip-request-resp\n")
	}
	if !asks() {
		t.Error("nothing runs, and it is not asked for")
	}
	b.program(t, "run/first", "")
	if !asks() {
		t.Error("half of it runs, and it is not asked for")
	}
	b.program(t, "run/second", "")
	if asks() {
		t.Error("all of it runs, and it is asked for")
	}
}
