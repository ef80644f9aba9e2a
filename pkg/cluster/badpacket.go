package cluster

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/hbauth"
)

// The original logs up to twenty lines for each bad packet. Here one packet of a kind is logged in
// full, and those that follow within quietFor are counted.
const (
	quietFor     = time.Minute
	maxDump      = 40  // fields of a dump
	maxDumpValue = 200 // bytes of a value in it
)

type throttle struct {
	until   time.Time
	skipped int
}

// complaints are what is wrong with packets: counted, and told at a limited rate.
type complaints struct {
	now   time.Time
	quiet bool // log_badpack off
	tell  func(Level, string)
	bad   BadPackets
	kinds map[string]*throttle
}

// silent tells whether a complaint of that kind would not be told now.
func (c *complaints) silent(kind string) bool {
	t := c.kinds[kind]
	return c.quiet || t != nil && c.now.Before(t.until)
}

// skip counts a complaint of a kind that is silent.
func (c *complaints) skip(kind string) {
	if t := c.kinds[kind]; t != nil {
		t.skipped++
	}
}

// allow tells whether a complaint of that kind may be logged now. The first one after a silence
// says how many there were.
func (c *complaints) allow(kind string, level Level) bool {
	t := c.kinds[kind]
	if t == nil {
		t = &throttle{}
		c.kinds[kind] = t
	}
	if c.now.Before(t.until) {
		t.skipped++
		return false
	}
	if t.skipped > 0 {
		c.tell(level, fmt.Sprintf("%d more of the following kind were not logged.", t.skipped))
	}
	t.until, t.skipped = c.now.Add(quietFor), 0
	return true
}

// open decodes and verifies a packet. What fails is counted and told of.
func (c *complaints) open(ring *hbauth.Ring, in Received) (*hamsg.Msg, bool) {
	p, err := hamsg.Decode(in.Bytes)
	if err != nil {
		c.bad.Malformed++
		c.badSyntax(in, err)
		return nil, false
	}
	if err := ring.Verify(p); err != nil {
		c.bad.Unsigned++
		var refused *hbauth.Error
		if errors.As(err, &refused) {
			c.badAuth(in, p, refused, ring.Numbered())
		}
		return nil, false
	}
	m, err := p.Msg.Inflate()
	if err != nil {
		c.bad.Malformed++
		c.badSyntax(in, err)
		return nil, false
	}
	return m, true
}

// badSyntax complains of a packet that does not decode. What is no message at all is dropped
// without a word, as by the original.
func (c *complaints) badSyntax(in Received, err error) {
	if errors.Is(err, hamsg.ErrForeign) || c.quiet || !c.allow("syntax", Error) {
		return
	}
	c.tell(Error, fmt.Sprintf("Bad packet of %d bytes on link %s from %s: %v", len(in.Bytes), in.Link, orUnknown(in.From, "?"), err))
}

// badAuth complains of a packet that does not verify. The MAC that would have been right is cut: who
// reads the log could send the packet again with it. ours tells whether all nodes are to be of our kind.
func (c *complaints) badAuth(in Received, p *hamsg.Packet, refused *hbauth.Error, ours bool) {
	if c.quiet || !c.allow("auth", Error) {
		return
	}
	if ours {
		c.tell(Error, fmt.Sprintf("Packets from %s on link %s in the name of node %s are refused: this node signs with hmac-sha256 and has no such key."+
			" Does an original heartbeat, or a node with other keys, run there?", orUnknown(in.From, "?"), in.Link, orUnknown(oneLine(p.Get(hamsg.FOrig)), "?")))
	}
	if p.Format == hamsg.Text {
		if refused.Reason == hbauth.UnknownKey {
			c.tell(Warn, fmt.Sprintf("Invalid authentication type [%d] in message!", refused.Key))
		}
		c.tell(Warn, "string2msg_ll: node ["+oneLine(p.Get(hamsg.FOrig))+"] failed authentication")
		return
	}
	switch refused.Reason {
	case hbauth.UnknownKey:
		c.tell(Warn, fmt.Sprintf("Invalid authentication [%d] in message!", refused.Key))
	case hbauth.Mismatch:
		c.tell(Error, "authtoken does not match, authtoken="+oneLine(refused.Got)+", authstr="+clip(refused.Want, 8)+"...")
	default:
		c.tell(Error, "peel_netstring() error in getting auth string")
	}
	c.tell(Error, "netstring authentication failed, s="+printable(in.Bytes)+", autotoken="+oneLine(p.Auth))
	c.dump(&p.Msg)
}

// dump logs a message's fields.
func (c *complaints) dump(m *hamsg.Msg) {
	fields := m.Fields()
	c.tell(Error, "MSG: Dumping message with "+strconv.Itoa(len(fields))+" fields")
	for i, f := range fields {
		if i == maxDump {
			return
		}
		text := oneLine(f.Name) + "=" + oneLine(f.Value)
		if f.Kind != hamsg.String {
			text = fmt.Sprintf("(%d)%s=%x(%d)", f.Kind, oneLine(f.Name), clip(f.Value, maxDumpValue), len(f.Value))
		}
		c.tell(Error, fmt.Sprintf("MSG[%d] : [%s]", i, text))
	}
}

// printable is the beginning of a packet up to its first unprintable byte, on one line.
func printable(b []byte) string {
	s := strings.ReplaceAll(clip(string(b), maxDumpValue), "\n", " ")
	if i := strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }); i >= 0 {
		s = s[:i]
	}
	return s
}

// oneLine is the beginning of s with what would disturb a log shown as '?'.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, clip(s, maxDumpValue))
}

// replayed complains of an old generation.
func (e *Engine) replayed(n *node, gen uint64) {
	if e.allow("replay", Error) {
		e.log(Error, fmt.Sprintf("should_drop_message: attempted replay attack [%s]? [gen = %d, curgen = %d]", n.Name, gen, n.generation))
	}
}
