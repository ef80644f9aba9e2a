package view

import (
	"fmt"
	"strings"

	"github.com/systole-ha/systole/pkg/config/hacf"
)

// HA is a ha.cf. Times are in seconds.
type HA struct {
	File     string   `json:"file" doc:"the file that was read"`
	Defaults []string `json:"defaults" doc:"directives that the file does not give"`

	Cluster      string  `json:"cluster" doc:"name of the cluster"`
	Nodes        []Node  `json:"node" doc:"the cluster nodes in file order"`
	Media        []Media `json:"media" doc:"bcast, mcast, mcast6, ucast, ucast6, serial, ping, ping6, ping_group in file order"`
	UDPPort      int     `json:"udpport" doc:"UDP port of what follows the last udpport line; each medium has its own in media"`
	Baud         int     `json:"baud" doc:"rate of serial media"`
	Hopfudge     int     `json:"hopfudge" doc:"added to the number of nodes for the life of a message, in hops"`
	Keepalive    float64 `json:"keepalive" doc:"time between heartbeats"`
	Warntime     float64 `json:"warntime" doc:"after which a heartbeat is late"`
	Deadtime     float64 `json:"deadtime" doc:"after which a silent node is dead"`
	Initdead     float64 `json:"initdead" doc:"deadtime after the start"`
	Deadping     float64 `json:"deadping" doc:"deadtime of ping nodes"`
	AutoFailback string  `json:"auto_failback" doc:"on, off or legacy"`
	MaxRexmit    float64 `json:"max_rexmit_delay" doc:"longest delay of a request to send again"`
	Msgfmt       string  `json:"msgfmt" doc:"classic or netstring"`

	Compression string `json:"compression" doc:"zlib or bz2"`
	Threshold   int    `json:"compression_threshold" doc:"size in KiB from which messages are compressed"`
	Traditional bool   `json:"traditional_compression" doc:"compress whole messages"`

	LogFile      *string `json:"logfile" doc:"the log file"`
	DebugFile    *string `json:"debugfile" doc:"the debug file"`
	LogFacility  *string `json:"logfacility" doc:"syslog facility; none is no syslog"`
	SyslogMsgFmt bool    `json:"syslogmsgfmt" doc:"files have the format of syslog"`
	LogBadPack   bool    `json:"log_badpack" doc:"log packets that cannot be read"`
	UseLogd      bool    `json:"use_logd" doc:"log through the logging daemon"`
	ConnLogdTime float64 `json:"conn_logd_time" doc:"time between attempts to reach the logging daemon"`
	Debug        int     `json:"debug" doc:"debug level, 0 to 255"`

	Respawn []Client  `json:"respawn" doc:"programs that are started and watched, respawn and failfast, in file order"`
	APIAuth []APIAuth `json:"apiauth" doc:"who may sign on as which client, built-in ones included"`
	Env     []string  `json:"env" doc:"NAME=VALUE for children, without the HA_ in front"`
	Stonith *Stonith  `json:"stonith" doc:"the device of the last stonith or stonith_host line that holds for this node"`

	Watchdog   *string `json:"watchdog" doc:"the watchdog device"`
	Realtime   bool    `json:"realtime" doc:"realtime priority and locked memory"`
	RTPrio     int     `json:"rtprio" doc:"realtime priority, 1 to 99"`
	MemReserve int     `json:"memreserve" doc:"memory reserved, in KiB"`
	CoreDumps  bool    `json:"coredumps" doc:"enable core dumps"`
	CoreRoot   *string `json:"coreroot" doc:"directory of core dumps"`
	GenMethod  string  `json:"hbgenmethod" doc:"file or time: where the generation comes from"`
	UUIDFrom   string  `json:"uuidfrom" doc:"file or nodename"`
	UseApphbd  bool    `json:"use_apphbd" doc:"register with apphbd"`
	Autojoin   string  `json:"autojoin" doc:"none; other values do not go with haresources"`
	Pacemaker  string  `json:"pacemaker" doc:"pacemaker or crm as written; only a false value goes with haresources"`

	RecordConfigChanges string `json:"record_config_changes" doc:"as written; no meaning with haresources"`
	RecordPengineInputs string `json:"record_pengine_inputs" doc:"as written; no meaning with haresources"`
	EnableConfigWrites  string `json:"enable_config_writes" doc:"as written; no meaning with haresources"`
}

// Node is a cluster node.
type Node struct {
	Name string `json:"name" doc:"lower case"`
}

// Media is one medium.
type Media struct {
	Kind string   `json:"kind" doc:"the directive"`
	Name string   `json:"name" doc:"interface, tty, host or group"`
	Args []string `json:"args" doc:"what follows the name"`
	Port *int     `json:"port" doc:"UDP port of bcast, ucast and ucast6"`
}

// Client is a respawn or failfast line.
type Client struct {
	User     string `json:"user" doc:"as whom it runs"`
	Command  string `json:"command" doc:"program and arguments"`
	Failfast bool   `json:"failfast" doc:"its death is fatal"`
}

// APIAuth is an apiauth line.
type APIAuth struct {
	Client string   `json:"client" doc:"name of the client"`
	UID    []string `json:"uid" doc:"users, by name or number"`
	GID    []string `json:"gid" doc:"groups, by name or number"`
}

// Stonith is a device. Its parameters, among which are passwords, are left out.
type Stonith struct {
	Type string  `json:"type" doc:"the plugin"`
	File *string `json:"file" doc:"file with the parameters, of a stonith line"`
}

// NewHA is the object of a ha.cf.
func NewHA(c *hacf.Config) HA {
	h := HA{
		File: c.File, Defaults: []string{},
		Cluster: c.Cluster, Nodes: []Node{}, Media: []Media{}, UDPPort: c.UDPPort, Baud: c.Baud, Hopfudge: c.Hopfudge,
		Keepalive: c.Keepalive.Seconds(), Warntime: c.Warntime.Seconds(), Deadtime: c.Deadtime.Seconds(), Initdead: c.Initdead.Seconds(),
		Deadping: c.Deadping.Seconds(), AutoFailback: c.Failback.String(), MaxRexmit: c.MaxRexmitDelay.Seconds(), Msgfmt: c.Msgfmt,
		Compression: c.Compression, Threshold: c.CompressionThreshold, Traditional: c.TraditionalCompression,
		LogFile: some(c.LogFile), DebugFile: some(c.DebugFile), LogFacility: some(c.LogFacility), SyslogMsgFmt: c.SyslogMsgFmt,
		LogBadPack: c.LogBadPack, UseLogd: c.UseLogd, ConnLogdTime: c.ConnLogdTime.Seconds(), Debug: c.Debug,
		Respawn: []Client{}, APIAuth: []APIAuth{}, Env: list(c.Env),
		Watchdog: some(c.Watchdog), Realtime: c.Realtime, RTPrio: c.RTPrio, MemReserve: c.MemReserve, CoreDumps: c.CoreDumps, CoreRoot: some(c.CoreRoot),
		GenMethod: c.GenMethod, UUIDFrom: c.UUIDFrom, UseApphbd: c.UseApphbd, Autojoin: c.Autojoin, Pacemaker: c.Pacemaker,
	}
	for _, l := range c.Lines() {
		if l.Default && l.Directive != "apiauth" {
			h.Defaults = append(h.Defaults, l.Directive)
		}
	}
	h.RecordConfigChanges, _ = c.Param("record_config_changes")
	h.RecordPengineInputs, _ = c.Param("record_pengine_inputs")
	h.EnableConfigWrites, _ = c.Param("enable_config_writes")
	for _, n := range c.Nodes {
		h.Nodes = append(h.Nodes, Node{n.Name})
	}
	for _, m := range c.Media {
		h.Media = append(h.Media, Media{m.Kind, m.Name, list(m.Args), some(m.Port)})
	}
	for _, cl := range c.Clients {
		h.Respawn = append(h.Respawn, Client{cl.User, cl.Command, cl.Failfast})
	}
	for _, a := range c.Access() {
		h.APIAuth = append(h.APIAuth, APIAuth{a.Client, list(a.UIDs), list(a.GIDs)})
	}
	if c.Stonith != nil {
		h.Stonith = &Stonith{c.Stonith.Type, some(c.Stonith.Config)}
	}
	return h
}

// HAText is a ha.cf that says what c says.
func HAText(c *hacf.Config) string {
	var b strings.Builder
	for _, l := range c.Lines() {
		switch {
		case l.Directive == "stonith_host":
			fmt.Fprintf(&b, "# %-21s * %s %s\n", l.Directive, c.Stonith.Type, hidden)
		case l.Default:
			fmt.Fprintf(&b, "%-23s %-11s # default\n", l.Directive, l.Value)
		default:
			fmt.Fprintf(&b, "%-23s %s\n", l.Directive, l.Value)
		}
	}
	return b.String()
}
