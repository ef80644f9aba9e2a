package userspace

import (
	"context"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/ipvstest"
)

func TestConformance(t *testing.T) {
	ipvstest.Run(t, func(t *testing.T) ipvs.Table { return newForwarder(t) })
}

// The same through the socket by which programs reach the forwarder of another process.
func TestRemoteConformance(t *testing.T) {
	ipvstest.Run(t, func(t *testing.T) ipvs.Table {
		path := filepath.Join(t.TempDir(), "table.sock")
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		f := newForwarder(t)
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan struct{})
		go func() { defer close(served); f.Serve(ctx, l) }()
		t.Cleanup(func() { cancel(); <-served })
		r, err := Dial(ctx, path)
		if err != nil {
			t.Fatal(err)
		}
		return r
	})
}

func TestTraffic(t *testing.T) {
	addr := netip.MustParseAddr
	ipvstest.RunTraffic(t, ipvstest.Site{
		VIP:     addr("127.77.0.1"),
		Reals:   [3]netip.Addr{addr("127.77.1.1"), addr("127.77.1.2"), addr("127.77.1.3")},
		Clients: [2]netip.Addr{addr("127.77.2.1"), addr("127.77.3.1")},
	}, func(t *testing.T) ipvs.Table { return newForwarder(t) })
}

// A forwarder whose process ends and comes back is found again; a change that may have been carried
// out is not made twice.
func TestRemoteReturns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table.sock")
	serve := func() (stop func()) {
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		f := newForwarder(t)
		ctx, cancel := context.WithCancel(context.Background())
		served := make(chan struct{})
		go func() { defer close(served); f.Serve(ctx, l) }()
		return func() { cancel(); <-served }
	}
	stop := serve()
	r, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	do(t, r, ipvs.AddService, virtual(ipvs.TCP, freePort(t, "tcp"), "rr"))
	stop()
	if _, err := r.Snapshot(t.Context()); err == nil {
		t.Error("a forwarder that is gone answers")
	}
	stop = serve()
	defer func() { stop() }()
	if e, err := r.Snapshot(t.Context()); err != nil || len(e) != 0 {
		t.Errorf("after the return: %v, %v", e, err)
	}
	stop()
	stop = serve()
	if e, err := r.Snapshot(t.Context()); err != nil || len(e) != 0 {
		t.Errorf("after the second return, of which nothing was seen: %v, %v", e, err)
	}
	do(t, r, ipvs.AddService, virtual(ipvs.TCP, freePort(t, "tcp"), "rr"))
}
