package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Forks counts what a node started.
type Forks struct {
	Processes int
	Threads   int // of processes old and new
}

// ForkCounter counts the processes and threads that a node starts, by the kernel's notices.
type ForkCounter struct {
	sock  *os.File
	done  chan struct{}
	ours  map[uint32]bool // process ids of the node's, as this process sees them
	count Forks
	err   error
}

// The kernel's process notices: connector 1.1, operations and kinds of cn_proc.h.
const (
	connectorProc  = 1
	procListen     = 1
	procEventFork  = 1
	connectorStart = unix.NLMSG_HDRLEN + 20 // after struct cn_msg comes the notice
)

// CountForks begins to count. It needs root, and not in a namespace.
func (n *Node) CountForks() (*ForkCounter, error) {
	c := &ForkCounter{done: make(chan struct{}), ours: map[uint32]bool{}}
	if err := c.listen(); err != nil {
		return nil, fmt.Errorf("lab: process notices: %w", err)
	}
	if err := c.seed(n); err != nil {
		return nil, errors.Join(err, c.sock.Close())
	}
	raw, err := c.sock.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, c.sock.Close())
	}
	go func() { // ends by Stop
		defer close(c.done)
		buf := make([]byte, 64<<10)
		for {
			var size int
			var rerr error
			err := raw.Read(func(fd uintptr) bool {
				size, _, rerr = unix.Recvfrom(int(fd), buf, 0)
				return !errors.Is(rerr, unix.EAGAIN)
			})
			if err != nil {
				c.drain(raw, buf)
				return
			}
			if rerr != nil {
				c.err = rerr // ENOBUFS: the count is too low
				return
			}
			c.note(buf[:size])
		}
	}()
	return c, nil
}

func (c *ForkCounter) listen() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_CONNECTOR)
	if err != nil {
		return err
	}
	ne := binary.NativeEndian
	msg := ne.AppendUint32(nil, connectorStart+4)
	msg = ne.AppendUint16(msg, unix.NLMSG_DONE)
	msg = append(msg, make([]byte, 10)...) // flags, sequence, port
	msg = ne.AppendUint32(msg, connectorProc)
	msg = ne.AppendUint32(msg, 1)
	msg = append(msg, make([]byte, 8)...) // sequence, acknowledgement
	msg = ne.AppendUint16(msg, 4)
	msg = ne.AppendUint16(msg, 0)
	msg = ne.AppendUint32(msg, procListen)
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
		unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: connectorProc}),
		unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}))
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	c.sock = os.NewFile(uintptr(fd), "process notices")
	return nil
}

// seed finds the processes that the node has now.
func (c *ForkCounter) seed(n *Node) error {
	home, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", n.Pid()))
	if err != nil {
		return fmt.Errorf("lab: node %s: %w", n.Name(), err)
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/pid")
	if err != nil {
		return err
	}
	for _, l := range links {
		if ns, err := os.Readlink(l); err == nil && ns == home {
			if pid, err := strconv.ParseUint(filepath.Base(filepath.Dir(filepath.Dir(l))), 10, 32); err == nil {
				c.ours[uint32(pid)] = true
			}
		}
	}
	return nil
}

// drain takes the notices that are there.
func (c *ForkCounter) drain(raw syscall.RawConn, buf []byte) {
	err := raw.Control(func(fd uintptr) {
		for {
			size, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			if err != nil {
				return // EAGAIN
			}
			c.note(buf[:size])
		}
	})
	if err != nil {
		c.err = err
	}
}

func (c *ForkCounter) note(b []byte) {
	ne := binary.NativeEndian
	for len(b) >= connectorStart+32 {
		size := int(ne.Uint32(b))
		event := b[connectorStart:]
		if ne.Uint32(event) == procEventFork {
			parent, child, group := ne.Uint32(event[20:]), ne.Uint32(event[24:]), ne.Uint32(event[28:])
			switch {
			case !c.ours[parent] && !c.ours[group]:
			case child == group:
				c.count.Processes++
				c.ours[child] = true
			default:
				c.count.Threads++
			}
		}
		b = b[min(len(b), (size+3)&^3):]
	}
}

// Stop ends the count and returns it. Commands that [Node.Command] started meanwhile are not in it,
// nor what they started.
func (c *ForkCounter) Stop() (Forks, error) {
	err := c.sock.SetReadDeadline(time.Now())
	<-c.done
	return c.count, errors.Join(err, c.sock.Close(), c.err)
}
