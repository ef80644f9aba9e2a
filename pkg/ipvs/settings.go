package ipvs

import "fmt"

// AppendTimeouts appends what ipvsadm -L --timeout prints.
func AppendTimeouts(b []byte, t Timeouts) []byte {
	return fmt.Appendf(b, "Timeout (tcp tcpfin udp): %d %d %d\n", t.TCP, t.TCPFin, t.UDP)
}

// AppendSyncDaemons appends what ipvsadm -L --daemon prints.
func AppendSyncDaemons(b []byte, daemons []SyncDaemon) []byte {
	for _, d := range daemons {
		role := "master"
		if d.Role == SyncBackup {
			role = "backup"
		}
		b = fmt.Appendf(b, "%s sync daemon (mcast=%s, syncid=%d, maxlen=%d, group=%s, port=%d, ttl=%d)\n",
			role, d.Iface, d.SyncID, d.MaxLen, formatAddr(d.Group), d.Port, d.TTL)
	}
	return b
}
