package apphb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/systole-ha/systole/pkg/api/frame"
)

// answerLimit is how long apphbd may take.
const answerLimit = 5 * time.Second

// Client is a program that has registered with apphbd. It is not safe for use by several goroutines.
type Client struct{ conn net.Conn }

// Dial connects to apphbd's socket and registers.
func Dial(path, name, instance string) (*Client, error) {
	conn, err := net.DialTimeout("unix", path, answerLimit)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn}
	dir, err := os.Getwd()
	if err != nil {
		dir = "/"
	}
	err = c.ask(Message{
		Kind: Register, Name: name, Instance: instance, Dir: dir,
		PID: int32(os.Getpid()), UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

func (c *Client) put(m Message) error {
	if err := c.conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return err
	}
	_, err := c.conn.Write(frame.Append(nil, m.Append(nil)))
	return err
}

// ask sends a request and takes the answer, an error number.
func (c *Client) ask(m Message) error {
	if err := c.put(m); err != nil {
		return fmt.Errorf("apphbd: %s: %w", m.Kind, err)
	}
	body, err := frame.Read(c.conn)
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("apphbd: %s: %w", m.Kind, io.ErrUnexpectedEOF)
	case err != nil:
		return fmt.Errorf("apphbd: %s: %w", m.Kind, err)
	case len(body) < 4:
		return fmt.Errorf("apphbd: %s: answer of %d bytes", m.Kind, len(body))
	}
	if n := binary.NativeEndian.Uint32(body); n != 0 {
		return fmt.Errorf("apphbd: %s: %w", m.Kind, syscall.Errno(n))
	}
	return nil
}

// Set sets the time of a kind: SetInterval, SetWarn or SetBoot.
func (c *Client) Set(k Kind, d time.Duration) error { return c.ask(Message{Kind: k, Time: d}) }

// Beat says that the program is alive.
func (c *Client) Beat() error { return c.put(Message{Kind: Beat}) }

// Close unregisters.
func (c *Client) Close() error { return errors.Join(c.ask(Message{Kind: Unregister}), c.conn.Close()) }
