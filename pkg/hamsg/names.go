package hamsg

// Names of fields that the daemon itself writes or reads, with the original's names for them.
const (
	FType        = "t"           // F_TYPE: message type
	FSubtype     = "subt"        // F_SUBTYPE
	FOrig        = "src"         // F_ORIG: node that made the message, lower case
	FOrigUUID    = "srcuuid"     // F_ORIGUUID: its uuid, binary
	FTo          = "dest"        // F_TO: node meant; absent for everybody
	FToUUID      = "destuuid"    // F_TOUUID: its uuid, binary; all zero when not known yet
	FSeq         = "seq"         // F_SEQ: sequence number, hex; not in NS_ types
	FGeneration  = "hg"          // F_HBGENERATION: sender's generation, hex
	FTime        = "ts"          // F_TIME: sender's wall clock in Unix seconds, hex
	FLoad        = "ld"          // F_LOAD: /proc/loadavg, or n/a; not in NS_ types
	FTTL         = "ttl"         // F_TTL: hopfudge plus number of nodes, decimal
	FAuth        = "auth"        // F_AUTH: key number and MAC over the text form
	FStatus      = "st"          // F_STATUS: init, up, active, dead, ping, join, leave
	FDeadTime    = "dt"          // F_DT: sender's dead time in milliseconds, hex
	FProtocol    = "protocol"    // F_PROTOCOL: 1; without it the receiver turns flow control off
	FAckSeq      = "ackseq"      // F_ACKSEQ: highest sequence number acknowledged, hex
	FFirstSeq    = "firstseq"    // F_FIRSTSEQ: decimal in NS_rexmit, hex in NS_nak_rexmit
	FLastSeq     = "lastseq"     // F_LASTSEQ: decimal
	FNodeList    = "nodelist"    // F_NODELIST: names, each followed by a space
	FDelNodeList = "delnodelist" // F_DELNODELIST
	FResources   = "rsc_hold"    // F_RESOURCES: none, local, foreign, all
	FResType     = "rtype"       // F_RTYPE: full marks an absolute report
	FIsStable    = "isstable"    // F_ISSTABLE: 1 or 0
	FComment     = "info"        // F_COMMENT
	FNode        = "node"        // F_NODE: node talked about
	FResult      = "result"      // F_APIRESULT
	FIfName      = "ifname"      // F_IFNAME: link talked about
	FIPAddr      = "ipaddr"      // resource group of an ip-request
	FWeOwn       = "weown"       // yes or no, in an ip-request-resp
	FOK          = "ok"          // OK, in an ip-request-resp
	FFromID      = "from_id"     // F_FROMID: API client that sends
	FToID        = "to_id"       // F_TOID: API client meant
	FClientGen   = "client_gen"  // F_CLIENT_GENERATION: decimal
	FClientName  = "cn"          // F_CLIENTNAME
	FClientStat  = "cs"          // F_CLIENTSTATUS: online or offline
	FWeight      = "weight"      // F_WEIGHT
	FSite        = "site"        // F_SITE

	// Fields of the client API (hb_api_core.h).
	FReqType      = "reqtype"     // F_APIREQ: what is asked for
	FPID          = "pid"         // F_PID: process id of the client, decimal
	FUID          = "uid"         // F_UID, decimal
	FGID          = "gid"         // F_GID, decimal
	FFilterMask   = "fmask"       // F_FILTERMASK: kinds of messages wanted, hex
	FSignal       = "signal"      // F_SIGNAL: number, decimal
	FSendQueue    = "sendqlen"    // F_SENDQLEN: messages, decimal
	FNodeType     = "nodetype"    // F_NODETYPE: normal, ping, unknown
	FNumNodes     = "numnodes"    // F_NUMNODES: decimal
	FPName        = "pname"       // F_PNAME: name of a parameter
	FPValue       = "pvalue"      // F_PVALUE
	FQueryName    = "queryname"   // F_QUERYNAME
	FQueryUUID    = "queryuuid"   // F_QUERYUUID: binary
	FAPIDeadtime  = "deadtime"    // F_DEADTIME: ms, hex
	FAPIKeepalive = "keepalive"   // F_KEEPALIVE: ms, hex
	FVersion      = "hbversion"   // F_HBVERSION
	FPacemaker    = "pacemaker"   // F_PACEMAKER: false in haresources mode
	FFacility     = "logfacility" // F_LOGFACILITY: decimal, -1 for none
	FOrderSeq     = "oseq"        // F_ORDERSEQ: a client's own number, hex

	// What systole adds to messages that it signs with hmac-sha256, against replays.
	FRun    = "run"  // random number of the sender's run, hex
	FPacket = "pkt"  // number of the packet in that run, from 1, hex
	FEcho   = "echo" // "NODE=RUN " for each node, the run that was heard of last

	// Fields of systole's own TConnections.
	FConns = "conns" // of a question: connections by their hashes, hex
	FKnown = "known" // of the answer: how many of them are known, "198/200"

	// Fields of systole's own THaresources, and what it adds to a TIPRequestResp for a line that has moved.
	FSum   = "sum"   // stands for the sender's haresources
	FWas   = "was"   // stands for what it was before, if the whole of a line has moved
	FAsked = "asked" // lines that the sender waits for, by their first resources, with spaces between

	FCompressedPayload    = "_compressed_payload"    // binary: the message, packed whole
	FCompressionAlgorithm = "_compression_algorithm" // zlib or bz2
)

// Message types of the daemon and its scripts (spec/heartbeat-wire.md section 6). Types that
// begin with NS_ carry no sequence number.
const (
	TStatus         = "status"          // T_STATUS: the heartbeat
	TAck            = "NS_ackmsg"       // T_ACKMSG
	TRexmit         = "NS_rexmit"       // T_REXMIT
	TNakRexmit      = "NS_nak_rexmit"   // T_NAKREXMIT
	TPingStatus     = "NS_st"           // T_NS_STATUS: only inside ICMP
	TReqNodes       = "reqnodes"        // T_REQNODES
	TRepNodes       = "repnodes"        // T_REPNODES
	TStarting       = "starting"        // T_STARTING
	TResources      = "resource"        // T_RESOURCES
	TAskResources   = "ask_resources"   // T_ASKRESOURCES
	TIPRequest      = "ip-request"      // legacy: release this group
	TIPRequestResp  = "ip-request-resp" // answer, or a node's go-ahead to itself
	TStonith        = "stonith"         // T_STONITH
	TShutDone       = "shutdone"        // T_SHUTDONE
	TTakeover       = "hb_takeover"     // from the hb_takeover command
	TClientStatus   = "hbapi-clstat"    // T_APICLISTAT
	TQueryClient    = "query-cstatus"   // T_QCSTATUS
	TRespondClient  = "respond-cstatus" // T_RCSTATUS
	TAddNode        = "addnode"         // T_ADDNODE
	TDelNode        = "delnode"         // T_DELNODE
	TSetWeight      = "setweight"       // T_SETWEIGHT
	TSetSite        = "setsite"         // T_SETSITE
	TConnections    = "connections"     // systole's own, which originals ignore: does a node that has returned know our connections?
	THaresources    = "haresources"     // systole's own, which originals ignore: haresources has been reread, what lines are waited for
	TIfStatus       = "ifstat"          // T_IFSTATUS: to local clients only
	TAPIRequest     = "hbapi-req"       // T_APIREQ: local only
	TAPIResponse    = "hbapi-resp"      // T_APIRESP: local only
	UnsequencedHead = "NS_"             // what types without sequence numbers begin with
)
