package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Tap makes a port of a segment ("" is DefaultSegment) for a virtual machine: [Spec].NIC. The caller closes
// the file; the port goes with it.
func (n *Network) Tap(segment string) (*os.File, error) {
	var f *os.File
	var name string
	err := n.sw.Do(func() (err error) {
		if f, err = os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
			return err
		}
		r, err := unix.NewIfreq("vm%d")
		if err != nil {
			return err
		}
		r.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		if err := unix.IoctlIfreq(int(f.Fd()), unix.TUNSETIFF, r); err != nil {
			return fmt.Errorf("tap: %w", err)
		}
		name = r.Name()
		return nil
	})
	if err == nil {
		err = n.enslave(name, segment)
	}
	if err != nil {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
		return nil, fmt.Errorf("lab: port for a virtual machine: %w", err)
	}
	return f, nil
}

// Attach makes an interface of this machine, in a virtual machine that of its [Spec].NIC (eth0), a port of a
// segment.
func (n *Network) Attach(name, segment string) error {
	l, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetNsFd(l, n.sw.netFD())
	}
	if err == nil {
		err = n.enslave(name, segment)
	}
	if err != nil {
		return fmt.Errorf("lab: attach %s: %w", name, err)
	}
	return nil
}

func (n *Network) enslave(name, segment string) error {
	return n.sw.withHandle(func(h *netlink.Handle) error {
		br, err := h.LinkByName(Link{Segment: segment}.segment())
		if err != nil {
			return err
		}
		l, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		if err := h.LinkSetMaster(l, br); err != nil {
			return err
		}
		return h.LinkSetUp(l)
	})
}

// Monitor stops a virtual machine and lets it go on: [Spec].Monitor.
type Monitor struct {
	file *os.File // QEMU's end
	conn net.Conn
	in   *bufio.Reader
}

// NewMonitor makes one, to be closed when the machine has ended.
func NewMonitor() (*Monitor, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("lab: monitor: %w", err)
	}
	m := &Monitor{file: os.NewFile(uintptr(fds[0]), "monitor")}
	ours := os.NewFile(uintptr(fds[1]), "monitor")
	defer ours.Close()
	if m.conn, err = net.FileConn(ours); err != nil {
		return nil, errors.Join(fmt.Errorf("lab: monitor: %w", err), m.file.Close())
	}
	m.in = bufio.NewReader(m.conn)
	return m, nil
}

// Close closes the monitor.
func (m *Monitor) Close() error { return errors.Join(m.conn.Close(), m.file.Close()) }

// Stop suspends the machine: its processors and its clocks stand still.
func (m *Monitor) Stop() error { return m.do("qmp_capabilities", "stop") }

// Cont lets it go on.
func (m *Monitor) Cont() error { return m.do("cont") }

// do has QEMU carry out commands (docs/interop/qmp-spec.txt).
func (m *Monitor) do(commands ...string) error {
	if err := m.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	for _, c := range commands {
		if _, err := fmt.Fprintf(m.conn, "{\"execute\":%q}\n", c); err != nil {
			return fmt.Errorf("lab: monitor: %s: %w", c, err)
		}
		for {
			line, err := m.in.ReadBytes('\n')
			if err != nil {
				return fmt.Errorf("lab: monitor: %s: %w", c, err)
			}
			var answer struct{ Return, Error json.RawMessage } // or a greeting, or an event
			if err := json.Unmarshal(line, &answer); err != nil {
				return fmt.Errorf("lab: monitor: %s: %w", c, err)
			}
			if answer.Error != nil {
				return fmt.Errorf("lab: monitor: %s: %s", c, answer.Error)
			}
			if answer.Return != nil {
				break
			}
		}
	}
	return nil
}
