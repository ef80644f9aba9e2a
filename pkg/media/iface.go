package media

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// iface is what sockets that are bound to an interface depend on.
type iface struct {
	name      string
	index     uint32
	broadcast netip.Addr // invalid if the interface has no IPv4 broadcast address
}

// lookIface asks the kernel about the interface, in the network namespace of this thread.
func lookIface(name string) (iface, error) {
	i := iface{name: name}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return i, fmt.Errorf("socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written to it
	ifr, err := askIface(fd, unix.SIOCGIFINDEX, name)
	if err != nil {
		return i, fmt.Errorf("interface %s: %w", name, err)
	}
	i.index = ifr.Uint32()
	i.broadcast, err = broadcastOf(fd, name)
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return i, fmt.Errorf("broadcast address of %s: %w", name, err)
	}
	return i, nil
}

func askIface(fd int, request uint, name string) (*unix.Ifreq, error) {
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, request, ifr)
	}
	return ifr, err
}

func askAddr(fd int, request uint, name string) (a [4]byte, err error) {
	ifr, err := askIface(fd, request, name)
	if err != nil {
		return a, err
	}
	b, err := ifr.Inet4Addr()
	copy(a[:], b)
	return a, err
}

// broadcastOf is the broadcast address that was set for the interface's first IPv4 address, or
// else the last address of its network, or, if that has room for two hosts at most,
// 255.255.255.255: as for a point-to-point link, or a lone address on lo.
func broadcastOf(fd int, name string) (netip.Addr, error) {
	set, err := askAddr(fd, unix.SIOCGIFBRDADDR, name)
	if err != nil {
		return netip.Addr{}, err
	}
	if set != [4]byte{} {
		return netip.AddrFrom4(set), nil
	}
	addr, err := askAddr(fd, unix.SIOCGIFADDR, name)
	if err != nil {
		return netip.Addr{}, err
	}
	mask, err := askAddr(fd, unix.SIOCGIFNETMASK, name)
	if err != nil {
		return netip.Addr{}, err
	}
	if mask[3] >= 0xfe {
		return netip.AddrFrom4([4]byte{255, 255, 255, 255}), nil
	}
	for i := range addr {
		addr[i] |= ^mask[i]
	}
	return netip.AddrFrom4(addr), nil
}

// changed is nil as long as the interface of that name is the one that i describes. An interface
// that has lost its broadcast address for now still is.
func (i iface) changed() error {
	now, err := lookIface(i.name)
	switch {
	case err != nil:
		return err
	case now.index != i.index:
		return fmt.Errorf("interface %s was replaced: %w", i.name, unix.ENODEV)
	case now.broadcast.IsValid() && i.broadcast.IsValid() && now.broadcast != i.broadcast:
		return fmt.Errorf("interface %s has another broadcast address: %w", i.name, unix.EADDRNOTAVAIL)
	}
	return nil
}

// strerror is the text of the errno in err as the C library writes it; of another error its own.
func strerror(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return err.Error()
	}
	text := errno.Error()
	return strings.ToUpper(text[:1]) + text[1:]
}
