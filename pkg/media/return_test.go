package media_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
	"github.com/systole-ha/systole/pkg/media"
)

// Addresses of the two hosts of TestReturn; aMoved are a's others.
var (
	aAddrs  = []string{"10.7.0.1/24", "fd00:7::1/64", "fe80::7:1/64"}
	aMoved  = []string{"10.7.0.11/24", "fd00:7::11/64", "fe80::7:11/64"}
	bAddrs  = []string{"10.7.0.2/24", "fd00:7::2/64", "fe80::7:2/64"}
	mcWords = []string{"694", "1", "0"}
)

// kindPair is a kind of medium on both hosts.
type kindPair struct {
	a, b *medium
	// toNamed is true where b sends to an address that a may lose.
	toNamed bool
}

func startPairs(t *testing.T, a, b *lab.Node) []kindPair {
	t.Helper()
	var pairs []kindPair
	for _, p := range [][2]media.Spec{
		{{Kind: "bcast", Name: "eth0"}, {Kind: "bcast", Name: "eth0"}},
		{mcastSpec("eth0", "225.0.0.1", mcWords...), mcastSpec("eth0", "225.0.0.1", mcWords...)},
		{mcastSpec("eth0", "ff02::694", mcWords...), mcastSpec("eth0", "ff02::694", mcWords...)},
		{{Kind: "ucast", Name: "eth0", Args: []string{"10.7.0.2"}, Port: 701}, {Kind: "ucast", Name: "eth0", Args: []string{"10.7.0.1"}, Port: 701}},
		{{Kind: "ucast6", Name: "eth0", Args: []string{"fd00:7::2"}, Port: 702}, {Kind: "ucast6", Name: "eth0", Args: []string{"fd00:7::1"}, Port: 702}},
		{{Kind: "ucast6", Name: "eth0", Args: []string{"fe80::7:2"}, Port: 703}, {Kind: "ucast6", Name: "eth0", Args: []string{"fe80::7:1"}, Port: 703}},
	} {
		pairs = append(pairs, kindPair{start(t, a, p[0], media.Options{}), start(t, b, p[1], media.Options{}), strings.HasPrefix(p[0].Kind, "ucast")})
	}
	return pairs
}

// heard sends from one medium until the other hears it.
func heard(t *testing.T, what string, from, to *medium) {
	t.Helper()
	text := fmt.Sprintf("%s %d", what, time.Now().UnixNano())
	waitFor(t, fmt.Sprintf("%s: %s %v at %s", what, from.Spec(), from.Spec().Args, to.Spec()), func() bool {
		from.Send([]byte(text))
		for {
			select {
			case f := <-to.frames:
				if string(f.Bytes) == text {
					return true
				}
			case <-time.After(10 * time.Millisecond):
				return false
			}
		}
	})
}

func (p kindPair) bothWays(t *testing.T, what string) {
	t.Helper()
	heard(t, what, p.a, p.b)
	heard(t, what, p.b, p.a)
}

// Whatever becomes of the interface, no medium needs a restart.
func TestReturn(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a, b := node(t, n, "a", aAddrs...), node(t, n, "b", bAddrs...)
	pairs := startPairs(t, a, b)
	pings := []*medium{
		start(t, a, media.Spec{Kind: "ping", Name: "10.7.0.2"}, media.Options{Ident: 1}),
		start(t, a, media.Spec{Kind: "ping6", Name: "fe80::7:2%eth0"}, media.Options{Ident: 2}),
	}
	all := func(what string, addressesStay bool) {
		t.Helper()
		for _, p := range pairs {
			heard(t, what, p.a, p.b)
			if addressesStay || !p.toNamed {
				heard(t, what, p.b, p.a)
			}
		}
		for _, m := range pings {
			answered(t, what, m)
		}
	}
	all("at first", true)

	// Removed, and back.
	must(t, a.RemoveCard("eth0"))
	for _, p := range pairs {
		waitFor(t, p.a.Spec().String()+" to notice", func() bool { return !p.a.Stats().Up })
		p.a.Send([]byte("in vain"))
	}
	must(t, a.InsertCard(link("eth0", lab.DefaultSegment, aAddrs...)))
	all("card back", true)
	for _, p := range pairs {
		if starts := count(p.a.takeLines(), "started"); starts != 2 {
			t.Errorf("%s logged %d starts, want 2", p.a.Spec(), starts)
		}
	}

	// Replaced so fast that nobody sees it missing.
	must(t, a.RemoveCard("eth0"))
	must(t, a.InsertCard(link("eth0", lab.DefaultSegment, aAddrs...)))
	all("card replaced", true)

	// Other addresses.
	for i, addr := range aMoved {
		ip(t, a, "addr del "+aAddrs[i]+" dev eth0")
		ip(t, a, "addr add "+addr+" dev eth0"+addrOptions(addr))
	}
	all("address changed", false)
	for i, addr := range aAddrs {
		ip(t, a, "addr del "+aMoved[i]+" dev eth0")
		ip(t, a, "addr add "+addr+" dev eth0"+addrOptions(addr))
	}
	all("address restored", true)

	// Down and up: IPv6 addresses go with that.
	ip(t, a, "link set eth0 down")
	upAgain(t, a, "eth0")
	all("down and up", true)

	// Renamed: the media stay with the interface, and say so.
	for _, p := range pairs {
		p.a.takeLines()
	}
	ip(t, a, "link set eth0 down")
	ip(t, a, "link set eth0 name lan0")
	upAgain(t, a, "lan0")
	pings = pings[:1] // the other one's interface is not there
	for _, p := range pairs {
		p.bothWays(t, "renamed")
		waitFor(t, p.a.Spec().String()+" to say so", func() bool {
			return slices.Contains(p.a.takeLines(), "WARN: interface eth0 is called lan0 now; its medium stays open.")
		})
	}

	// Another one gets the name of ha.cf, which is what counts.
	ip(t, a, "link set lan0 down")
	must(t, a.RemoveCard("lan0"))
	must(t, a.InsertCard(link("eth0", lab.DefaultSegment, aAddrs...)))
	all("under the old name", true)
}

// A medium that a run takes over from another is opened when its interface is there.
func TestLate(t *testing.T) {
	t.Parallel()
	n := lab.Net(t)
	a, b := node(t, n, "a", aAddrs...), node(t, n, "b", bAddrs...)
	must(t, a.RemoveCard("eth0"))
	specs := []media.Spec{{Kind: "bcast", Name: "eth0"}, mcastSpec("eth0", "225.0.0.1", mcWords...), {Kind: "ping", Name: "no-such-host.invalid"}}
	var late []*medium
	for _, s := range specs {
		m := start(t, a, s, media.Options{Late: true})
		if m.Stats().Up {
			t.Errorf("%s is up without an interface", s)
		}
		m.Send([]byte("in vain"))
		late = append(late, m)
	}
	must(t, a.InsertCard(link("eth0", lab.DefaultSegment, aAddrs...)))
	for i, s := range specs[:2] {
		kindPair{a: late[i], b: start(t, b, s, media.Options{})}.bothWays(t, "late")
	}
}

func upAgain(t *testing.T, nd *lab.Node, link string) {
	t.Helper()
	ip(t, nd, "link set "+link+" up")
	for _, addr := range aAddrs[1:] {
		ip(t, nd, "addr replace "+addr+" dev "+link+addrOptions(addr))
	}
}

// addrOptions are what "ip addr add" needs besides for an address that is usable at once.
func addrOptions(a string) string {
	if strings.Contains(a, ":") {
		return " nodad"
	}
	return " broadcast +"
}

// answered pings until an answer comes.
func answered(t *testing.T, what string, m *medium) {
	t.Helper()
	packet := echo(m.Spec().Kind, m.Spec().Name, fmt.Sprint(time.Now().UnixNano()))
	waitFor(t, what+": an answer to "+m.Spec().String(), func() bool {
		m.Send(packet)
		select {
		case f := <-m.frames:
			return string(f.Bytes) == string(packet)
		case <-time.After(10 * time.Millisecond):
			return false
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func count(lines []string, word string) (n int) {
	for _, l := range lines {
		if strings.Contains(l, word) {
			n++
		}
	}
	return n
}
