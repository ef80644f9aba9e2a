package realtime

import (
	"context"
	"testing"
	"time"
)

func TestAlarm(t *testing.T) {
	a, err := NewAlarm()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); a.Run(ctx) }()
	for _, wait := range []time.Duration{20 * time.Millisecond, 0, -time.Hour, 300 * time.Microsecond} {
		at := time.Now().Add(wait)
		a.Set(time.Now().Add(time.Hour)) // the later one counts
		a.Set(at)
		<-a.C
		if early := time.Until(at); early > 0 {
			t.Errorf("%v too early", early)
		}
	}
	a.Set(time.Now().Add(time.Hour))
	select {
	case <-a.C:
		t.Error("it came an hour early")
	case <-time.After(20 * time.Millisecond):
	}
	cancel()
	<-ended
	a.Set(time.Now()) // does nothing
}
