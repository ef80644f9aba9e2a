package lab

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Frame is an Ethernet frame that passed a bridge.
type Frame struct {
	Time time.Time // the kernel's, when the frame was seen
	Data []byte    // from the Ethernet header on
}

// Capture records what passes a bridge.
type Capture struct {
	follower[Frame]
	sock *os.File
	done chan struct{}
	once sync.Once
}

// Capture begins to record the frames of a segment ("" is DefaultSegment), in all directions.
func (n *Network) Capture(segment string) (*Capture, error) {
	var fd int
	err := n.sw.Do(func() (err error) {
		fd, err = packetSocket(Link{Segment: segment}.segment())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lab: capture: %w", err)
	}
	c := &Capture{sock: os.NewFile(uintptr(fd), "capture"), done: make(chan struct{})}
	raw, err := c.sock.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, c.sock.Close())
	}
	go func() { // ends by Stop
		defer close(c.done)
		buf, oob := make([]byte, 64<<10), make([]byte, 256)
		for {
			var size, oobSize int
			var rerr error
			err := raw.Read(func(fd uintptr) bool {
				size, oobSize, _, _, rerr = unix.Recvmsg(int(fd), buf, oob, 0)
				return !errors.Is(rerr, unix.EAGAIN)
			})
			if err != nil || rerr != nil {
				return
			}
			c.add(Frame{Time: arrival(oob[:oobSize]), Data: slices.Clone(buf[:size])})
		}
	}()
	n.onClose(c.Stop)
	return c, nil
}

func packetSocket(device string) (int, error) {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return -1, err
	}
	protocol := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(protocol))
	if err != nil {
		return -1, err
	}
	index := link.Attrs().Index
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 8<<20),
		// A bridge shows its own device only what is for it, unless that is promiscuous.
		unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: index}))
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func arrival(oob []byte) time.Time {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err == nil {
		for _, m := range msgs {
			if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
				return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
			}
		}
	}
	return time.Now()
}

// Stop ends the recording; what was recorded stays. It may be called again.
func (c *Capture) Stop() error {
	var err error
	c.once.Do(func() {
		err = c.sock.Close()
		<-c.done
	})
	return err
}

// Frames returns what was recorded so far.
func (c *Capture) Frames() []Frame { return c.items() }

// Wait returns the first frame, old or new, that ok accepts.
func (c *Capture) Wait(ctx context.Context, ok func(Frame) bool) (Frame, error) {
	return c.wait(ctx, ok)
}

// WritePcap writes the recording as a capture file that tcpdump reads.
func (c *Capture) WritePcap(w io.Writer) error {
	b := bufio.NewWriter(w)
	le := binary.LittleEndian
	head := le.AppendUint32(nil, 0xa1b23c4d) // nanoseconds
	head = le.AppendUint16(head, 2)
	head = le.AppendUint16(head, 4)
	head = append(head, make([]byte, 8)...)
	head = le.AppendUint32(head, 64<<10)
	if _, err := b.Write(le.AppendUint32(head, 1)); err != nil { // Ethernet
		return err
	}
	for _, f := range c.Frames() {
		r := le.AppendUint32(nil, uint32(f.Time.Unix()))
		r = le.AppendUint32(r, uint32(f.Time.Nanosecond()))
		r = le.AppendUint32(r, uint32(len(f.Data)))
		r = le.AppendUint32(r, uint32(len(f.Data)))
		if _, err := b.Write(append(r, f.Data...)); err != nil {
			return err
		}
	}
	return b.Flush()
}

// follower is a growing list that can be waited on.
type follower[T any] struct {
	mu   sync.Mutex
	list []T
	more chan struct{} // closed when list grows
}

func (f *follower[T]) add(item T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.list = append(f.list, item)
	if f.more != nil {
		close(f.more)
		f.more = nil
	}
}

func (f *follower[T]) items() []T {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.list)
}

func (f *follower[T]) wait(ctx context.Context, ok func(T) bool) (T, error) {
	for i := 0; ; {
		f.mu.Lock()
		for ; i < len(f.list); i++ {
			if ok(f.list[i]) {
				defer f.mu.Unlock()
				return f.list[i], nil
			}
		}
		if f.more == nil {
			f.more = make(chan struct{})
		}
		more := f.more
		f.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			var none T
			return none, fmt.Errorf("lab: not seen: %w", context.Cause(ctx))
		}
	}
}
