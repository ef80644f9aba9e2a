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
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return i, fmt.Errorf("interface %s: %w", name, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return i, fmt.Errorf("interface %s: %w", name, err)
	}
	i.index = ifr.Uint32()
	if ifr, err = unix.NewIfreq(name); err != nil {
		return i, fmt.Errorf("interface %s: %w", name, err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFBRDADDR, ifr); err == nil {
		if b, err := ifr.Inet4Addr(); err == nil {
			i.broadcast, _ = netip.AddrFromSlice(b)
		}
	} else if !errors.Is(err, unix.EADDRNOTAVAIL) {
		return i, fmt.Errorf("broadcast address of %s: %w", name, err)
	}
	return i, nil
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
