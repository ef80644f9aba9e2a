package ipvs

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Format is how ipvsadm -L shows a table. Stats wins over Rate, Rate over Thresholds,
// Thresholds over PersistentConn, that over TunInfo.
type Format struct {
	Stats          bool // --stats
	Rate           bool // --rate
	Thresholds     bool // --thresholds
	PersistentConn bool // --persistent-conn; with -c it adds the persistence engine's columns
	TunInfo        bool // --tun-info
	Exact          bool // --exact: whole numbers however long
}

// AppendListing appends what ipvsadm -L prints for entries, in their order ([SortEntries] has
// ipvsadm's). info is for its first line; nil leaves that line out, as -L with a service does.
func AppendListing(b []byte, info *Info, entries []Entry, f Format, names Names) []byte {
	if info != nil {
		b = fmt.Appendf(b, "IP Virtual Server version %d.%d.%d (size=%d)\n", info.Version[0], info.Version[1], info.Version[2], info.ConnSize)
	}
	b = append(b, f.title()...)
	for _, e := range entries {
		b = f.appendService(b, e, names)
		for _, d := range e.Dests {
			b = f.appendDest(b, e.Protocol, d, names)
		}
	}
	return b
}

func (f Format) title() string {
	switch {
	case f.Stats:
		return "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes\n  -> RemoteAddress:Port\n"
	case f.Rate:
		return "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS\n  -> RemoteAddress:Port\n"
	case f.Thresholds:
		return "Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn \n  -> RemoteAddress:Port\n"
	case f.PersistentConn:
		return "Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn \n  -> RemoteAddress:Port\n"
	case f.TunInfo:
		return "Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn\n"
	}
	return "Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
}

func (f Format) appendService(b []byte, e Entry, names Names) []byte {
	name := fmt.Sprintf("%-4s ", strings.ToUpper(e.Protocol.String()))
	if e.FWMark != 0 {
		name = fmt.Sprintf("FWM  %d", int32(e.FWMark))
		if e.Family == IPv6 {
			name += " IPv6"
		}
	} else {
		name += listed(names, e.Addr, e.Protocol)
	}
	if f.Stats || f.Rate {
		return f.appendStats(fmt.Appendf(b, "%-33s", name), e.Stats)
	}
	b = append(append(append(b, name...), ' '), e.Scheduler...)
	if e.SchedFlags != 0 {
		b = fmt.Appendf(b, " (%s)", schedFlagNames(e.Service))
	}
	if e.Persistent != 0 {
		b = fmt.Appendf(b, " persistent %d", e.Persistent)
		if mask := maskText(e.Service); mask != "" {
			b = append(b, " mask "+mask...)
		}
		if e.PE != "" {
			b = append(b, " pe "+e.PE...)
		}
	}
	if e.OnePacket {
		b = append(b, " ops"...)
	}
	return append(b, '\n')
}

func (f Format) appendDest(b []byte, proto Protocol, d DestEntry, names Names) []byte {
	b = fmt.Appendf(b, "  -> %-28s", listed(names, d.Addr, proto))
	switch {
	case f.Stats, f.Rate:
		return f.appendStats(b, d.Stats)
	case f.Thresholds:
		b = fmt.Appendf(b, " %-10d %-10d", d.UpperThreshold, d.LowerThreshold)
	case f.PersistentConn:
		b = fmt.Appendf(b, " %-9d %-11d", d.Weight, d.PersistConns)
	case f.TunInfo:
		b = fmt.Appendf(b, " %-7s %-13s %-6d", forwardTitle(d.Forward), tunnelInfo(d.Dest), d.Weight)
	default:
		b = fmt.Appendf(b, " %-7s %-6d", forwardTitle(d.Forward), d.Weight)
	}
	return fmt.Appendf(b, " %-10d %-10d\n", d.ActiveConns, d.InactConns)
}

func (f Format) appendStats(b []byte, s Stats) []byte {
	columns := [5]uint64{s.Conns, s.InPkts, s.OutPkts, s.InBytes, s.OutBytes}
	if !f.Stats {
		columns = [5]uint64{s.CPS, s.InPPS, s.OutPPS, s.InBPS, s.OutBPS}
	}
	for _, v := range columns {
		b = append(b, f.number(v)...)
	}
	return append(b, '\n')
}

// number is a counter in nine columns: exact, or in thousands, millions, ... once it would not fit.
func (f Format) number(v uint64) string {
	switch {
	case v < 100_000_000:
		return fmt.Sprintf("%9d", v)
	case f.Exact:
		return fmt.Sprintf(" %d", v)
	case v < 1_000_000_000:
		return fmt.Sprintf("%8dK", v/1000)
	case v < 100_000_000_000:
		return fmt.Sprintf("%8dM", v/1_000_000)
	case v < 100_000_000_000_000:
		return fmt.Sprintf("%8dG", v/1_000_000_000)
	}
	return fmt.Sprintf("%8dT", v/1_000_000_000_000)
}

// listed is an endpoint in a table listing: IPv4 ones are cut to their column.
func listed(names Names, a netip.AddrPort, proto Protocol) string {
	s := names.endpoint(a, proto)
	if a.Addr().Is4() {
		s = s[:min(len(s), maxEndpoint4)]
	}
	return s
}

// forwardTitle is the word of the Forward column; ipvsadm knows none for bypass.
func forwardTitle(f Forward) string {
	switch f {
	case Masq:
		return "Masq"
	case Local:
		return "Local"
	case Tunnel:
		return "Tunnel"
	case Route:
		return "Route"
	}
	return "(null)"
}

func tunnelInfo(d Dest) string {
	if d.Forward != Tunnel {
		return "n/a"
	}
	switch d.TunType {
	case GUE:
		return fmt.Sprintf("gue:%d:%s", d.TunPort, tunnelSums(d.TunFlags))
	case GRE:
		return "gre:" + tunnelSums(d.TunFlags)
	}
	return "ipip"
}

func tunnelSums(flags uint16) string {
	switch {
	case flags&TunCsum != 0:
		return "+c"
	case flags&TunRemCsum != 0:
		return "r+c"
	}
	return "-c"
}

// schedFlagNames lists the flags in the scheduler's own words, with commas.
func schedFlagNames(s Service) string {
	words := []string{"flag-1", "flag-2", "flag-3"}
	if s.Scheduler == "sh" || s.Scheduler == "mh" {
		words = []string{s.Scheduler + "-fallback", s.Scheduler + "-port"}
	}
	var set []string
	for i, w := range words {
		if s.SchedFlags&(SchedFlag1<<i) != 0 {
			set = append(set, w)
		}
	}
	return strings.Join(set, ",")
}

// maskText is the persistence mask if it is not the whole address.
func maskText(s Service) string {
	if s.Mask() == s.Family.Bits() {
		return ""
	}
	if s.Family == IPv6 {
		return strconv.Itoa(int(s.Mask()))
	}
	m := s.Mask4()
	return fmt.Sprintf("%d.%d.%d.%d", m[0], m[1], m[2], m[3])
}

// SortEntries sorts services and their destinations as ipvsadm lists them: services by firewall
// mark, family, protocol, address, port. Its comparison subtracts in 32 bits, so that addresses
// more than half the number space apart come out the other way round, and its order is what a
// merge sort by halves makes of that.
func SortEntries(entries []Entry) {
	mergeSort(entries, func(a, b Entry) int32 {
		return firstDifference(
			int32(a.FWMark-b.FWMark),
			int32(a.Family)-int32(b.Family),
			int32(a.Protocol)-int32(b.Protocol),
			compareEndpoints(a.Addr, b.Addr))
	})
	for _, e := range entries {
		mergeSort(e.Dests, func(a, b DestEntry) int32 { return compareEndpoints(a.Addr, b.Addr) })
	}
}

func firstDifference(d ...int32) int32 { return cmp.Or(d...) }

// compareEndpoints compares as many 32-bit words as the first address has; the words behind a
// shorter second address are zero.
func compareEndpoints(a, b netip.AddrPort) int32 {
	wa, wb := words(a.Addr()), words(b.Addr())
	n := 1
	if a.Addr().Is6() {
		n = len(wa)
	}
	for i := range n {
		if d := int32(wa[i] - wb[i]); d != 0 {
			return d
		}
	}
	return int32(a.Port()) - int32(b.Port())
}

// mergeSort is the algorithm of glibc's qsort: halves, the first the smaller one.
func mergeSort[T any](list []T, compare func(a, b T) int32) {
	if len(list) < 2 {
		return
	}
	half := len(list) / 2
	mergeSort(list[:half], compare)
	mergeSort(list[half:], compare)
	merged := make([]T, 0, len(list))
	a, b := list[:half], list[half:]
	for len(a) > 0 && len(b) > 0 {
		if compare(a[0], b[0]) <= 0 {
			merged, a = append(merged, a[0]), a[1:]
		} else {
			merged, b = append(merged, b[0]), b[1:]
		}
	}
	copy(list, append(append(merged, a...), b...))
}

// words is an address as 32-bit numbers; an IPv4 one is the first.
func words(a netip.Addr) (w [4]uint32) {
	b := a.AsSlice()
	for i := 0; i+4 <= len(b); i += 4 {
		w[i/4] = binary.BigEndian.Uint32(b[i:])
	}
	return w
}
