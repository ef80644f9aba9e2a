package compat

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/systole-ha/systole/pkg/lab"
)

// sideFarm is the real servers of both directors: one host with an address for each.
type sideFarm struct {
	*lab.Node
	web map[int]*sideServer
	post
}

// post is the mails that came, by whom they came from.
type post struct {
	mu    sync.Mutex
	mails map[netip.Addr][]string
}

// take returns what came since the last time, and forgets it.
func (p *post) take(from netip.Addr) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	mails := p.mails[from]
	delete(p.mails, from)
	return mails
}

// sideServer is the services of 10.9.0.N and fd09::N.
type sideServer struct {
	t     *testing.T
	node  *lab.Node
	n     int
	ports map[int]func(*bufio.Reader, net.Conn)

	mu        sync.Mutex
	listeners []net.Listener
	conns     map[net.Conn]bool
	hung      bool
}

// ports is what the servers speak, by port.
func (p *post) ports() map[int]func(*bufio.Reader, net.Conn) {
	return map[int]func(*bufio.Reader, net.Conn){
		80: webPage, 8080: webPage, 25: p.mailbox, 7: echoBack,
		119: func(_ *bufio.Reader, c net.Conn) { fmt.Fprint(c, "200 news\r\n") },
	}
}

func newSideFarm(t *testing.T, n *lab.Network) *sideFarm {
	var addrs []netip.Prefix
	for i := 11; i <= 16; i++ {
		addrs = append(addrs, netip.MustParsePrefix(fmt.Sprintf("10.9.0.%d/24", i)), netip.MustParsePrefix(fmt.Sprintf("fd09::%d/64", i)))
	}
	node, err := n.AddNode(lab.NodeSpec{Name: "farm", Links: []lab.Link{{Addrs: addrs}}})
	if err != nil {
		t.Fatal(err)
	}
	f := &sideFarm{Node: node, web: map[int]*sideServer{}, post: post{mails: map[netip.Addr][]string{}}}
	for i := 11; i <= 14; i++ {
		s := &sideServer{t: t, node: node, n: i, ports: f.ports(), conns: map[net.Conn]bool{}}
		f.web[i] = s
		s.start()
		t.Cleanup(s.stop)
	}
	return f
}

// start has all services answer. One that does is left alone: a check would see it restart.
func (s *sideServer) start() {
	s.mu.Lock()
	answers := s.listeners != nil && !s.hung
	s.mu.Unlock()
	if answers {
		return
	}
	s.stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for port, speak := range s.ports {
		for _, host := range []string{fmt.Sprintf("10.9.0.%d", s.n), fmt.Sprintf("fd09::%d", s.n)} {
			l, err := s.node.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
			if err != nil {
				s.t.Fatal(err)
			}
			s.listeners = append(s.listeners, l)
			go s.serve(l, speak) // ends with the listener
		}
	}
}

// stop refuses connections.
func (s *sideServer) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.listeners {
		l.Close()
	}
	for c := range s.conns {
		c.Close()
	}
	s.listeners, s.hung = nil, false
}

// hang accepts connections and says nothing.
func (s *sideServer) hang() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hung = true
}

func (s *sideServer) serve(l net.Listener, speak func(*bufio.Reader, net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.conns[c] = true
		hung := s.hung
		s.mu.Unlock()
		go func() {
			defer func() {
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
				c.Close()
			}()
			if hung {
				_, _ = io.Copy(io.Discard, c) // until the other side has had enough
				return
			}
			speak(bufio.NewReader(c), c)
		}()
	}
}

// webPage answers one request.
func webPage(r *bufio.Reader, c net.Conn) {
	first, err := r.ReadString('\n')
	if err != nil {
		return
	}
	host := ""
	for line := first; strings.TrimSpace(line) != ""; {
		if line, err = r.ReadString('\n'); err != nil {
			return
		}
		if name, value, _ := strings.Cut(line, ":"); strings.EqualFold(name, "host") {
			host = strings.TrimSpace(value)
		}
	}
	page, status := "Test HA Page\n", "200 OK"
	switch {
	case strings.Contains(first, "/host.html"):
		page = "this is " + host + "\n"
	case strings.Contains(first, "/none.html"):
		page, status = "no such page\n", "404 Not Found"
	}
	fmt.Fprintf(c, "HTTP/1.1 %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", status, len(page))
	if !strings.HasPrefix(first, "HEAD") {
		fmt.Fprint(c, page)
	}
}

// mailbox takes any mail. What no two mails have in common it leaves out.
func (p *post) mailbox(r *bufio.Reader, c net.Conn) {
	fmt.Fprint(c, "220 mail.lab.example ESMTP\r\n")
	data, text := false, ""
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " "); {
		case data && verb != ".":
			if !strings.HasPrefix(line, "Date:") && !strings.HasPrefix(line, "Message-ID:") && !strings.HasPrefix(line, "ldirectord host:") {
				text += line
			}
		case data:
			data = false
			p.mu.Lock()
			from := c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
			p.mails[from] = append(p.mails[from], text)
			p.mu.Unlock()
			text = ""
			fmt.Fprint(c, "250 taken\r\n")
		case verb == "DATA":
			data = true
			fmt.Fprint(c, "354 go on\r\n")
		case verb == "QUIT":
			fmt.Fprint(c, "221 bye\r\n")
			return
		default:
			fmt.Fprint(c, "250 ok\r\n")
		}
	}
}

func echoBack(r *bufio.Reader, c net.Conn) { _, _ = io.Copy(c, r) }
