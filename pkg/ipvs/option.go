package ipvs

// valueKind says whether an option takes a value.
type valueKind uint8

const (
	noValue valueKind = iota
	needsValue
	mayHaveValue
)

// optionID is what an option means. Those up to optTunRemCsum are in the order in which ipvsadm
// checks them against the command; it reports the first that is wrong.
type optionID uint8

const (
	optNumeric optionID = iota
	optConnection
	optService
	optScheduler
	optPersistent
	optNetmask
	optServer
	optForward
	optWeight
	optUThreshold
	optLThreshold
	optMcastInterface
	optTimeout
	optDaemon
	optStats
	optRate
	optThresholds
	optPersistentConn
	optNoSort
	optSyncID
	optExact
	optOPS
	optPE
	optSchedFlags
	optMcastGroup
	optMcastPort
	optMcastTTL
	optSyncMaxLen
	optTunInfo
	optTunType
	optTunPort
	optTunNoCsum
	optTunCsum
	optTunRemCsum
	checkedOptions

	optSort // has no effect and is never checked
	optIPv6 // part of the service
	optCommand
)

// optionNames are ipvsadm's in its messages.
var optionNames = [checkedOptions]string{
	optNumeric:        "numeric",
	optConnection:     "connection",
	optService:        "service-address",
	optScheduler:      "scheduler",
	optPersistent:     "persistent",
	optNetmask:        "netmask",
	optServer:         "real-server",
	optForward:        "forwarding-method",
	optWeight:         "weight",
	optUThreshold:     "u-threshold",
	optLThreshold:     "l-threshold",
	optMcastInterface: "mcast-interface",
	optTimeout:        "timeout",
	optDaemon:         "daemon",
	optStats:          "stats",
	optRate:           "rate",
	optThresholds:     "thresholds",
	optPersistentConn: "persistent-conn",
	optNoSort:         "nosort",
	optSyncID:         "syncid",
	optExact:          "exact",
	optOPS:            "ops",
	optPE:             "pe",
	optSchedFlags:     "sched-flags",
	optMcastGroup:     "mcast-group",
	optMcastPort:      "mcast-port",
	optMcastTTL:       "mcast-ttl",
	optSyncMaxLen:     "sync-maxlen",
	optTunInfo:        "tun-info",
	optTunType:        "tun-type",
	optTunPort:        "tun-port",
	optTunNoCsum:      "tun-nocsum",
	optTunCsum:        "tun-csum",
	optTunRemCsum:     "tun-remcsum",
}

// option is one way to write an option or command on the command line.
type option struct {
	long  string
	short byte
	value valueKind
	id    optionID
	cmd   CommandKind // optCommand only
	proto Protocol    // optService only
	fwd   Forward     // optForward only
}

var options = []option{
	{long: "add-service", short: 'A', id: optCommand, cmd: CmdAddService},
	{long: "edit-service", short: 'E', id: optCommand, cmd: CmdEditService},
	{long: "delete-service", short: 'D', id: optCommand, cmd: CmdDelService},
	{long: "clear", short: 'C', id: optCommand, cmd: CmdFlush},
	{long: "list", short: 'L', id: optCommand, cmd: CmdList},
	{long: "list", short: 'l', id: optCommand, cmd: CmdList},
	{long: "zero", short: 'Z', id: optCommand, cmd: CmdZero},
	{long: "add-server", short: 'a', id: optCommand, cmd: CmdAddDest},
	{long: "edit-server", short: 'e', id: optCommand, cmd: CmdEditDest},
	{long: "delete-server", short: 'd', id: optCommand, cmd: CmdDelDest},
	{long: "restore", short: 'R', id: optCommand, cmd: CmdRestore},
	{long: "save", short: 'S', id: optCommand, cmd: CmdSave},
	{long: "set", id: optCommand, cmd: CmdSetTimeouts},
	{long: "start-daemon", value: needsValue, id: optCommand, cmd: CmdStartDaemon},
	{long: "stop-daemon", value: needsValue, id: optCommand, cmd: CmdStopDaemon},
	{long: "help", short: 'h', id: optCommand, cmd: CmdHelp},
	{long: "version", short: 'v', id: optCommand, cmd: CmdVersion},

	{long: "tcp-service", short: 't', value: needsValue, id: optService, proto: TCP},
	{long: "udp-service", short: 'u', value: needsValue, id: optService, proto: UDP},
	{long: "sctp-service", value: needsValue, id: optService, proto: SCTP},
	{long: "fwmark-service", short: 'f', value: needsValue, id: optService},
	{long: "ipv6", short: '6', id: optIPv6},
	{long: "scheduler", short: 's', value: needsValue, id: optScheduler},
	{long: "pe", value: needsValue, id: optPE},
	{long: "persistent", short: 'p', value: mayHaveValue, id: optPersistent},
	{long: "netmask", short: 'M', value: needsValue, id: optNetmask},
	{long: "ops", short: 'o', id: optOPS},
	{long: "sched-flags", short: 'b', value: needsValue, id: optSchedFlags},
	{long: "real-server", short: 'r', value: needsValue, id: optServer},
	{long: "gatewaying", short: 'g', id: optForward, fwd: Route},
	{long: "ipip", short: 'i', id: optForward, fwd: Tunnel},
	{long: "masquerading", short: 'm', id: optForward, fwd: Masq},
	{long: "tun-type", value: needsValue, id: optTunType},
	{long: "tun-port", value: needsValue, id: optTunPort},
	{long: "tun-nocsum", id: optTunNoCsum},
	{long: "tun-csum", id: optTunCsum},
	{long: "tun-remcsum", id: optTunRemCsum},
	{long: "weight", short: 'w', value: needsValue, id: optWeight},
	{long: "u-threshold", short: 'x', value: needsValue, id: optUThreshold},
	{long: "l-threshold", short: 'y', value: needsValue, id: optLThreshold},
	{long: "connection", short: 'c', id: optConnection},
	{long: "timeout", id: optTimeout},
	{long: "daemon", id: optDaemon},
	{long: "stats", id: optStats},
	{long: "rate", id: optRate},
	{long: "exact", id: optExact},
	{long: "thresholds", id: optThresholds},
	{long: "persistent-conn", id: optPersistentConn},
	{long: "tun-info", id: optTunInfo},
	{long: "nosort", id: optNoSort},
	{long: "sort", id: optSort},
	{long: "numeric", short: 'n', id: optNumeric},
	{long: "syncid", value: needsValue, id: optSyncID},
	{long: "sync-maxlen", value: needsValue, id: optSyncMaxLen},
	{long: "mcast-interface", value: needsValue, id: optMcastInterface},
	{long: "mcast-group", value: needsValue, id: optMcastGroup},
	{long: "mcast-port", value: needsValue, id: optMcastPort},
	{long: "mcast-ttl", value: needsValue, id: optMcastTTL},
}

// String is the command as it is mostly written: "-A", "--set".
func (k CommandKind) String() string {
	for _, o := range options {
		switch {
		case o.id != optCommand || o.cmd != k:
		case o.short != 0:
			return "-" + string(o.short)
		default:
			return "--" + o.long
		}
	}
	return "no command"
}

func longOption(name string) *option {
	for i := range options {
		if options[i].long == name {
			return &options[i]
		}
	}
	return nil
}

func shortOption(c byte) *option {
	for i := range options {
		if options[i].short == c {
			return &options[i]
		}
	}
	return nil
}

// optionSet is a set of the options that are checked.
type optionSet uint64

func setOf(ids ...optionID) (s optionSet) {
	for _, id := range ids {
		s |= 1 << id
	}
	return s
}

func (s optionSet) has(id optionID) bool { return s&(1<<id) != 0 }

// grammar is which options go with a command.
type grammar struct {
	name     string // ipvsadm's name of the command in its messages
	required optionSet
	allowed  optionSet
	choice   optionSet // at most one of these
}

var (
	serviceOptions = setOf(optScheduler, optPersistent, optNetmask, optOPS, optPE, optSchedFlags)
	destOptions    = setOf(optForward, optWeight, optUThreshold, optLThreshold,
		optTunType, optTunPort, optTunNoCsum, optTunCsum, optTunRemCsum)
	listOptions = setOf(optNumeric, optStats, optRate, optThresholds, optPersistentConn, optNoSort,
		optSyncID, optExact, optTunInfo)
	daemonOptions = setOf(optMcastInterface, optSyncID, optMcastGroup, optMcastPort, optMcastTTL, optSyncMaxLen)
)

var grammars = map[CommandKind]grammar{
	CmdAddService:  {name: "add-service", required: setOf(optService), allowed: serviceOptions},
	CmdEditService: {name: "edit-service", required: setOf(optService), allowed: serviceOptions},
	CmdDelService:  {name: "delete-service", required: setOf(optService)},
	CmdFlush:       {name: "flush"},
	CmdList:        {name: "list", allowed: listOptions, choice: setOf(optConnection, optService, optTimeout, optDaemon)},
	CmdAddDest:     {name: "add-server", required: setOf(optService, optServer), allowed: destOptions},
	CmdEditDest:    {name: "edit-server", required: setOf(optService, optServer), allowed: destOptions},
	CmdDelDest:     {name: "delete-server", required: setOf(optService, optServer)},
	CmdZero:        {name: "zero", allowed: setOf(optService)},
	CmdSetTimeouts: {name: "set"},
	CmdStartDaemon: {name: "start-daemon", allowed: daemonOptions},
	CmdStopDaemon:  {name: "stop-daemon", allowed: setOf(optSyncID)},
	CmdRestore:     {name: "restore"},
	CmdSave:        {name: "save", allowed: setOf(optNumeric)},
}

// check holds the options given against the grammar. It returns ipvsadm's message, empty if all
// is well, and the option concerned.
func (g grammar) check(given optionSet) (complaint string, about optionID) {
	chosen := checkedOptions
	for id := range checkedOptions {
		name := optionNames[id]
		switch {
		case !given.has(id):
			if g.required.has(id) {
				return "You need to supply the '" + name + "' option for the '" + g.name + "' command", id
			}
		case g.choice.has(id):
			if chosen != checkedOptions {
				return "The option '" + name + "' conflicts with the '" + optionNames[chosen] + "' option in the '" + g.name + "' command", id
			}
			chosen = id
		case !(g.required | g.allowed).has(id):
			return "Illegal '" + name + "' option with the '" + g.name + "' command", id
		}
	}
	return "", 0
}

// The tunnel options that a tunnel type needs, takes, and takes one of.
var tunnelGrammars = map[TunnelType]grammar{
	IPIP: {name: "ipip"},
	GUE:  {name: "gue", required: setOf(optTunPort), choice: setOf(optTunNoCsum, optTunCsum, optTunRemCsum)},
	GRE:  {name: "gre", choice: setOf(optTunNoCsum, optTunCsum)},
}

// checkTunnel is check for the options of a tunnel type.
func (g grammar) checkTunnel(given optionSet) (complaint string, about optionID) {
	chosen := checkedOptions
	for id := optTunPort; id <= optTunRemCsum; id++ {
		name := optionNames[id]
		switch {
		case !given.has(id):
			if g.required.has(id) {
				return "You need to supply the '" + name + "' option for the '" + g.name + "' tunnel type", id
			}
		case g.choice.has(id):
			if chosen != checkedOptions {
				return "The option '" + name + "' conflicts with the '" + optionNames[chosen] + "' option in the '" + g.name + "' tunnel type", id
			}
			chosen = id
		case !g.required.has(id):
			return "Illegal '" + name + "' option with the '" + g.name + "' tunnel type", id
		}
	}
	return "", 0
}
