package lab

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Dial connects from the node to an address, which is numeric.
func (n *Node) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	var c net.Conn
	err := n.Do(func() (err error) {
		d := net.Dialer{FallbackDelay: -1} // one address, one goroutine: this one
		c, err = d.DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// Listen listens in the node; the socket outlives a PowerOff, which its network does not.
func (n *Node) Listen(network, addr string) (net.Listener, error) {
	var l net.Listener
	err := n.Do(func() (err error) {
		return freed(func() (err error) {
			l, err = net.Listen(network, addr)
			return err
		})
	})
	return l, err
}

// ListenPacket opens a datagram socket in the node.
func (n *Node) ListenPacket(network, addr string) (net.PacketConn, error) {
	var c net.PacketConn
	err := n.Do(func() (err error) {
		return freed(func() (err error) {
			c, err = net.ListenPacket(network, addr)
			return err
		})
	})
	return c, err
}

// freed opens a socket at a port that this process may have closed a moment ago: a child between its
// fork and its exec has a copy of every descriptor, and so the port until then.
func freed(open func() error) error {
	err := open()
	for end := time.Now().Add(2 * time.Second); errors.Is(err, unix.EADDRINUSE) && time.Now().Before(end); err = open() {
		time.Sleep(5 * time.Millisecond)
	}
	return err
}

// HTTPClient returns a client whose connections start at the node, a new one for each request. It
// resolves no names.
func (n *Node) HTTPClient() *http.Client {
	return &http.Client{
		Timeout:   5 * time.Second,
		Transport: &http.Transport{DialContext: n.Dial, DisableKeepAlives: true},
	}
}

// Site is an HTTP server of a node, run by this process.
type Site struct {
	server *http.Server
	done   chan struct{}
	once   sync.Once
	err    error
}

// Serve answers HTTP requests at addr (":80") of the node until the site or the network is closed.
func (n *Node) Serve(addr string, h http.Handler) (*Site, error) {
	l, err := n.Listen("tcp4", addr)
	if err != nil {
		return nil, err
	}
	s := &Site{server: &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}, done: make(chan struct{})}
	go func() { // ends by Close
		defer close(s.done)
		if err := s.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.err = err
		}
	}()
	n.net.onClose(s.Close)
	return s, nil
}

// Close ends the site: its port answers a new connection with a reset, and open ones are cut.
func (s *Site) Close() error {
	s.once.Do(func() {
		err := s.server.Close()
		<-s.done
		s.err = errors.Join(s.err, err)
	})
	return s.err
}
