package cluster

import (
	"strconv"
	"strings"

	"github.com/systole-ha/systole/pkg/cluster/seqtrack"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// send gives a message its control fields, sends it on all media, and takes it as one that we
// have received ourselves, before it returns: many states change by our own messages.
//
// The original does the last two in the other order, so that what it sends in answer to its own
// message overtakes that; its peers then log lost packets. Here messages leave in the order of
// their numbers.
func (e *Engine) send(m *hamsg.Msg) {
	if e.end.silent && m.Type() != hamsg.TShutDone {
		return
	}
	if to := m.Get(hamsg.FTo); to != "" {
		if n := e.node(to); n != nil {
			m.SetUUID(hamsg.FToUUID, n.uuid)
		}
	}
	m.Set(hamsg.FOrig, e.cfg.Node)
	m.SetUUID(hamsg.FOrigUUID, e.cfg.UUID)
	sequenced := !m.Unsequenced()
	if sequenced {
		m.SetHex(hamsg.FSeq, e.history.High()+1)
	}
	m.SetHex(hamsg.FGeneration, e.cfg.Generation)
	m.SetHex(hamsg.FTime, uint64(e.wall()))
	if sequenced {
		m.Set(hamsg.FLoad, e.load())
	}
	m.SetInt(hamsg.FTTL, int64(e.cfg.Hopfudge+len(e.nodes)))
	packet := e.seal(m, !e.cfg.Netstring && !m.NetstringOnly())
	if sequenced {
		e.keep(m)
	}
	e.emit(Send{Bytes: packet, Type: m.Type()})
	if m.Type() == hamsg.TStatus {
		e.ping(m.Get(hamsg.FTime))
	}
	e.process(m, "", "")
}

// wire is a message as a packet: signed, and compressed if it is to be. What decodes, and only that
// is sent, is never too long when it is compressed.
func (e *Engine) wire(m *hamsg.Msg) []byte {
	limit := hamsg.MaxMessage - 1
	if e.cfg.Compress {
		limit = min(limit, e.cfg.CompressOver)
	} else {
		m = m.DeflateFields()
	}
	packet := e.ring.AppendWire(nil, m)
	if len(packet) > limit {
		packed := m.Deflate()
		if e.ring.Numbered() {
			// What a packet is known by is to be seen without unpacking it.
			for _, name := range []string{hamsg.FType, hamsg.FOrig, hamsg.FSeq, hamsg.FGeneration, hamsg.FTime, hamsg.FRun, hamsg.FPacket, hamsg.FEcho} {
				if f, ok := m.Lookup(name); ok {
					packed.SetField(f)
				}
			}
		}
		return e.ring.AppendWire(nil, packed)
	}
	return packet
}

// seal signs a message and makes a packet of it, a numbered one with keys that ask for that. stamp
// says whether it gets a signature in text form, too.
func (e *Engine) seal(m *hamsg.Msg, stamp bool) []byte {
	e.number(m)
	if stamp {
		e.ring.Stamp(m)
	}
	return e.wire(m)
}

// number gives a message the number of the packet that it is to be, if the keys ask for one.
func (e *Engine) number(m *hamsg.Msg) {
	if !e.ring.Numbered() {
		return
	}
	e.packets++
	m.SetHex(hamsg.FRun, e.cfg.Run)
	m.SetHex(hamsg.FPacket, e.packets)
	m.Set(hamsg.FEcho, e.echoes())
}

// echoes tells each node which run of its we hear.
func (e *Engine) echoes() string {
	var text []byte
	for _, n := range e.nodes {
		if n.run != 0 {
			text = append(append(text, n.Name...), '=')
			text = append(strconv.AppendUint(text, n.run, 16), ' ')
		}
	}
	return string(text)
}

func (e *Engine) load() string {
	if e.cfg.Load != nil {
		if text := strings.TrimRight(e.cfg.Load(), "\n"); text != "" {
			return text
		}
	}
	return "n/a"
}

// keep remembers a message that may have to be sent again.
func (e *Engine) keep(m *hamsg.Msg) {
	if e.table.Alive() < 2 && e.history.High() > maxUnacked {
		// Nobody is there to acknowledge.
		e.history.Ack(e.history.High() - maxUnacked)
	}
	kept, filling := e.history.Add(m, e.now)
	if filling == seqtrack.NotFilling || e.table.Alive() < 2 || !e.flowControl {
		return
	}
	level := Warn
	if filling == seqtrack.FillingError {
		level = Error
	}
	e.log(level, "Message hist queue is filling up ("+strconv.FormatUint(kept, 10)+" messages in queue)")
}

// ping has each ping node and group asked, with what we want to hear from it as payload.
func (e *Engine) ping(ts string) {
	for _, p := range e.cfg.Pings {
		m := hamsg.New(hamsg.TPingStatus).Add(hamsg.FStatus, "ping").Add(hamsg.FComment, p.Plugin).
			Add(hamsg.FOrig, p.Name).Add(hamsg.FTime, ts)
		e.number(m)
		e.ring.Stamp(m)
		e.emit(Send{Media: p.Name, Bytes: e.ring.AppendWire(nil, m), Type: m.Type()})
	}
}

// sendStatus sends a heartbeat.
func (e *Engine) sendStatus() {
	m := hamsg.New(hamsg.TStatus).Add(hamsg.FStatus, e.self.Status).
		SetHex(hamsg.FDeadTime, uint64(e.deadtime.Milliseconds()))
	if e.flowControl {
		m.Add(hamsg.FProtocol, "1")
	}
	e.toRepeat(m)
	e.send(m)
}

// setStatus changes our own status, and says so.
func (e *Engine) setStatus(status string) {
	e.self.Status = status
	e.emit(NodeChanged{Node: e.cfg.Node, Status: status})
	e.sendStatus()
	e.log(Info, "Local status now set to: '"+status+"'")
}

// said sends what a local program wants to be sent.
func (e *Engine) said(text []byte) {
	p, err := hamsg.Decode(text)
	if err != nil {
		e.badLocal(err.Error(), text)
		return
	}
	m := p.Msg.Clone()
	m.Del(hamsg.FAuth)
	if m.Type() == "" {
		e.badLocal("no message type", text)
		return
	}
	if m.Type() == hamsg.TAskResources && e.rsc.Refuses(m) {
		return
	}
	e.send(m)
}

// badLocal complains of a local program's message.
func (e *Engine) badLocal(why string, text []byte) {
	if e.allow("local", Warn) {
		e.log(Warn, "Message of a local program dropped: "+why+": "+strconv.QuoteToASCII(clip(string(text), 200)))
	}
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
