package media

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// notices are the kernel's, of changes to interfaces and addresses. What has changed is found by
// looking, so that none need be decoded, and none can be missed: netif's Watch, which tells each, ends
// when the kernel had no room for one.
type notices struct {
	f       *os.File
	changed chan struct{} // has a value after a change; closed when no more can be had
}

// openNotices listens in the network namespace of this thread and starts a goroutine, which ends after
// close.
func openNotices() (*notices, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	f := os.NewFile(uintptr(fd), "netlink")
	groups := uint32(unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, errors.Join(fmt.Errorf("bind: %w", err), f.Close())
	}
	n := &notices{f: f, changed: make(chan struct{}, 1)}
	go n.read()
	return n, nil
}

func (n *notices) read() {
	defer close(n.changed)
	for buf := make([]byte, 4096); ; {
		// ENOBUFS: there were more than the socket has room for.
		if _, err := n.f.Read(buf); err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		select {
		case n.changed <- struct{}{}:
		default:
		}
	}
}

// close joins the goroutine.
func (n *notices) close() {
	_ = n.f.Close() // nothing was written to it
	for range n.changed {
	}
}
