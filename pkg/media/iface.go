package media

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/halog"
)

// iface is the interface that sockets belong to. They follow its number: they stay with an
// interface that gets another name.
type iface struct {
	name   string // of ha.cf
	index  uint32
	called string // the name that it has now
}

// lookIface finds the interface of that name, in the network namespace of this thread.
func lookIface(name string) (*iface, error) {
	index, err := indexOf(name)
	if err != nil {
		return nil, err
	}
	return &iface{name: name, index: index, called: name}, nil
}

// check is nil as long as sockets of the interface are of use. That the interface has another name
// than in ha.cf is logged. One that has the name in its place makes the sockets useless: the name is
// what the administrator means.
func (i *iface) check(log logFunc) error {
	index, err := indexOf(i.name)
	called := i.name
	switch {
	case err == nil && index != i.index:
		return fmt.Errorf("interface %s was replaced: %w", i.name, unix.ENODEV)
	case errors.Is(err, unix.ENODEV):
		var gone error
		if called, gone = nameOf(i.index); gone != nil {
			return err
		}
	case err != nil:
		return err
	}
	if called != i.called {
		log(halog.Warn, nil, "interface %s is called %s now; its medium stays open.", i.called, called)
		i.called = called
	}
	return nil
}

// broadcast is the broadcast address that was set for the interface's first IPv4 address, or
// else the last address of its network, or, if that has room for two hosts at most,
// 255.255.255.255: as for a point-to-point link, or a lone address on lo. An interface without an
// IPv4 address is EADDRNOTAVAIL.
func (i *iface) broadcast() (netip.Addr, error) {
	a, err := i.ask4(unix.SIOCGIFBRDADDR)
	if err == nil && a.IsUnspecified() {
		a, err = i.networkEnd()
	}
	if err != nil {
		return netip.Addr{}, fmt.Errorf("broadcast address of %s: %w", i.name, err)
	}
	return a, nil
}

func (i *iface) networkEnd() (netip.Addr, error) {
	addr, err := i.ask4(unix.SIOCGIFADDR)
	if err != nil {
		return addr, err
	}
	mask, err := i.ask4(unix.SIOCGIFNETMASK)
	if err != nil {
		return addr, err
	}
	a, m := addr.As4(), mask.As4()
	if m[3] >= 0xfe {
		return netip.AddrFrom4([4]byte{255, 255, 255, 255}), nil
	}
	for i := range a {
		a[i] |= ^m[i]
	}
	return netip.AddrFrom4(a), nil
}

// address is the interface's first IPv4 address. An interface without one is EADDRNOTAVAIL.
func (i *iface) address() (netip.Addr, error) {
	a, err := i.ask4(unix.SIOCGIFADDR)
	if err != nil {
		return a, fmt.Errorf("address of %s: %w", i.name, err)
	}
	return a, nil
}

func (i *iface) ask4(request uint) (netip.Addr, error) {
	ifr, err := askIface(request, i.called, 0)
	if err != nil {
		return netip.Addr{}, err
	}
	b, err := ifr.Inet4Addr()
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.AddrFrom4([4]byte(b)), nil
}

func indexOf(name string) (uint32, error) {
	ifr, err := askIface(unix.SIOCGIFINDEX, name, 0)
	if err != nil {
		return 0, fmt.Errorf("interface %s: %w", name, err)
	}
	return ifr.Uint32(), nil
}

func nameOf(index uint32) (string, error) {
	ifr, err := askIface(unix.SIOCGIFNAME, "", index)
	if err != nil {
		return "", err
	}
	return ifr.Name(), nil
}

// askIface makes a request of netdevice(7) about an interface, by name or by number.
func askIface(request uint, name string, index uint32) (*unix.Ifreq, error) {
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	if name == "" {
		ifr.SetUint32(index)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written to it
	return ifr, unix.IoctlIfreq(fd, request, ifr)
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
