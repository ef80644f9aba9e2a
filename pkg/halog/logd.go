package halog

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"time"

	"github.com/systole-ha/systole/pkg/api/frame"
)

// LogdSocket is where cluster-glue's logging daemon ha_logd listens.
const LogdSocket = "/var/lib/heartbeat/log_daemon"

// Logd says that lines go to ha_logd, and to the Config's own destinations only while it does not take
// them (ha.cf use_logd).
type Logd struct {
	Socket string
	Retry  time.Duration // ha.cf conn_logd_time: pause before it is tried again; 0 is 60 s
}

const (
	// logdLimit is how long ha_logd may take for one line.
	logdLimit = 500 * time.Millisecond
	logdRetry = 60 * time.Second
	// logdDown is what cl_log says, once, when ha_logd cannot be reached.
	logdDown = "Initializing connection to logging daemon failed. Logging daemon may not be running"
)

// logd is the connection to ha_logd. The caller of its methods holds Log.writing.
type logd struct {
	conf     Logd
	facility Facility
	conn     net.Conn
	again    time.Time // until then it is not tried
	told     bool      // that it cannot be reached
	now      func() time.Time
}

func newLogd(c Config) *logd {
	d := &logd{conf: *c.Logd, facility: c.Facility, now: c.Now}
	if d.conf.Retry <= 0 {
		d.conf.Retry = logdRetry
	}
	if d.facility == 0 {
		d.facility = logUser
	}
	return d
}

// logUser is syslog's facility user, which cl_log names where none is configured.
const logUser Facility = 1 << 3

// send gives a line to ha_logd and tells whether it has taken it. lost says that this is news.
func (d *logd) send(r Record) (sent, lost bool) {
	if d.now().Before(d.again) {
		return false, false
	}
	for range 2 { // the second time after the daemon was restarted
		if d.conn == nil {
			conn, err := net.DialTimeout("unix", d.conf.Socket, logdLimit)
			if err != nil {
				break
			}
			d.conn = conn
		}
		_ = d.conn.SetWriteDeadline(time.Now().Add(logdLimit))
		_, err := d.conn.Write(frame.Append(nil, logdBody(r, d.facility)))
		if err == nil {
			d.told = false
			return true, false
		}
		d.close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	d.again = d.now().Add(d.conf.Retry)
	lost, d.told = !d.told, true
	return false, lost
}

func (d *logd) close() {
	if d.conn != nil {
		_ = d.conn.Close()
		d.conn = nil
	}
}

// Parts of ha_logd's message (LogDaemonMsgHdr of cluster-glue's cl_log.c).
const (
	logdHead   = 96
	logdEntity = 64
	logdText   = 2 // the message's type
)

// logdBody is a line as ha_logd has it. A script's comes as ha_logger sends it: with its own level word.
func logdBody(r Record, f Facility) []byte {
	b := make([]byte, logdHead, logdHead+len(r.Text)+1)
	put := func(at int, v uint32) { binary.NativeEndian.PutUint32(b[at:], v) }
	prio, word, pid := r.Prio, uint32(1), r.PID
	if r.Kind == Script {
		word, pid = 0, os.Getpid()
		if prio != Debug {
			prio = Info
		}
	}
	put(0, logdText)
	put(4, uint32(f))
	put(8, uint32(prio))
	put(12, uint32(len(r.Text)+1))
	put(16, word)
	put(20, uint32(pid))
	copy(b[24:24+logdEntity-1], r.Entity)
	binary.NativeEndian.PutUint64(b[88:], uint64(r.Time.Unix()))
	return append(append(b, r.Text...), 0)
}
