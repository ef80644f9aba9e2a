package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Command prepares a command of the director, in the environment that its implementation needs.
func (d *Director) Command(ctx context.Context, name string, arg ...string) *Cmd {
	c := d.Node.Command(ctx, name, arg...)
	c.Env = append(c.Env, d.env...)
	return c
}

// Exec runs a command of the director to its end.
func (d *Director) Exec(ctx context.Context, name string, arg ...string) (Result, error) {
	return d.Command(ctx, name, arg...).Result()
}

// Start starts heartbeat as the boot does: by its init script, or, where none is installed, as that
// would.
func (d *Director) Start(ctx context.Context) (Result, error) {
	if d.hasInitScript() {
		return d.Exec(ctx, "/etc/init.d/heartbeat", "start")
	}
	return d.Exec(ctx, "/usr/libexec/heartbeat/heartbeat")
}

// Stop stops heartbeat and returns when it is gone.
func (d *Director) Stop(ctx context.Context) (Result, error) {
	if d.hasInitScript() {
		return d.Exec(ctx, "/etc/init.d/heartbeat", "stop")
	}
	return d.Exec(ctx, "/usr/libexec/heartbeat/heartbeat", "-k")
}

func (d *Director) hasInitScript() bool {
	f, err := d.open("/etc/init.d/heartbeat", unix.O_PATH, 0)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// Log returns the director's ha-log so far; "" when there is none.
func (d *Director) Log() string {
	b, err := d.ReadFile("/var/log/ha-log")
	if err != nil {
		return ""
	}
	return string(b)
}

// Crash kills every process of heartbeat's on the director at once, and nothing else, and returns
// how many there were, when they are gone.
func (d *Director) Crash() (int, error) {
	procs, err := d.Processes()
	if err != nil {
		return 0, err
	}
	procs = slices.DeleteFunc(procs, func(p Process) bool {
		name, _, _ := strings.Cut(p.Args, ":")
		name, _, _ = strings.Cut(name, " ")
		name = strings.Trim(name, "[]") // in the midst of an exec there are no arguments
		return !slices.Contains([]string{"heartbeat", "ipfail", "ccm", "cl_respawn"}, filepath.Base(name))
	})
	var ends []unix.PollFd
	defer func() {
		for _, e := range ends {
			_ = unix.Close(int(e.Fd))
		}
	}()
	for _, p := range procs {
		fd, err := unix.PidfdOpen(p.HostPID, 0)
		if err == nil {
			ends = append(ends, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
			err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, fmt.Errorf("lab: kill %d (%s): %w", p.HostPID, p.Args, err)
		}
	}
	// A process has ended when its last thread has, and with it what it held. /proc is no help: its
	// list of threads ends early when one of them goes while it is read.
	for _, e := range ends {
		for begin := time.Now(); ; {
			n, err := unix.Poll([]unix.PollFd{e}, 1000)
			if n == 1 {
				break
			}
			if err != nil && !errors.Is(err, unix.EINTR) || time.Since(begin) > time.Minute {
				return 0, fmt.Errorf("lab: %s: killed processes have not ended: %w", d.Name(), err)
			}
		}
	}
	return len(procs), nil
}

// Process is a process of a node.
type Process struct {
	PID     int    // as the node knows it
	HostPID int    // as the machine does
	Args    string // the command line, joined by blanks; the name in brackets if there is none
}

// Processes lists the node's processes, init aside, by process id.
func (n *Node) Processes() ([]Process, error) {
	home, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", n.Pid()))
	if err != nil {
		return nil, fmt.Errorf("lab: %s: %w", n.Name(), err)
	}
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, err
	}
	var procs []Process
	for _, dir := range dirs {
		if ns, err := os.Readlink(dir + "/ns/pid"); err != nil || ns != home {
			continue
		}
		status, err := os.ReadFile(dir + "/status")
		if err != nil {
			continue // it ended
		}
		p := Process{}
		for line := range strings.Lines(string(status)) {
			f := strings.Fields(line)
			switch {
			case len(f) < 2:
			case f[0] == "Name:":
				p.Args = "[" + f[1] + "]"
			case f[0] == "NSpid:":
				p.HostPID, _ = strconv.Atoi(f[1]) // the kernel writes numbers
				p.PID, _ = strconv.Atoi(f[len(f)-1])
			}
		}
		if args, err := os.ReadFile(dir + "/cmdline"); err == nil && len(args) > 0 {
			p.Args = strings.TrimSpace(strings.ReplaceAll(string(args), "\x00", " "))
		}
		if p.PID > 1 {
			procs = append(procs, p)
		}
	}
	slices.SortFunc(procs, func(a, b Process) int { return a.PID - b.PID })
	return procs, nil
}

// Addrs lists the addresses of an interface of the node in the kernel's order.
func (n *Node) Addrs(link string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	err := n.withHandle(func(h *netlink.Handle) error {
		l, err := h.LinkByName(link)
		if err != nil {
			return err
		}
		addrs, err := h.AddrList(l, netlink.FAMILY_ALL)
		for _, a := range addrs {
			ones, _ := a.Mask.Size()
			if ip, ok := netip.AddrFromSlice(a.IP); ok {
				list = append(list, netip.PrefixFrom(ip.Unmap(), ones))
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lab: addresses of %s %s: %w", n.Name(), link, err)
	}
	return list, nil
}

// HoldsVIP tells whether the virtual address is on the director's eth0.
func (d *Director) HoldsVIP() bool {
	if !d.Running() {
		return false
	}
	addrs, err := d.Addrs("eth0")
	return err == nil && slices.ContainsFunc(addrs, func(a netip.Prefix) bool { return a.Addr() == VIP })
}

// loopback puts an address on lo as the tutorial's realserver script does, with the label lo:0.
func (n *Node) loopback(addr netip.Addr) error {
	return n.withHandle(func(h *netlink.Handle) error {
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		return h.AddrAdd(lo, &netlink.Addr{
			IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(32, 32)}, Label: "lo:0", Broadcast: addr.AsSlice(),
		})
	})
}
