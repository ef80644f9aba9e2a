package ipvs

import (
	"net/netip"
	"strings"
)

// CommandKind is what an ipvsadm command line asks for.
type CommandKind uint8

// The commands of ipvsadm 1.31.
const (
	CmdAddService  CommandKind = iota + 1 // -A
	CmdEditService                        // -E
	CmdDelService                         // -D
	CmdAddDest                            // -a
	CmdEditDest                           // -e
	CmdDelDest                            // -d
	CmdFlush                              // -C
	CmdZero                               // -Z
	CmdList                               // -L
	CmdSave                               // -S
	CmdRestore                            // -R
	CmdSetTimeouts                        // --set
	CmdStartDaemon                        // --start-daemon
	CmdStopDaemon                         // --stop-daemon
	CmdHelp                               // -h
	CmdVersion                            // -v
)

// opKinds are the commands that are one operation of a table.
var opKinds = map[CommandKind]OpKind{
	CmdAddService: AddService, CmdEditService: EditService, CmdDelService: DelService,
	CmdAddDest: AddDest, CmdEditDest: EditDest, CmdDelDest: DelDest, CmdFlush: Flush, CmdZero: Zero,
}

// ListWhat is what ipvsadm -L is to show.
type ListWhat uint8

// The listings of ipvsadm.
const (
	ListTable       ListWhat = iota // all services
	ListService                     // one service (-L -t ...)
	ListConnections                 // -L -c
	ListTimeouts                    // -L --timeout
	ListDaemons                     // -L --daemon
)

// Command is one ipvsadm command line, understood, with the defaults filled in.
type Command struct {
	Kind     CommandKind
	Op       Op         // of the commands that change the table; of -L its Service.VIP
	List     ListWhat   // of -L
	Format   Format     // of -L
	Numeric  bool       // -n, of -L and -S
	NoSort   bool       // --nosort, of -L
	Timeouts Timeouts   // of --set
	Daemon   SyncDaemon // of --start-daemon and --stop-daemon
}

// ChangesTable tells whether the command is carried out by Table.Do(c.Op).
func (c Command) ChangesTable() bool {
	_, ok := opKinds[c.Kind]
	return ok
}

// UsageError is a command line that ipvsadm refuses.
type UsageError struct {
	Text   string // what ipvsadm prints; empty if it points to its help instead
	Status int    // its exit status
	Arg    int    // index of the argument at fault, or the number of arguments for something missing
	Want   string // what would be accepted; may be empty
	// Goes says that ipvsadm -R carries on with the next line after this one.
	Goes bool
}

// Error is the text, or for a missing command what ipvsadm's pointer to its help means.
func (e *UsageError) Error() string {
	if e.Text == "" {
		return "no command"
	}
	return strings.TrimRight(e.Text, "\n")
}

// Limits and defaults of ipvsadm.
const (
	maxTimeout         = 31 * 24 * 60 * 60 // seconds; of -p and --set
	maxInt             = 1<<31 - 1         // of -w, -x, -y
	maxSyncLen         = 65535 - 20 - 8    // a UDP datagram's payload
	defaultScheduler   = "wlc"
	defaultPersistence = 360
	defaultWeight      = 1
	defaultInterface   = "eth0"
	maxSchedulerName   = 15
	maxInterfaceName   = 15
)

// ParseCommand understands the arguments of one ipvsadm command line, as version 1.31 does: in
// the same order, so that of several mistakes the same one is reported.
func ParseCommand(args []string, names Names) (Command, *UsageError) {
	p := commandParser{scanner: scanner{args: args}, names: names, wordOf: map[optionID]int{}}
	if err := p.parse(); err != nil {
		return Command{}, err
	}
	return p.Command, nil
}

type commandParser struct {
	Command
	scanner scanner
	names   Names
	given   optionSet
	wordOf  map[optionID]int // where an option stands
	flags   string           // of -b
}

func (p *commandParser) fail(at int, want, text string) *UsageError {
	return &UsageError{Text: text, Status: 2, Arg: at, Want: want}
}

func (p *commandParser) parse() *UsageError {
	o, value, _, at, bad := p.scanner.scan()
	if bad != nil || o == nil || o.id != optCommand {
		return &UsageError{Status: 255, Want: "a command first: -A, -E, -D, -C, -R, -S, -a, -e, -d, -L, -Z, --set, --start-daemon, --stop-daemon or -h"}
	}
	p.Kind = o.cmd
	p.Op.Kind = opKinds[o.cmd]
	p.Op.Dest.Forward, p.Op.Dest.Weight = Route, defaultWeight
	switch p.Kind {
	case CmdHelp, CmdVersion:
		return nil
	case CmdStartDaemon, CmdStopDaemon:
		if err := p.role(value, at); err != nil {
			return err
		}
	}
	for {
		o, value, given, at, bad := p.scanner.scan()
		if bad != nil {
			return &UsageError{Text: p.scanner.args[bad.arg] + ": " + bad.text, Status: 255, Arg: bad.arg, Goes: true}
		}
		if o == nil {
			break
		}
		if err := p.take(o, value, given, at); err != nil {
			return err
		}
	}
	if err := p.operands(); err != nil {
		return err
	}
	if err := p.schedFlags(); err != nil {
		return err
	}
	if text, about := grammars[p.Kind].check(p.given); text != "" {
		at, ok := p.wordOf[about]
		if !ok {
			at = len(p.scanner.args)
		}
		return p.fail(at, "", text)
	}
	return p.finish()
}

func (p *commandParser) role(value string, at int) *UsageError {
	switch value {
	case "master":
		p.Daemon.Role = SyncMaster
	case "backup":
		p.Daemon.Role = SyncBackup
	default:
		text := "illegal start-daemon parameter specified"
		if p.Kind == CmdStopDaemon {
			text = "illegal start_daemon specified"
		}
		return p.fail(at+1, "master or backup", text)
	}
	return nil
}

// operands takes the words that belong to no option: three numbers for --set, none else.
func (p *commandParser) operands() *UsageError {
	left := p.scanner.left
	if p.Kind == CmdSetTimeouts {
		if len(left) < 3 {
			return p.fail(len(p.scanner.args), "seconds for tcp, tcpfin and udp", "--set option requires 3 timeout values")
		}
		for i, to := range []*uint32{&p.Timeouts.TCP, &p.Timeouts.TCPFin, &p.Timeouts.UDP} {
			word := p.scanner.args[left[i]]
			v, ok := parseLong(word, 0, maxTimeout)
			if !ok {
				return p.fail(left[i], "0 to 2678400 seconds", "invalid timeout value `"+word+"' specified")
			}
			*to = uint32(v)
		}
		left = left[3:]
	}
	if len(left) > 0 {
		return p.fail(left[0], "", "unexpected argument "+p.scanner.args[left[0]])
	}
	return nil
}

// take deals with one option behind the command.
func (p *commandParser) take(o *option, value string, given bool, at int) *UsageError {
	if o.id == optCommand {
		return p.fail(at, "one command a line", "invalid option `"+p.scanner.args[p.scanner.next-1]+"'")
	}
	if o.id < checkedOptions {
		if p.given.has(o.id) {
			return p.fail(at, "", "multiple '"+optionNames[o.id]+"' options specified")
		}
		p.given |= setOf(o.id)
		p.wordOf[o.id] = at
	}
	if o.value != noValue && at < p.scanner.next-1 {
		at = p.scanner.next - 1 // the value's own word
	}
	switch {
	case o.id == optService || o.id == optIPv6 || o.id >= optScheduler && o.id <= optNetmask || o.id >= optOPS && o.id <= optSchedFlags:
		return p.takeService(o, value, given, at)
	case o.id >= optServer && o.id <= optLThreshold || o.id >= optTunType && o.id <= optTunRemCsum:
		return p.takeDest(o, value, at)
	case o.id == optMcastInterface || o.id == optSyncID || o.id >= optMcastGroup && o.id <= optSyncMaxLen:
		return p.takeDaemon(o, value, at)
	}
	switch o.id {
	case optNumeric:
		p.Numeric = true
	case optNoSort:
		p.NoSort = true
	case optConnection:
		p.List = ListConnections
	case optTimeout:
		p.List = ListTimeouts
	case optDaemon:
		p.List = ListDaemons
	case optStats:
		p.Format.Stats = true
	case optRate:
		p.Format.Rate = true
	case optThresholds:
		p.Format.Thresholds = true
	case optPersistentConn:
		p.Format.PersistentConn = true
	case optTunInfo:
		p.Format.TunInfo = true
	case optExact:
		p.Format.Exact = true
	}
	return nil
}

func (p *commandParser) takeService(o *option, value string, given bool, at int) *UsageError {
	s := &p.Op.Service
	switch o.id {
	case optService:
		if o.proto == 0 {
			mark, ok := parseLong(value, 1, 1<<32-1)
			if !ok {
				return p.fail(at, "a firewall mark of 1 to 4294967295", "invalid fwmark value `"+value+"' specified")
			}
			s.FWMark, s.Family = uint32(mark), IPv4
			break
		}
		a, _, ok := p.names.parseEndpoint(value, o.proto)
		if !ok {
			return p.fail(at, "ADDRESS:PORT", "illegal virtual server address[:port] specified")
		}
		s.Protocol, s.Addr, s.Family = o.proto, a, IPv4
		if a.Addr().Is6() {
			s.Family, s.Netmask, s.OddMask = IPv6, 0, netip.Addr{}
		}
	case optIPv6:
		if s.FWMark == 0 {
			return p.fail(at, "-6 behind -f MARK", "-6 used before -f\n")
		}
		s.Family, s.Netmask, s.OddMask = IPv6, 0, netip.Addr{}
	case optScheduler:
		s.Scheduler = value[:min(len(value), maxSchedulerName)]
	case optPersistent:
		s.Persistent = defaultPersistence
		if given {
			v, ok := parseLong(value, 1, maxTimeout)
			if !ok {
				return p.fail(at, "1 to 2678400 seconds", "invalid timeout value `"+value+"' specified")
			}
			s.Persistent = uint32(v)
		}
	case optNetmask:
		if s.Family == IPv6 {
			v := parsePrefix(value)
			if v < 1 || v > 128 {
				return p.fail(at, "a prefix length of 1 to 128", "illegal ipv6 netmask specified")
			}
			s.Netmask = uint8(v)
			break
		}
		mask, ok := parseAton(value)
		if !ok {
			return p.fail(at, "a mask like 255.255.255.0", "illegal virtual server persistent mask specified")
		}
		s.SetMask4(mask.As4())
	case optOPS:
		s.OnePacket = true
	case optPE:
		s.PE = value
	case optSchedFlags:
		p.flags = value
	}
	return nil
}

func (p *commandParser) takeDest(o *option, value string, at int) *UsageError {
	d := &p.Op.Dest
	number := func(to func(int64), lo, hi int64, want, text string) *UsageError {
		v, ok := parseLong(value, lo, hi)
		if !ok {
			return p.fail(at, want, text)
		}
		to(v)
		return nil
	}
	switch o.id {
	case optServer:
		proto := p.Op.Service.Protocol
		if p.Op.Service.FWMark != 0 {
			proto = TCP
		}
		a, ported, ok := p.names.parseEndpoint(value, proto)
		if !ok {
			return p.fail(at, "ADDRESS or ADDRESS:PORT", "illegal real server address[:port] specified")
		}
		if !ported {
			a = netip.AddrPortFrom(a.Addr(), p.Op.Service.Addr.Port())
		}
		d.Addr = a
	case optForward:
		d.Forward = o.fwd
	case optWeight:
		return number(func(v int64) { d.Weight = int32(v) }, 0, maxInt, "0 or more", "illegal weight specified")
	case optUThreshold:
		return number(func(v int64) { d.UpperThreshold = uint32(v) }, 0, maxInt, "0 or more", "illegal u_threshold specified")
	case optLThreshold:
		return number(func(v int64) { d.LowerThreshold = uint32(v) }, 0, maxInt, "0 or more", "illegal l_threshold specified")
	case optTunType:
		types := map[string]TunnelType{"ipip": IPIP, "gue": GUE, "gre": GRE}
		t, ok := types[value]
		if !ok {
			return p.fail(at, "ipip, gue or gre", "illegal tunnel type specified")
		}
		d.TunType = t
	case optTunPort:
		return number(func(v int64) { d.TunPort = uint16(v) }, 1, 65535, "1 to 65535", "illegal tunnel port specified")
	case optTunNoCsum:
		d.TunFlags |= TunNoCsum
	case optTunCsum:
		d.TunFlags |= TunCsum
	case optTunRemCsum:
		d.TunFlags |= TunRemCsum
	}
	return nil
}

func (p *commandParser) takeDaemon(o *option, value string, at int) *UsageError {
	d := &p.Daemon
	number := func(lo, hi int64, want string) (int64, *UsageError) {
		v, ok := parseLong(value, lo, hi)
		if !ok {
			return 0, p.fail(at, want, "illegal "+o.long+" specified")
		}
		return v, nil
	}
	switch o.id {
	case optMcastInterface:
		d.Iface = value[:min(len(value), maxInterfaceName)]
	case optSyncID:
		v, err := number(0, 255, "0 to 255")
		d.SyncID = uint8(v)
		return err
	case optSyncMaxLen:
		v, err := number(1, maxSyncLen, "1 to 65507")
		d.MaxLen = uint16(v)
		return err
	case optMcastPort:
		v, err := number(1, 65535, "1 to 65535")
		d.Port = uint16(v)
		return err
	case optMcastTTL:
		v, err := number(1, 255, "1 to 255")
		d.TTL = uint8(v)
		return err
	case optMcastGroup:
		a, ok := parseIPv6(value)
		if ok && a.IsMulticast() {
			d.Group = a
			break
		}
		if strings.Contains(value, ":") {
			return p.fail(at, "an IPv6 multicast address", "invalid IPv6 mcast-group `"+value+"'")
		}
		if a, ok = parseAton(value); !ok || !a.IsMulticast() {
			return p.fail(at, "a multicast address", "invalid IPv4 mcast-group `"+value+"'")
		}
		d.Group = a
	}
	return nil
}

// finish makes the checks that need all options, and fills in the defaults.
func (p *commandParser) finish() *UsageError {
	s, d := &p.Op.Service, &p.Op.Dest
	switch p.Kind {
	case CmdAddService, CmdEditService:
		if err := p.finishService(); err != nil {
			return err
		}
	case CmdAddDest, CmdEditDest:
		if s.FWMark == 0 && d.Forward != Masq {
			d.Addr = netip.AddrPortFrom(d.Addr.Addr(), s.Addr.Port())
		}
		if d.Addr.Addr().Is6() != (s.Family == IPv6) && d.Forward != Tunnel {
			return p.fail(p.wordOf[optServer], "an address of the service's family, or -i", "Different address family is allowed only for tunneling servers")
		}
		if tunnel := p.given & setOf(optTunType, optTunPort, optTunNoCsum, optTunCsum, optTunRemCsum); tunnel != 0 && d.Forward != Tunnel {
			return p.fail(p.wordOf[optTunType], "-i with tunnel options", "Tunnel options conflict with forward method")
		}
		if d.Forward == Tunnel {
			if text, about := tunnelGrammars[d.TunType].checkTunnel(p.given); text != "" {
				at, ok := p.wordOf[about]
				if !ok {
					at = len(p.scanner.args)
				}
				return p.fail(at, "", text)
			}
		}
	case CmdStartDaemon:
		if p.Daemon.Iface == "" {
			p.Daemon.Iface = defaultInterface
		}
	case CmdList:
		if p.given.has(optService) {
			p.List = ListService
		}
		f := p.Format
		columns := f.Stats || f.Rate || f.Thresholds
		if p.List == ListConnections && columns || (p.List == ListTimeouts || p.List == ListDaemons) && (columns || f.PersistentConn) {
			return p.fail(len(p.scanner.args), "", "options conflicts in the list command")
		}
	}
	return nil
}

func (p *commandParser) finishService() *UsageError {
	s := &p.Op.Service
	service := p.wordOf[optService] + 1
	if s.FWMark == 0 && s.Addr.Port() == 0 && s.Persistent == 0 {
		return p.fail(service, "ADDRESS:PORT, or -p", "Zero port specified for non-persistent service")
	}
	if s.OnePacket && s.FWMark == 0 && s.Protocol != UDP {
		return p.fail(p.wordOf[optOPS], "-o with -u or -f", "One-Packet Scheduling is only for UDP virtual services")
	}
	if s.Scheduler == "" {
		s.Scheduler = defaultScheduler
	}
	return nil
}

// schedFlags takes the words of -b, which depend on -s wherever that stands.
func (p *commandParser) schedFlags() *UsageError {
	s := &p.Op.Service
	for word := range strings.SplitSeq(p.flags, ",") {
		if word == "" {
			continue
		}
		bit, scheduler := schedFlag(word)
		if bit == 0 {
			return p.fail(p.wordOf[optSchedFlags]+1, "flag-1, flag-2, flag-3, sh-fallback, sh-port, mh-fallback or mh-port", "invalid scheduler flag `"+word+"'")
		}
		if scheduler != "" && scheduler != s.Scheduler {
			return p.fail(p.wordOf[optSchedFlags]+1, "a flag of the service's scheduler", "incompatible scheduler flag `"+word+"'")
		}
		s.SchedFlags |= bit
	}
	return nil
}

// schedFlag is the bit of a scheduler flag's name, and the scheduler that it belongs to, if it
// is one's own.
func schedFlag(name string) (bit uint32, scheduler string) {
	switch name {
	case "flag-1":
		return SchedFlag1, ""
	case "flag-2":
		return SchedFlag2, ""
	case "flag-3":
		return SchedFlag3, ""
	case "sh-fallback":
		return SchedFlag1, "sh"
	case "sh-port":
		return SchedFlag2, "sh"
	case "mh-fallback":
		return SchedFlag1, "mh"
	case "mh-port":
		return SchedFlag2, "mh"
	}
	return 0, ""
}
