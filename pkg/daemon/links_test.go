package daemon

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
	"github.com/systole-ha/systole/pkg/media"
)

func oneKey(t *testing.T, method hbauth.Method, text string) *hbauth.Ring {
	t.Helper()
	ring, err := hbauth.NewRing(map[int]hbauth.Key{1: {Method: method, Text: text}}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func statusMessage(seq uint64) *hamsg.Msg {
	return hamsg.New("status").Add("src", "bravo").SetHex("seq", seq).Add("hg", "1").Add("ts", "1")
}

// What a gate does not let pass does not reach the loop. It is counted, and told of every ten minutes if
// there is more of it; keys change at once.
func TestGates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := media.Pipe(media.Spec{Kind: "bcast", Name: "eth0"}, media.Spec{Kind: "bcast", Name: "eth1"})
		ours, theirs := oneKey(t, hbauth.SHA1, "ours"), oneKey(t, hbauth.SHA1, "theirs")
		log, book := newLog(t)
		l := &links{log: log, all: []media.Medium{near}, gates: []*gate{newGate(cluster.ScreenConfig{Link: "eth0", Node: "alpha", Ring: ours}, log)}}
		ctx, cancel := context.WithCancel(t.Context())
		var got []cluster.Received
		done := make(chan struct{})
		go func() {
			defer close(done)
			l.run(ctx, func(_ context.Context, in cluster.Input) { got = append(got, in.(cluster.Received)) })
		}()
		good := ours.AppendWire(nil, statusMessage(1))
		far.Send(good)
		far.Send(theirs.AppendWire(nil, statusMessage(2)))
		far.Send([]byte("junk"))
		far.Send(good)
		synctest.Wait()
		if len(got) != 1 || got[0].Link != "eth0" || string(got[0].Bytes) != string(good) {
			t.Errorf("delivered %+v", got)
		}
		const counted = "info: Packets dropped on bcast eth0 since the start: 1 malformed, 1 not signed well, 0 incomplete, 0 replayed or old, 1 copies."
		if strings.Contains(book.String(), "Packets dropped") || !strings.Contains(book.String(), "ERROR: authtoken does not match, authtoken=") {
			t.Errorf("logged %s", book)
		}
		time.Sleep(countEvery)
		far.Send(good)
		time.Sleep(countEvery)
		if strings.Count(book.String(), "Packets dropped") != 1 || !strings.Contains(book.String(), counted) {
			t.Errorf("logged %s", book)
		}
		l.use(theirs, time.Minute)
		far.Send(theirs.AppendWire(nil, statusMessage(2)))
		synctest.Wait()
		if len(got) != 3 { // the copy has come a second time, much later
			t.Errorf("delivered %d packets", len(got))
		}
		cancel()
		<-done
	})
}

// A serial line gets messages in text form, signed with the present key whatever they were signed with
// when they were made; the other media get the packet, and a ping only its own.
func TestSendByMedium(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := newLog(t)
		l := &links{log: log}
		old, fresh := oneKey(t, hbauth.SHA1, "old"), oneKey(t, hbauth.MD5, "fresh")
		l.keys.Store(old)
		var mu sync.Mutex
		got := map[string][]string{}
		ctx, cancel := context.WithCancel(t.Context())
		for _, s := range []media.Spec{{Kind: "bcast", Name: "eth0"}, {Kind: "serial", Name: "/dev/ttyS0"}, {Kind: "serial", Name: "/dev/ttyS1"}, {Kind: "ping", Name: "10.0.0.1"}} {
			near, far := media.Pipe(s, s)
			l.all = append(l.all, near)
			go func() {
				_ = far.Run(ctx, func(f media.Frame) {
					mu.Lock()
					defer mu.Unlock()
					got[s.Name] = append(got[s.Name], string(f.Bytes))
				})
			}()
		}
		m := statusMessage(1)
		old.Stamp(m)
		packet := old.AppendWire(nil, m)
		l.send(cluster.Send{Bytes: packet, Type: "status"})
		l.send(cluster.Send{Bytes: packet, Type: "NS_st", Media: "10.0.0.1"})
		l.use(fresh, time.Minute)
		l.send(cluster.Send{Bytes: packet, Type: "status"})
		synctest.Wait()
		if len(got["eth0"]) != 2 || got["eth0"][0] != string(packet) || len(got["10.0.0.1"]) != 1 {
			t.Errorf("got %q", got)
		}
		for _, tty := range []string{"/dev/ttyS0", "/dev/ttyS1"} {
			if len(got[tty]) != 2 || !strings.HasPrefix(got[tty][0], ">>>\nt=status\nsrc=bravo\n") {
				t.Fatalf("%s got %q", tty, got[tty])
			}
			for i, ring := range []*hbauth.Ring{old, fresh} {
				p, err := hamsg.Decode([]byte(got[tty][i]))
				if err != nil || ring.Verify(p) != nil {
					t.Errorf("%s got %q: %v %v", tty, got[tty][i], err, ring.Verify(p))
				}
			}
		}
		cancel()
		synctest.Wait()
	})
}

// What a serial line cannot carry leaves over the media that can, also those that ha.cf names after it.
func TestSendWithoutText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, book := newLog(t)
		l := &links{log: log}
		ring := oneKey(t, hbauth.SHA1, "key")
		l.keys.Store(ring)
		ctx, cancel := context.WithCancel(t.Context())
		got := 0
		for _, s := range []media.Spec{{Kind: "serial", Name: "/dev/ttyS0"}, {Kind: "bcast", Name: "eth0"}} {
			near, far := media.Pipe(s, s)
			l.all = append(l.all, near)
			go func() { _ = far.Run(ctx, func(media.Frame) { got++ }) }()
		}
		m := statusMessage(1)
		m.AddField(hamsg.Field{Name: "list", Kind: hamsg.List, Value: "4:a\nbc,"})
		l.send(cluster.Send{Bytes: ring.AppendWire(nil, m), Type: "status"})
		synctest.Wait()
		if got != 1 || !strings.Contains(book.String(), "ERROR: serial /dev/ttyS0: message status: encode text message") {
			t.Errorf("%d packets; logged %s", got, book)
		}
		cancel()
		synctest.Wait()
	})
}
