package apphb_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/systole-ha/systole/pkg/apphb"
)

// story feeds a ledger; each line says what is said, with the original's texts.
type story struct {
	*testing.T
	l   apphb.Ledger
	now time.Time
	out []string
}

func (s *story) note(events []apphb.Event) {
	for _, e := range events {
		s.out = append(s.out, []string{"", "WARN: ", "REBOOT: "}[e.Kind]+e.Text)
	}
}

// pass lets time go by.
func (s *story) pass(d time.Duration) {
	end := s.now.Add(d)
	for {
		at, ok := s.l.Deadline()
		if !ok || at.After(end) {
			break
		}
		s.now = at
		s.note(s.l.Tick(at))
	}
	s.now = end
}

func (s *story) say(id int, m apphb.Message) {
	events, answer, answered := s.l.Handle(s.now, id, m)
	s.note(events)
	if answered && answer != 0 {
		s.out = append(s.out, fmt.Sprintf("%s: %v", m.Kind, answer))
	}
	if answered == (m.Kind == apphb.Beat) {
		s.Errorf("%s answered: %v", m.Kind, answered)
	}
}

func (s *story) wants(lines ...string) {
	s.Helper()
	if d := cmp.Diff(lines, s.out); d != "" {
		s.Errorf("(-want +got)\n%s", d)
	}
	s.out = nil
}

func begin(t *testing.T) *story {
	s := &story{T: t, now: time.Unix(1000, 0)}
	s.say(1, apphb.Message{Kind: apphb.Register, Name: "app", Instance: "inst1", PID: 7})
	return s
}

// The times and texts are those of a session with the original.
func TestLate(t *testing.T) {
	s := begin(t)
	s.pass(90 * time.Second) // nobody watches before an interval is set
	s.wants()
	s.say(1, apphb.Message{Kind: apphb.SetInterval, Time: time.Second})
	s.say(1, apphb.Message{Kind: apphb.SetWarn, Time: 400 * time.Millisecond})
	for range 3 {
		s.pass(200 * time.Millisecond)
		s.say(1, apphb.Message{Kind: apphb.Beat})
	}
	s.wants()
	s.pass(600 * time.Millisecond)
	s.say(1, apphb.Message{Kind: apphb.Beat})
	s.wants("apphb client 'app' / 'inst1' (pid 7) late heartbeat: 600 ms")
	s.pass(2500 * time.Millisecond)
	s.wants("WARN: apphb client 'app' / 'inst1' (pid 7) failed to heartbeat")
	s.say(1, apphb.Message{Kind: apphb.Beat})
	s.wants("apphb client 'app' / 'inst1' (pid 7) resumed heartbeats", "apphb client 'app' / 'inst1' (pid 7) late heartbeat: 2500 ms")
	s.say(1, apphb.Message{Kind: apphb.SetInterval})
	s.pass(time.Hour)
	s.wants()
	s.say(1, apphb.Message{Kind: apphb.Unregister})
	s.note(s.l.Gone(1))
	s.wants()
}

func TestHangUp(t *testing.T) {
	s := begin(t)
	s.note(s.l.Gone(1))
	s.note(s.l.Gone(1))
	s.wants("WARN: apphb client 'app' / 'inst1' (pid 7) hangup")
}

func TestCritical(t *testing.T) {
	s := begin(t)
	s.say(1, apphb.Message{Kind: apphb.SetInterval, Time: time.Second})
	s.say(1, apphb.Message{Kind: apphb.SetBoot, Time: time.Millisecond})
	s.pass(3 * time.Second)
	s.wants("REBOOT: Critical apphb client 'app' / 'inst1' (pid 7) failed to heartbeat")
	s.note(s.l.Gone(1))
	s.wants("REBOOT: Critical apphb client 'app' / 'inst1' (pid 7) hangup")

	s = begin(t)
	s.say(1, apphb.Message{Kind: apphb.SetBoot, Time: time.Millisecond})
	s.say(1, apphb.Message{Kind: apphb.SetBoot})
	s.note(s.l.Gone(1))
	s.wants("WARN: apphb client 'app' / 'inst1' (pid 7) hangup")
}

func TestOutOfPlace(t *testing.T) {
	s := begin(t)
	s.say(1, apphb.Message{Kind: apphb.Register, Name: "app"})
	s.say(2, apphb.Message{Kind: apphb.Beat})
	s.say(2, apphb.Message{Kind: apphb.SetWarn})
	s.say(2, apphb.Message{Kind: apphb.Unregister})
	s.wants("reg: "+syscall.EEXIST.Error(), "setwarn: "+syscall.EBADF.Error(), "unreg: "+syscall.EBADF.Error())
}

func TestMessages(t *testing.T) {
	for _, m := range []apphb.Message{
		{Kind: apphb.Register, Name: "a", Instance: strings.Repeat("b", 255), Dir: "/", PID: 1 << 21, UID: 1000, GID: 1 << 31},
		{Kind: apphb.Unregister},
		{Kind: apphb.Beat},
		{Kind: apphb.SetInterval, Time: 1500 * time.Millisecond},
		{Kind: apphb.SetWarn, Time: time.Hour},
		{Kind: apphb.SetBoot, Time: time.Millisecond},
	} {
		b := m.Append(nil)
		if got, err := apphb.Parse(b); err != nil || got != m {
			t.Errorf("%+v comes back as %+v, %v", m, got, err)
		}
		if _, err := apphb.Parse(b[:len(b)-1]); !errors.Is(err, apphb.ErrMessage) {
			t.Errorf("%s cut short: %v", m.Kind, err)
		}
	}
	// As the C structure has it.
	b := apphb.Message{Kind: apphb.Register, Name: "app", PID: 7}.Append(nil)
	if len(b) != 788 || !bytes.HasPrefix(b, []byte("reg\x00\x00\x00\x00\x00app\x00")) || binary.NativeEndian.Uint32(b[776:]) != 7 {
		t.Errorf("%d bytes: %q", len(b), b)
	}
	if m, err := apphb.Parse(append([]byte("setint\x00\x00"), 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)); err != nil || m.Time <= 0 {
		t.Errorf("a huge time is %v, %v", m.Time, err)
	}
	for _, bad := range []string{"", "hb", "nonsense"} {
		if _, err := apphb.Parse([]byte(bad)); !errors.Is(err, apphb.ErrMessage) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
