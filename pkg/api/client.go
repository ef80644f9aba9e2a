package api

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/systole-ha/systole/pkg/api/frame"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// Client is a program that has signed on with heartbeat, the original's or ours. It is not safe for
// use by several goroutines.
type Client struct {
	Daemon Daemon

	conn     net.Conn
	id       string
	pid      int
	in       frame.Buffer
	events   []*hamsg.Msg // what came while an answer was waited for
	deadline time.Time    // of questions

	interrupted, woken atomic.Bool
}

// Daemon is what a daemon tells of itself.
type Daemon struct {
	Node                string
	Version             string
	Deadtime, Keepalive time.Duration
	Facility            int    // syslog facility times 8, -1 for none
	Pacemaker           string // as ha.cf has it; "" if the daemon manages haresources
}

// RefusedError is a question, or a sign-on, that the daemon does not accept.
type RefusedError struct {
	Request string // "signon", "nodestatus", …
	Info    string // the daemon's reason; may be empty
	Daemon  Daemon // of a sign-on: who refuses
}

// Error is the request and the reason.
func (e *RefusedError) Error() string {
	if e.Info == "" {
		return fmt.Sprintf("heartbeat: %s refused", e.Request)
	}
	return fmt.Sprintf("heartbeat: %s refused: %s", e.Request, e.Info)
}

// ErrNoAnswer says that the other node has not answered in time.
var ErrNoAnswer = errors.New("no timely answer")

// ErrInterrupted is what waiting ends with after [Client.Interrupt], ErrWoken after [Client.Wake].
var (
	ErrInterrupted = errors.New("interrupted")
	ErrWoken       = errors.New("woken")
)

// Dial connects to the socket of a heartbeat and signs on. A client with a name can exchange messages
// with clients of that name on all nodes, and is to be allowed by ha.cf's apiauth; without a name
// ("") it is a casual one. Questions, and the sign-on, end with os.ErrDeadlineExceeded at deadline;
// zero is no limit. Errors are those of the connection, or a *RefusedError.
func Dial(path, name string, deadline time.Time) (*Client, error) {
	d := net.Dialer{Deadline: deadline}
	conn, err := d.Dial("unix", path)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, pid: os.Getpid(), id: name, deadline: deadline}
	if name == "" {
		c.id = strconv.Itoa(c.pid)
	}
	if err := c.signOn(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

func (c *Client) signOn() error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	c.Daemon.Node = host
	m, err := c.ask("signon", text(hamsg.FUID, strconv.Itoa(os.Geteuid())), text(hamsg.FGID, strconv.Itoa(os.Getegid())))
	var refused *RefusedError
	if err != nil && !errors.As(err, &refused) {
		return err
	}
	d := Daemon{
		Node: m.Get(hamsg.FNode), Version: m.Get(hamsg.FVersion), Facility: -1,
		Deadtime: milliseconds(m, hamsg.FAPIDeadtime), Keepalive: milliseconds(m, hamsg.FAPIKeepalive),
	}
	if n, ok := m.GetInt(hamsg.FFacility); ok {
		d.Facility = int(n)
	}
	switch v := m.Get(hamsg.FPacemaker); strings.ToLower(v) {
	case "", "false", "off", "no", "n", "0":
	default:
		d.Pacemaker = v
	}
	c.Daemon = d
	if refused != nil {
		refused.Daemon = d
		return refused
	}
	return nil
}

func milliseconds(m *hamsg.Msg, name string) time.Duration {
	n, _ := m.GetHex(name)
	return time.Duration(n) * time.Millisecond
}

func text(name, value string) hamsg.Field { return hamsg.Field{Name: name, Value: value} }

// SetDeadline sets when questions end that have no answer; zero is never.
func (c *Client) SetDeadline(t time.Time) { c.deadline = t }

// Close signs off.
func (c *Client) Close() error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(time.Second)) // a daemon that does not read notices the end
	err := c.put(c.request("signoff"))
	return errors.Join(err, c.conn.Close())
}

// request begins a question.
func (c *Client) request(kind string, fields ...hamsg.Field) *hamsg.Msg {
	m := hamsg.New(hamsg.TAPIRequest).Add(hamsg.FReqType, kind).Add(hamsg.FTo, c.Daemon.Node).
		SetInt(hamsg.FPID, int64(c.pid)).Add(hamsg.FFromID, c.id)
	for _, f := range fields {
		m.AddField(f)
	}
	return m
}

// put sends a message in the form that every heartbeat reads: text with a NUL.
func (c *Client) put(m *hamsg.Msg) error {
	body, err := m.AppendText(nil)
	if err != nil {
		return err
	}
	_, err = c.conn.Write(frame.Append(nil, append(body, 0)))
	return err
}

// get is the next message, no matter of what kind. Only who waits for any message can be woken.
func (c *Client) get(deadline time.Time, wakeable bool) (*hamsg.Msg, error) {
	buf := make([]byte, 4096)
	for {
		body, ok, err := c.in.Next()
		if err != nil {
			return nil, err
		}
		if ok {
			p, err := hamsg.Decode(body)
			if err != nil {
				return nil, err
			}
			return p.Inflate()
		}
		if err := c.conn.SetReadDeadline(deadline); err != nil {
			return nil, err
		}
		if c.interrupted.Load() {
			return nil, ErrInterrupted
		}
		if wakeable && c.woken.Swap(false) {
			return nil, ErrWoken
		}
		n, err := c.conn.Read(buf)
		c.in.Append(buf[:n])
		early := errors.Is(err, os.ErrDeadlineExceeded) && (deadline.IsZero() || time.Now().Before(deadline))
		if err != nil && n == 0 && !early { // early: interrupted or woken, see above
			return nil, err
		}
	}
}

// Interrupt has whatever waits for a message, now and later, end with ErrInterrupted. Another
// goroutine may call it.
func (c *Client) Interrupt() {
	c.interrupted.Store(true)
	c.stopReading()
}

// Wake has Receive end with ErrWoken once, now or the next time. Another goroutine may call it.
func (c *Client) Wake() {
	c.woken.Store(true)
	c.stopReading()
}

// stopReading ends a Read that is under way.
func (c *Client) stopReading() {
	_ = c.conn.SetReadDeadline(time.Unix(1, 0)) // fails when the connection is closed: then nobody reads
}

// answer waits for the answer to a question; what else comes is kept for Receive.
func (c *Client) answer(kind string) (*hamsg.Msg, error) {
	for {
		m, err := c.get(c.deadline, false)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, fmt.Errorf("heartbeat: %s: %w", kind, err)
		}
		if m.Type() != hamsg.TAPIResponse || m.Get(hamsg.FReqType) != kind {
			c.events = append(c.events, m)
			continue
		}
		switch result := m.Get(hamsg.FResult); result {
		case "OK", "ok/more":
			return m, nil
		case "badreq", "fail":
			return m, &RefusedError{Request: kind, Info: m.Get(hamsg.FComment)}
		default:
			return nil, fmt.Errorf("heartbeat: %s: unexpected result %q", kind, result)
		}
	}
}

// ask asks a question that has one answer.
func (c *Client) ask(kind string, fields ...hamsg.Field) (*hamsg.Msg, error) {
	if err := c.conn.SetWriteDeadline(c.deadline); err != nil {
		return nil, err
	}
	if err := c.put(c.request(kind, fields...)); err != nil {
		return nil, fmt.Errorf("heartbeat: %s: %w", kind, err)
	}
	return c.answer(kind)
}

// list asks a question that may have several answers.
func (c *Client) list(kind string, fields ...hamsg.Field) ([]*hamsg.Msg, error) {
	m, err := c.ask(kind, fields...)
	var all []*hamsg.Msg
	for err == nil {
		all = append(all, m)
		if m.Get(hamsg.FResult) != "ok/more" {
			return all, nil
		}
		m, err = c.answer(kind)
	}
	return nil, err
}

// Node is a node as a daemon sees it.
type Node struct {
	Name   string
	Type   string // normal or ping
	Status string // init, up, active, dead, ping
}

// Nodes lists the nodes in the order of a node walk, which is the reverse of ha.cf's.
func (c *Client) Nodes() ([]Node, error) {
	answers, err := c.list("nodelist")
	if err != nil {
		return nil, err
	}
	var nodes []Node
	for _, m := range slices.Backward(answers) {
		n := Node{Name: m.Get(hamsg.FNode), Type: m.Get(hamsg.FNodeType), Status: m.Get(hamsg.FStatus)}
		if n.Status == "" { // daemons before 3.0.6 tell no more than the name
			if n.Status, err = c.NodeStatus(n.Name); err != nil {
				return nil, err
			}
		}
		if n.Type == "" {
			if n.Type, err = c.NodeType(n.Name); err != nil {
				return nil, err
			}
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

// field asks for one thing of a node.
func (c *Client) field(kind, node, name string) (string, error) {
	m, err := c.ask(kind, text(hamsg.FNode, node))
	if err != nil {
		return "", err
	}
	return m.Get(name), nil
}

// NodeStatus is a node's status. An unknown node is a *RefusedError, here and below.
func (c *Client) NodeStatus(node string) (string, error) {
	return c.field("nodestatus", node, hamsg.FStatus)
}

// NodeType is normal or ping.
func (c *Client) NodeType(node string) (string, error) {
	return c.field("nodetype", node, hamsg.FNodeType)
}

// NodeWeight is what hb_setweight has set.
func (c *Client) NodeWeight(node string) (string, error) {
	return c.field("nodeweight", node, hamsg.FWeight)
}

// NodeSite is what hb_setsite has set.
func (c *Client) NodeSite(node string) (string, error) {
	return c.field("nodesite", node, hamsg.FSite)
}

// Link is a link to a node.
type Link struct {
	Name   string
	Status string // up or dead
}

// Links lists the links to a node, each name once, in the order of a walk: the reverse of ha.cf's.
func (c *Client) Links(node string) ([]Link, error) {
	answers, err := c.list("iflist", text(hamsg.FNode, node))
	if err != nil {
		return nil, err
	}
	var links []Link
	for _, m := range slices.Backward(answers) {
		l := Link{Name: m.Get(hamsg.FIfName), Status: m.Get(hamsg.FStatus)}
		if slices.ContainsFunc(links, func(had Link) bool { return had.Name == l.Name }) {
			continue
		}
		if l.Status == "" {
			if l.Status, err = c.LinkStatus(node, l.Name); err != nil {
				return nil, err
			}
		}
		links = append(links, l)
	}
	return links, nil
}

// LinkStatus is a link's status.
func (c *Client) LinkStatus(node, link string) (string, error) {
	m, err := c.ask("ifstatus", text(hamsg.FNode, node), text(hamsg.FIfName, link))
	if err != nil {
		return "", err
	}
	return m.Get(hamsg.FStatus), nil
}

// ClientStatus is whether a client is signed on at a node: online or offline. A node that does not
// answer within limit is ErrNoAnswer.
func (c *Client) ClientStatus(node, client string, limit time.Duration) (string, error) {
	if err := c.put(c.request("clientstatus", text(hamsg.FNode, node), text(hamsg.FClientName, client))); err != nil {
		return "", err
	}
	end := time.Now().Add(limit)
	for {
		m, err := c.get(end, false)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return "", fmt.Errorf("heartbeat: clientstatus: %w", ErrNoAnswer)
		case err != nil:
			return "", fmt.Errorf("heartbeat: clientstatus: %w", err)
		case m.Type() == hamsg.TRespondClient, m.Get(hamsg.FSubtype) == hamsg.TRespondClient:
			return m.Get(hamsg.FClientStat), nil
		case m.Type() == hamsg.TAPIResponse && m.Get(hamsg.FReqType) == "clientstatus":
			return "", &RefusedError{Request: "clientstatus", Info: m.Get(hamsg.FComment)}
		}
		c.events = append(c.events, m)
	}
}

// Param is a parameter of ha.cf; ok is false for one that is not known.
func (c *Client) Param(name string) (value string, ok bool, err error) {
	if name == "hbversion" && c.Daemon.Version != "" {
		return c.Daemon.Version, true, nil
	}
	m, err := c.ask("getparm", text(hamsg.FPName, name))
	if err != nil {
		return "", false, err
	}
	return m.Get(hamsg.FPValue), m.Has(hamsg.FPValue), nil
}

// Resources is what the node holds: none, local, foreign, all, or transition.
func (c *Client) Resources() (string, error) {
	m, err := c.ask("getrsc")
	if err != nil {
		return "", err
	}
	return m.Get(hamsg.FResources), nil
}

// SetFilter chooses the kinds of messages to be told; 1 is the ordinary ones.
func (c *Client) SetFilter(mask uint64) error {
	_, err := c.ask("setfilter", text(hamsg.FFilterMask, strconv.FormatUint(mask, 16)))
	return err
}

// SetSignal has the daemon send a signal with each message; 0 is none.
func (c *Client) SetSignal(n int) error {
	_, err := c.ask("setsignal", text(hamsg.FSignal, strconv.Itoa(n)))
	return err
}

// Send sends a message to the clients of this name on all nodes, this one included, or, if it has a
// field dest, on that node.
func (c *Client) Send(m *hamsg.Msg) error {
	if err := c.conn.SetWriteDeadline(c.deadline); err != nil {
		return err
	}
	return c.put(m)
}

// Receive is the next message that is no answer. It returns os.ErrDeadlineExceeded at deadline (zero
// is never), and io.EOF when the daemon has ended.
func (c *Client) Receive(deadline time.Time) (*hamsg.Msg, error) {
	if c.woken.Swap(false) {
		return nil, ErrWoken
	}
	if len(c.events) > 0 {
		m := c.events[0]
		c.events = c.events[1:]
		return m, nil
	}
	return c.get(deadline, true)
}
