package lab

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// AddrEvent is the kernel's notice that an address came or went.
type AddrEvent struct {
	Time  time.Time // of its arrival here
	Addr  netip.Prefix
	Added bool
}

// AddrWatch follows the addresses of a node.
type AddrWatch struct {
	follower[AddrEvent]
	stop chan struct{}
	done chan struct{}
	once sync.Once
}

// WatchAddrs begins to follow the node's addresses, until Stop, PowerOff, or Close of the network.
func (n *Node) WatchAddrs() (*AddrWatch, error) {
	ns := netns.NsHandle(n.netFD())
	w := &AddrWatch{stop: make(chan struct{}), done: make(chan struct{})}
	updates := make(chan netlink.AddrUpdate, 64)
	err := netlink.AddrSubscribeWithOptions(updates, w.stop, netlink.AddrSubscribeOptions{
		Namespace: &ns, ErrorCallback: func(error) {}, // it calls back once when stopped
	})
	if err != nil {
		return nil, fmt.Errorf("lab: watch %s: %w", n.Name(), err)
	}
	go func() { // ends with the subscription
		defer close(w.done)
		for u := range updates {
			ones, _ := u.LinkAddress.Mask.Size()
			if a, ok := netip.AddrFromSlice(u.LinkAddress.IP); ok {
				w.add(AddrEvent{Time: time.Now(), Addr: netip.PrefixFrom(a.Unmap(), ones), Added: u.NewAddr})
			}
		}
	}()
	n.net.onClose(w.Stop)
	return w, nil
}

// Stop ends the watch; its events stay. It may be called again.
func (w *AddrWatch) Stop() error {
	w.once.Do(func() {
		close(w.stop)
		<-w.done
	})
	return nil
}

// Events returns what was seen so far.
func (w *AddrWatch) Events() []AddrEvent { return w.items() }

// Wait returns the first event, old or new, that ok accepts.
func (w *AddrWatch) Wait(ctx context.Context, ok func(AddrEvent) bool) (AddrEvent, error) {
	return w.wait(ctx, ok)
}
