package cluster

import (
	"errors"
	"fmt"
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

// allow tells whether a complaint of that kind may be logged now. The first one after a silence
// says how many there were.
func (e *Engine) allow(kind string, level Level) bool {
	t := e.throttle[kind]
	if t == nil {
		t = &throttle{}
		e.throttle[kind] = t
	}
	if e.now.Before(t.until) {
		t.skipped++
		return false
	}
	if t.skipped > 0 {
		e.log(level, fmt.Sprintf("%d more of the following kind were not logged.", t.skipped))
	}
	t.until, t.skipped = e.now.Add(quietFor), 0
	return true
}

// badSyntax complains of a packet that does not decode. What is no message at all is dropped
// without a word, as by the original.
func (e *Engine) badSyntax(in Received, err error) {
	if errors.Is(err, hamsg.ErrForeign) || e.cfg.QuietBadPackets || !e.allow("syntax", Error) {
		return
	}
	e.log(Error, fmt.Sprintf("Bad packet of %d bytes on link %s from %s: %v", len(in.Bytes), in.Link, orUnknown(in.From, "?"), err))
}

// badAuth complains of a packet that does not verify.
func (e *Engine) badAuth(in Received, p *hamsg.Packet, refused *hbauth.Error) {
	if e.cfg.QuietBadPackets || !e.allow("auth", Error) {
		return
	}
	if p.Format == hamsg.Text {
		if refused.Reason == hbauth.UnknownKey {
			e.log(Warn, fmt.Sprintf("Invalid authentication type [%d] in message!", refused.Key))
		}
		e.log(Warn, "string2msg_ll: node ["+oneLine(p.Get(hamsg.FOrig))+"] failed authentication")
		return
	}
	switch refused.Reason {
	case hbauth.UnknownKey:
		e.log(Warn, fmt.Sprintf("Invalid authentication [%d] in message!", refused.Key))
	case hbauth.Mismatch:
		e.log(Error, "authtoken does not match, authtoken="+oneLine(refused.Got)+", authstr="+refused.Want)
	default:
		e.log(Error, "peel_netstring() error in getting auth string")
	}
	e.log(Error, "netstring authentication failed, s="+printable(in.Bytes)+", autotoken="+oneLine(p.Auth))
	e.dump(&p.Msg)
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
