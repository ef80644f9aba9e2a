package ldirectord

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

func TestMaintenanceNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var group sync.WaitGroup
		asked := 0
		m := newMaintenance(t.Context(), &group, dir, nil)
		m.lookup = func(_ context.Context, addr string) ([]string, error) {
			asked++
			switch addr {
			case "10.0.0.2":
				return []string{"web1.example.org."}, nil
			case "10.0.0.3":
				return []string{"Web_3.example.org."}, nil
			}
			return nil, errors.New("no such host")
		}
		for _, c := range []struct {
			file, server string
			hit          bool
		}{
			{"10.0.0.2:80", "10.0.0.2:80", true},
			{"10.0.0.2:80", "10.0.0.2:81", false},
			{"10.0.0.2", "10.0.0.2:81", true},
			{"10.0.0.2", "10.0.0.22:81", false},
			{"web1.example.org:80", "10.0.0.2:80", true},
			{"web1.example.org:80", "10.0.0.2:81", false},
			{"web1.example.org", "10.0.0.2:81", true},
			{"web1:81", "10.0.0.2:81", true},
			{"web1", "10.0.0.2:81", true},
			{"Web_3", "10.0.0.3:81", false}, // no short name
			{"Web_3.example.org", "10.0.0.3:81", true},
			{"web1", "10.0.0.9:81", false},
			{"[fd00::2]:80", "[fd00::2]:80", true},
			{"[fd00::2]", "[fd00::2]:80", true},
			{"fd00::2", "[fd00::2]:80", false},
		} {
			path := filepath.Join(dir, c.file)
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			server := netip.MustParseAddrPort(c.server)
			time.Sleep(2 * listingAge)
			m.file(server) // has the name looked up
			group.Wait()
			if got := m.file(server); (got == path) != c.hit || (got == "") == c.hit {
				t.Errorf("file %s, server %s: %q", c.file, c.server, got)
			}
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * listingAge)
			if got := m.file(server); got != "" {
				t.Errorf("%s without its file: %q", c.server, got)
			}
		}
		if asked > 4 {
			t.Errorf("names were looked up %d times for 4 addresses", asked)
		}
		time.Sleep(2 * hostnameAge)
		m.file(netip.MustParseAddrPort("10.0.0.2:80"))
		group.Wait()
	})
}

// TestMaintenanceDir: hung name lookups hold up no check, and a directory that is not there takes
// nobody out.
func TestMaintenanceDir(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, "")
		dir := filepath.Join(b.dir, "down")
		b.write("maintenancedir=" + dir + "\n" + twoReals)
		b.farm.set(up, "10.0.0.2:80", "10.0.0.3:80")
		b.start()
		time.Sleep(time.Second)
		b.server.call(t.Context(), func(l *loop) {
			l.checks.maintenance.lookup = func(ctx context.Context, _ string) ([]string, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		})
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3 10.0.0.3:80*1")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"somehost", "10.0.0.2"} {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(1100 * time.Millisecond)
		b.expect("tcp:10.0.0.1:80 10.0.0.3:80*1")
		if b.logged("failed: in maintenance, by the file "+dir+"/10.0.0.2") != 1 {
			t.Errorf("log:\n%s", b.out)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1100 * time.Millisecond)
		b.expect("tcp:10.0.0.1:80 10.0.0.2:80*3 10.0.0.3:80*1")
		b.stop()
	})
}

// TestMaintenanceHangs: a directory that does not answer, as one of a file server that is gone, holds up
// neither checks nor the end; what was in it last counts.
func TestMaintenanceHangs(t *testing.T) {
	b := newBench(t, "")
	dir := filepath.Join(b.dir, "down")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "10.0.0.3"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b.write("maintenancedir=" + dir + "\n" + twoReals)
	b.farm.set(up, "10.0.0.2:80", "10.0.0.3:80")
	b.running()
	b.wait("tcp:10.0.0.1:80 10.0.0.2:80*3")
	if err := unix.Mkfifo(dir+".fifo", 0o644); err != nil { // opening it hangs
		t.Fatal(err)
	}
	if err := unix.Renameat2(unix.AT_FDCWD, dir+".fifo", unix.AT_FDCWD, dir, unix.RENAME_EXCHANGE); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if f, err := os.OpenFile(dir, os.O_RDWR, 0); err == nil {
			f.Close()
		}
	})
	b.farm.set(refused, "10.0.0.2:80")
	b.wait("tcp:10.0.0.1:80 127.0.0.1:80*1")
	b.stopped()
}
