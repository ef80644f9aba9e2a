package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// SerialCable is a null modem cable between two nodes.
type SerialCable struct {
	ends [2]*os.File // what stands for each node's plug
	// The devices are held open: one that nobody has open answers its plug with errors.
	devices [2]*os.File
	wg      sync.WaitGroup

	mu   sync.Mutex
	cut  bool
	said [2]bytes.Buffer
}

// Serial lays a null modem cable between two nodes that are on. On either the path leads to a terminal
// device of the node's own, which is as quiet as a serial port: nothing is echoed. The cable lasts
// until the network is closed, or a node is switched off.
func (n *Network) Serial(a, b *Node, path string) (*SerialCable, error) {
	c := new(SerialCable)
	n.onClose(c.close)
	for i, nd := range []*Node{a, b} {
		var name string
		err := nd.enter(func() error {
			plug, device, err := openTerminal()
			if err != nil {
				return err
			}
			c.ends[i], c.devices[i], name = plug, device, device.Name()
			return silence(device)
		})
		if err == nil {
			err = nd.Symlink(name, path)
		}
		if err != nil {
			return nil, fmt.Errorf("lab: serial line of %s: %w", nd.Name(), err)
		}
	}
	for i := range c.ends {
		c.wg.Go(func() { c.carry(i) })
	}
	return c, nil
}

// Cut pulls the cable out, or puts it back: what is said meanwhile is lost.
func (c *SerialCable) Cut(yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut = yes
}

// Said is what the first node, or the second, has sent so far.
func (c *SerialCable) Said(second bool) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if second {
		return c.said[1].String()
	}
	return c.said[0].String()
}

// carry takes bytes from one end to the other until the cable is closed. What a node does not take
// in time is lost.
func (c *SerialCable) carry(from int) {
	buf := make([]byte, 4096)
	for {
		n, err := c.ends[from].Read(buf)
		if err != nil {
			return
		}
		c.mu.Lock()
		c.said[from].Write(buf[:n])
		cut := c.cut
		c.mu.Unlock()
		if cut {
			continue
		}
		to := c.ends[1-from]
		if err := to.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			return
		}
		_, _ = to.Write(buf[:n])
	}
}

// close ends carrying.
func (c *SerialCable) close() error {
	var errs []error
	for i := range c.ends {
		if c.ends[i] != nil {
			errs = append(errs, c.ends[i].Close(), c.devices[i].Close())
		}
	}
	c.wg.Wait()
	return errors.Join(errs...)
}

// silence makes a terminal that neither echoes nor waits for lines.
func silence(device *os.File) error {
	raw, err := device.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		t, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
		if err == nil {
			t.Iflag, t.Oflag = 0, t.Oflag&^unix.OPOST
			t.Lflag &^= unix.ECHO | unix.ICANON | unix.ISIG
			err = unix.IoctlSetTermios(int(fd), unix.TCSETS, t)
		}
		failed = err
	})
	return errors.Join(failed, err)
}
