package layout

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func programs() []string {
	var all []string
	for _, names := range binaries {
		all = append(all, names...)
	}
	return append(all, table...)
}

func TestByNameAndDetect(t *testing.T) {
	if l, err := ByName("rhel"); err != nil || l.HABin != RHEL.HABin {
		t.Errorf("%+v %v", l, err)
	}
	if _, err := ByName("slackware"); err == nil || !strings.Contains(err.Error(), "want debian or rhel") {
		t.Error(err)
	}
	if l := Detect(fstest.MapFS{"etc/sysconfig/network": {}, "etc/rc.d/init.d/functions": {}}); l.Name != "rhel" {
		t.Error(l.Name)
	}
	if l := Detect(fstest.MapFS{"etc/init.d/cron": {}}); l.Name != "debian" {
		t.Error(l.Name)
	}
}

// The places where old files, scripts and habits look.
func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		layout Layout
		paths  string
	}{
		{Debian, "/usr/libexec/heartbeat/heartbeat /usr/libexec/heartbeat/ipfail /etc/init.d/heartbeat /etc/default/ldirectord"},
		{RHEL, "/usr/lib64/heartbeat/heartbeat /usr/lib64/heartbeat/ipfail /usr/libexec/heartbeat/heartbeat /etc/rc.d/init.d/ldirectord /etc/sysconfig/heartbeat"},
		{RHEL, "/etc/ha.d/resource.d/IPaddr /etc/ha.d/resource.d/OCF /etc/ha.d/harc /etc/ha.d/rc.d/status /usr/share/heartbeat/hb_standby /usr/bin/cl_status /usr/sbin/ldirectord"},
	} {
		list := c.layout.Files(Options{Programs: programs()})
		for _, p := range strings.Fields(c.paths) {
			if !slices.ContainsFunc(list, func(f File) bool { return f.Path == p }) {
				t.Errorf("%s: no %s", c.layout.Name, p)
			}
		}
		for i, f := range list {
			if i > 0 && list[i-1].Path == f.Path {
				t.Errorf("%s: %s twice", c.layout.Name, f.Path)
			}
			if f.Path == "/usr/sbin/ipvsadm" {
				t.Error("ipvsadm is installed without being asked for")
			}
			if strings.Contains(string(f.Text), "HEARTBEAT ") {
				t.Errorf("%s has its placeholder", f.Path)
			}
		}
	}
	if !slices.ContainsFunc(Debian.Files(Options{Programs: programs(), IPVSAdm: true}), func(f File) bool { return f.Path == "/usr/sbin/ipvsadm" }) {
		t.Error("no ipvsadm although asked for")
	}
}

func TestInstall(t *testing.T) {
	dest := t.TempDir()
	program := filepath.Join(t.TempDir(), "systole")
	if err := os.WriteFile(program, []byte("the program"), 0o700); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(dest, "etc/ha.d/resource.d/IPaddr")
	theirs := filepath.Join(dest, "usr/sbin/ldirectord")
	for path, text := range map[string]string{mine: "#!/bin/sh\n# mine\n", theirs: "#!/usr/bin/perl\n"} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	list := Debian.Files(Options{Programs: programs(), Manual: []Page{{Name: "heartbeat.8", Text: []byte(".TH x")}}})
	plan := func() map[string]What {
		steps, err := Plan(dest, list)
		if err != nil {
			t.Fatal(err)
		}
		if err := Install(dest, program, steps); err != nil {
			t.Fatal(err)
		}
		m := map[string]What{}
		for _, s := range steps {
			m[s.Path] = s.What
		}
		return m
	}
	first := plan()
	for path, want := range map[string]What{
		Home: Made, "/etc/ha.d/resource.d/IPaddr": Kept, "/usr/sbin/ldirectord": Foreign, "/usr/libexec/heartbeat/heartbeat": Made,
	} {
		if first[path] != want {
			t.Errorf("%s: %v, want %v", path, first[path], want)
		}
	}
	for path, want := range map[string]string{mine: "#!/bin/sh\n# mine\n", theirs: "#!/usr/bin/perl\n", filepath.Join(dest, Home): "the program"} {
		if got, err := os.ReadFile(path); string(got) != want {
			t.Errorf("%s: %q %v", path, got, err)
		}
	}
	if to, err := os.Readlink(filepath.Join(dest, "usr/libexec/heartbeat/heartbeat")); to != "../../sbin/systole" {
		t.Errorf("%s %v", to, err)
	}
	// Again: only the program is written anew, a unit of an older version replaced.
	unit := filepath.Join(dest, "usr/lib/systemd/system/heartbeat.service")
	if err := os.WriteFile(unit, []byte("# systole, older\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for path, what := range plan() {
		want := Same
		switch path {
		case Home, "/usr/lib/systemd/system/heartbeat.service":
			want = Replaced
		case "/etc/ha.d/resource.d/IPaddr":
			want = Kept
		case "/usr/sbin/ldirectord":
			want = Foreign
		}
		if what != want {
			t.Errorf("again: %s: %v, want %v", path, what, want)
		}
	}
}
