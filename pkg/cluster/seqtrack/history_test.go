package seqtrack

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
)

func filled(n int, at time.Time) *History {
	h := NewHistory(250 * time.Millisecond)
	for range n {
		h.Add(hamsg.New("status").SetHex(hamsg.FSeq, h.High()+1), at)
	}
	return h
}

func answers(list []Answer) string {
	var b strings.Builder
	for _, a := range list {
		switch {
		case a.Msg != nil:
			fmt.Fprintf(&b, "%s ", a.Msg.Get(hamsg.FSeq))
		default:
			fmt.Fprintf(&b, "%x:%s ", a.Seq, a.Refusal)
		}
	}
	return strings.TrimSpace(b.String())
}

// TestRequest asks for numbers that are there, too old, or too new.
func TestRequest(t *testing.T) {
	now := start.Add(time.Minute)
	for _, tt := range []struct {
		sent, acked int
		first, last uint64
		want        string
		beyond      bool
	}{
		{sent: 10, first: 3, last: 5, want: "3 4 5"},
		{sent: 10, first: 9, last: 12, want: "9 a", beyond: true},
		{sent: 10, first: 11, last: 11, want: "", beyond: true},
		{sent: 510, first: 9, last: 12, want: "9:seqno too low a:seqno too low b c"},
		{sent: 10, acked: 6, first: 5, last: 8, want: "5:seqno too low 6:seqno too low 7 8"},
	} {
		h := filled(tt.sent, start)
		h.Ack(uint64(tt.acked))
		if tt.acked > 0 {
			h.Add(hamsg.New("status"), now) // what is acknowledged and old goes when the next is sent
		}
		got, beyond := h.Request(tt.first, tt.last, now)
		if answers(got) != tt.want || beyond != tt.beyond {
			t.Errorf("%+v: got %q, beyond %v", tt, answers(got), beyond)
		}
	}
}

// TestRequestPace: a message is not sent again within max_rexmit_delay, and a greedy request gets a
// bounded answer.
func TestRequestPace(t *testing.T) {
	h := filled(400, start)
	if got, _ := h.Request(1, 1<<63, start); len(got) != maxResend {
		t.Errorf("%d answers to a request for everything", len(got))
	}
	if got, _ := h.Request(1, 1, start.Add(100*time.Millisecond)); len(got) != 0 {
		t.Errorf("sent again at once: %s", answers(got))
	}
	if got, _ := h.Request(1, 1, start.Add(240*time.Millisecond)); answers(got) != "1" {
		t.Errorf("not sent again: %q", answers(got))
	}
}

// TestRefusalPace: requests that were under way when a refusal left are not refused again each.
func TestRefusalPace(t *testing.T) {
	h := filled(510, start)
	for _, tt := range []struct {
		after time.Duration
		want  string
	}{
		{0, "9:seqno too low a:seqno too low b"},
		{250 * time.Millisecond, "b"},
		{999 * time.Millisecond, "b"},
		{2 * time.Second, "9:seqno too low a:seqno too low b"},
	} {
		if got, _ := h.Request(9, 11, start.Add(tt.after)); answers(got) != tt.want {
			t.Errorf("after %v: got %q, want %q", tt.after, answers(got), tt.want)
		}
	}
}

// TestFilling says once that acknowledgements do not come, and once that it gets serious.
func TestFilling(t *testing.T) {
	h := NewHistory(250 * time.Millisecond)
	said := ""
	for range 700 {
		if kept, f := h.Add(hamsg.New("status"), start); f != NotFilling {
			said += fmt.Sprintf("%d:%d ", kept, f)
		}
	}
	if said != "376:1 451:2 " {
		t.Errorf("said %q", said)
	}
	h.Ack(9999)
	if h.Acked() != 0 {
		t.Errorf("acknowledged %d of %d", h.Acked(), h.High())
	}
}

// TestRand pins the generator: recorded scenarios depend on it.
func TestRand(t *testing.T) {
	r := NewRand(0)
	if a, b := r.Uint64(), r.Uint64(); a != 0xe220a8397b1dcdaf || b != 0x6e789e6aa1b965f4 {
		t.Errorf("%#x %#x", a, b)
	}
}
