package hamsg

// Outline is a packet in netstring form, looked at and not decoded: what is needed to check its
// signature, and to tell whether it is new. All is a part of the packet, and no memory is spent, so that
// a packet which may be anybody's costs little.
type Outline struct {
	Signed []byte // what the authenticator covers
	Auth   []byte // the authenticator, "KEYNUMBER MAC"; empty if there is none
	// The values of the first fields of these names, as they stand there; nil if there is none.
	Type, Orig, Seq, Generation, Time, Run, Packet, Echo []byte
}

// Outlined looks at a packet. ok is false for what is not a whole message of netstring form, as far
// as lengths and marks tell: such a packet does not pass Decode. One that is may still not.
func Outlined(packet []byte) (o Outline, ok bool) {
	if len(packet) < len(netStart) || string(packet[:len(netStart)]) != netStart || len(packet) >= MaxMessage {
		return o, false
	}
	rest := packet[len(netStart):]
	for len(rest) < len(netEnd) || string(rest[:len(netEnd)]) != netEnd {
		var item []byte
		if item, rest, ok = cutItem(rest); !ok {
			return o, false
		}
		o.note(item)
	}
	o.Signed = packet[: len(packet)-len(rest)+len(netEnd) : len(packet)-len(rest)+len(netEnd)]
	o.Auth, _, _ = cutItem(rest[len(netEnd):])
	return o, true
}

// note keeps the value of a field that is asked for.
func (o *Outline) note(item []byte) {
	if len(item) < 3 || string(item[:3]) != "(0)" {
		return
	}
	item = item[3:]
	for _, f := range []struct {
		name string
		at   *[]byte
	}{{FType, &o.Type}, {FOrig, &o.Orig}, {FSeq, &o.Seq}, {FGeneration, &o.Generation}, {FTime, &o.Time}, {FRun, &o.Run}, {FPacket, &o.Packet}, {FEcho, &o.Echo}} {
		n := len(f.name)
		if *f.at == nil && len(item) > n && item[n] == '=' && string(item[:n]) == f.name {
			*f.at = item[n+1:]
			return
		}
	}
}
