package media_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
	"github.com/systole-ha/systole/pkg/media"
)

func ucast6Spec(link, peer string) media.Spec {
	return media.Spec{Kind: "ucast6", Name: link, Args: []string{peer}}
}

// Global and link-local addresses, these also with their zone, which the log shows in any case.
func TestUnicast6(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a := node(t, n, "a", "10.7.0.1/24", "fd00:7::1/64", "fe80::7:1/64")
	b := node(t, n, "b", "10.7.0.2/24", "fd00:7::2/64", "fe80::7:2/64")
	for _, c := range []struct{ peer, back, shown, from string }{
		{"fd00:7::2", "fd00:7::1", "fd00:7::2", "fd00:7::1"},
		{"fe80::7:2", "fe80::7:1", "fe80::7:2%eth0", ""},
		{"fe80::7:2%eth0", "fe80::7:1", "fe80::7:2%eth0", ""},
	} {
		ma, mb := start(t, a, ucast6Spec("eth0", c.peer), media.Options{}), start(t, b, ucast6Spec("eth0", c.back), media.Options{})
		warmUp(t, ma, mb)
		ma.Send([]byte("from a"))
		if f := mb.next(t); string(f.Bytes) != "from a" || c.from != "" && hostOf(f) != c.from {
			t.Errorf("%s: got %q from %s", c.peer, f.Bytes, f.From)
		}
		mb.Send(make([]byte, 60_000))
		if f := ma.next(t); len(f.Bytes) != 60_000 {
			t.Errorf("%s: of 60000 bytes %d came", c.peer, len(f.Bytes))
		}
		ma.expectNothing(t)
		want := []string{ // as the original logs them
			"info: glib: ucast6: bound send socket to device: eth0",
			"info: glib: ucast6: bound receive socket to device: eth0",
			"info: glib: ucast6: set SO_REUSEPORT",
			"info: glib: ucast6: heartbeat started for [" + c.shown + "]:694 on interface eth0",
		}
		if got := ma.takeLines(); !reflect.DeepEqual(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}
		ma.stop(t)
		mb.stop(t)
	}
}

// All kinds share interface and port. Which medium of a host gets what is sent to its address does not
// matter: their links have the same name.
func TestAllKindsOnOnePort(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a := node(t, n, "a", "10.7.0.1/24", "fd00:7::1/64")
	b := node(t, n, "b", "10.7.0.2/24", "fd00:7::2/64")
	heard := make(chan string)
	var from []*medium
	for _, s := range []media.Spec{
		{Kind: "bcast", Name: "eth0"},
		{Kind: "ucast", Name: "eth0", Args: []string{"10.7.0.2"}},
		{Kind: "ucast", Name: "eth0", Args: []string{"10.7.0.1"}},
		ucast6Spec("eth0", "fd00:7::2"),
		ucast6Spec("eth0", "fd00:7::1"),
		mcastSpec("eth0", "225.0.0.1", "694", "1", "0"),
		mcastSpec("eth0", "ff02::694", "694", "1", "0"),
	} {
		from = append(from, start(t, a, s, media.Options{}))
		to := start(t, b, s, media.Options{})
		go func() {
			for {
				select {
				case f := <-to.frames:
					select {
					case heard <- string(f.Bytes):
					case <-t.Context().Done():
						return
					}
				case <-t.Context().Done():
					return
				}
			}
		}()
	}
	for i, m := range from {
		if i == 2 || i == 4 {
			continue // these send to a itself
		}
		text := fmt.Sprintf("%s %d", m.Spec(), i)
		waitFor(t, text, func() bool {
			m.Send([]byte(text))
			select {
			case got := <-heard:
				return got == text
			case <-time.After(10 * time.Millisecond):
				return false
			}
		})
	}
}

func TestPing6(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a := node(t, n, "a", "fd00:7::1/64", "fe80::7:1/64")
	node(t, n, "b", "fd00:7::2/64", "fe80::7:2/64")
	for _, host := range []string{"fd00:7::2", "fd00:7::1", "fe80::7:2%eth0"} {
		m := start(t, a, media.Spec{Kind: "ping6", Name: host}, media.Options{Ident: 4711})
		other := start(t, a, media.Spec{Kind: "ping6", Name: host}, media.Options{Ident: 4712})
		want := string(echo("ping6", host, "1"))
		var f media.Frame
		waitFor(t, "an answer of "+host, func() bool { // neighbour discovery may lose the first
			m.Send([]byte(want))
			select {
			case f = <-m.frames:
				return true
			default:
				return false
			}
		})
		if from, _, _ := strings.Cut(host, "%"); string(f.Bytes) != want || !strings.HasPrefix(hostOf(f), from) {
			t.Errorf("%s: got %q from %s", host, f.Bytes, f.From)
		}
		m.Send([]byte("junk"))
		m.Send(echo("ping", host, "4"))
		last := string(echo("ping6", host, "5"))
		m.Send([]byte(last))
		waitFor(t, "the last answer of "+host, func() bool {
			f := m.next(t)
			if got := string(f.Bytes); got != want && got != last {
				t.Errorf("%s: got %q", host, got)
			}
			return string(f.Bytes) == last
		})
		other.expectNothing(t)
		if got, want := m.takeLines(), []string{"info: glib: ping heartbeat started."}; !reflect.DeepEqual(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}
	}
}
