package media_test

import (
	"bytes"
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/lab"
	"github.com/systole-ha/systole/pkg/media"
)

func mcastSpec(link, group string, words ...string) media.Spec {
	kind := "mcast"
	if strings.Contains(group, ":") {
		kind = "mcast6"
	}
	return media.Spec{Kind: kind, Name: link, Args: append([]string{group}, words...)}
}

func TestMulticast(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a, b := node(t, n, "a", "10.7.0.1/24", "fd00:7::1/64"), node(t, n, "b", "10.7.0.2/24", "fd00:7::2/64")
	for _, c := range []struct {
		group, from, line string
		words             []string
	}{
		{"225.0.0.1", "10.7.0.1", "glib: UDP multicast heartbeat started for group 225.0.0.1 port 695 interface eth0 (ttl=1 loop=0)", []string{"695", "1", "0"}},
		{"239.1.2.3", "10.7.0.1", "glib: UDP multicast heartbeat started for group 239.1.2.3 port 694 interface eth0 (ttl=4 loop=1)", []string{"694", "4", "1"}},
		{"ff02::694", "", "glib: UDP multicast heartbeat started for [ff02::694]:695 on interface eth0 (hops=1 loop=0)", []string{"695", "1", "0"}},
		{"ff15::1", "", "glib: UDP multicast heartbeat started for [ff15::1]:694 on interface eth0 (hops=2 loop=1)", []string{"694", "2", "1"}},
	} {
		spec := mcastSpec("eth0", c.group, c.words...)
		ma, mb := start(t, a, spec, media.Options{}), start(t, b, spec, media.Options{})
		loop := c.words[2] == "1"
		warmUp(t, ma, mb)
		ma.Send([]byte("from a"))
		f := mb.next(t)
		if string(f.Bytes) != "from a" || c.from != "" && hostOf(f) != c.from || c.from == "" && !strings.Contains(hostOf(f), ":") {
			t.Errorf("%s: got %q from %s", spec, f.Bytes, f.From)
		}
		if loop {
			ma.expect(t, hostOf(f), "from a")
		} else {
			ma.expectNothing(t)
		}
		// A neighbour group of the same port is none of ours, though others on this machine hear it.
		start(t, b, mcastSpec("eth0", neighbour(c.group), c.words...), media.Options{})
		other := start(t, a, mcastSpec("eth0", neighbour(c.group), c.words...), media.Options{})
		other.Send([]byte("to another group"))
		ma.Send([]byte("last"))
		if f := mb.next(t); string(f.Bytes) != "last" {
			t.Errorf("%s: got %q", spec, f.Bytes)
		}
		if got, want := ma.takeLines(), []string{"info: " + c.line}; !reflect.DeepEqual(got, want) {
			t.Errorf("logged %q, want %q", got, want)
		}
	}
}

// neighbour is another group.
func neighbour(group string) string { return group[:len(group)-1] + "9" }

// The hop limit is what ha.cf says, on either family.
func TestMulticastHops(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a := node(t, n, "a", "10.7.0.1/24", "fd00:7::1/64")
	c, err := n.Capture(lab.DefaultSegment)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	for _, x := range []struct {
		spec media.Spec
		at   int // of the hop limit in the frame
		want byte
	}{
		{mcastSpec("eth0", "225.0.0.1", "694", "3", "0"), 14 + 8, 3},
		{mcastSpec("eth0", "ff02::694", "695", "4", "0"), 14 + 7, 4},
	} {
		packet := []byte("hops of " + x.spec.Kind + ".")
		start(t, a, x.spec, media.Options{}).Send(packet)
		f, err := c.Wait(ctx, func(f lab.Frame) bool { return bytes.HasSuffix(f.Data, packet) })
		if err != nil {
			t.Fatal(err)
		}
		if f.Data[x.at] != x.want {
			t.Errorf("%s: sent with a limit of %d hops", x.spec, f.Data[x.at])
		}
	}
}

// Two cables with the same group and port: what comes in on one is not heard on the other, so that a
// dead cable shows. Nor is anything else that is sent to the port.
func TestMulticastStaysOnItsInterface(t *testing.T) {
	t.Parallel()
	n := lab.Net(t, "lan", "cross")
	a := nodeOf(t, n, "a", link("eth0", "lan", "10.7.0.1/24", "fd00:7::1/64"), link("eth1", "cross", "10.8.0.1/24", "fd00:8::1/64"))
	b := nodeOf(t, n, "b", link("eth0", "lan", "10.7.0.2/24", "fd00:7::2/64"), link("eth1", "cross", "10.8.0.2/24", "fd00:8::2/64"))
	bcast, ucast6 := media.Spec{Kind: "bcast", Name: "eth0"}, ucast6Spec("eth0", "fd00:7::2")
	for _, group := range []string{"225.0.0.1", "ff02::694"} {
		zero, one := mcastSpec("eth0", group, mcWords...), mcastSpec("eth1", group, mcWords...)
		var strays []*medium
		for _, s := range []media.Spec{bcast, ucast6, zero} {
			strays = append(strays, start(t, a, s, media.Options{}))
			start(t, b, s, media.Options{})
		}
		a1, b1 := start(t, a, one, media.Options{}), start(t, b, one, media.Options{})
		warmUp(t, a1, b1)
		for range 20 {
			for _, m := range strays {
				m.Send([]byte(m.Spec().String()))
			}
			a1.Send([]byte("one"))
			if f := b1.next(t); string(f.Bytes) != "one" {
				t.Errorf("%s: got %q", b1.Spec(), f.Bytes)
			}
		}
		b1.expectNothing(t)
		a1.expectNothing(t)
	}
}

// At a start the address may be yet to come, from DHCP say. An interface that is not there is another
// matter: see TestOpenRefuses.
func TestMulticastWaitsForAnAddress(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a := node(t, n, "a")
	r := new(medium)
	opened := make(chan error, 1)
	go func() {
		opened <- a.Do(func() error {
			m, err := media.Open(t.Context(), mcastSpec("eth0", "225.0.0.1", mcWords...), media.Options{Report: r.report})
			if err == nil {
				err = m.Close()
			}
			return err
		})
	}()
	waitFor(t, "it to wait", func() bool {
		return slices.Equal(r.takeLines(), []string{"info: mcast eth0: waiting up to 2m0s for an IPv4 address"})
	})
	ip(t, a, "addr add 10.7.0.1/24 dev eth0")
	if err := <-opened; err != nil {
		t.Error(err)
	}
	ip(t, a, "addr del 10.7.0.1/24 dev eth0")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := a.Do(func() error {
		_, err := media.Open(ctx, mcastSpec("eth0", "225.0.0.1", mcWords...), media.Options{})
		return err
	})
	if err == nil || !strings.HasSuffix(err.Error(), "address of eth0: cannot assign requested address") {
		t.Errorf("told to wait no longer: %v", err)
	}
}
