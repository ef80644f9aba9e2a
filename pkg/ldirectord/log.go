package ldirectord

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/halog"
)

// Log writes ldirectord's lines where the configuration says: a file, syslog, or, in the
// foreground, standard output or standard error. It may be used from several goroutines.
type Log struct {
	name  string    // CFGNAME
	first string    // where lines go without logfile=
	plain io.Writer // supervised=yes: standard output
	debug io.Writer // -d: standard error
	local string    // the syslog socket, if not the usual one

	mu   sync.Mutex
	sink string // logfile= of out
	out  *halog.Log
	stop func() // ends out's goroutine and waits for it; nil if it has none
	run  context.Context
}

// NewLog makes the log of an instance; lines go to its LogFile until Use says otherwise. With
// debug (-d) or plain (supervised=yes) set, all lines go there and nowhere else.
func NewLog(in Instance, debug, plain io.Writer) *Log {
	l := &Log{name: in.Name, first: in.LogFile, debug: debug, plain: plain}
	l.open(in.LogFile)
	return l
}

// defaultLogFile is what a configuration has that does not say.
const defaultLogFile = "/var/log/ldirectord.log"

// Use makes a configuration's logfile= the destination.
func (l *Log) Use(c *ldirectordcf.Config) {
	sink := c.Global.LogFile
	if sink == defaultLogFile {
		sink = l.first
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if sink != l.sink {
		l.close()
		l.open(sink)
	}
}

func (l *Log) open(sink string) {
	l.sink = sink
	c := halog.Config{Entity: "ldirectord", Format: l.fileFormat, SyslogFormat: syslogFormat, SyslogAddress: l.local}
	if strings.HasPrefix(sink, "/") {
		c.LogFile = sink
	} else {
		var ok bool
		if c.Facility, ok = halog.ParseFacility(strings.ToLower(sink)); !ok || c.Facility == 0 {
			c.Facility, _ = halog.ParseFacility("user")
		}
	}
	l.out = halog.New(c)
	if l.run != nil {
		l.start()
	}
}

func (l *Log) start() {
	ctx, cancel := context.WithCancel(l.run)
	done := make(chan struct{})
	out := l.out
	go func() {
		out.Run(ctx)
		close(done)
	}()
	l.stop = func() {
		cancel()
		<-done
	}
}

func (l *Log) close() {
	if l.stop != nil {
		l.stop()
		l.stop = nil
	}
	l.out.Close()
}

// Run has lines written by a goroutine of the log's own, so that Print never waits for a disk,
// until ctx ends. Without it Print writes itself.
func (l *Log) Run(ctx context.Context) {
	l.mu.Lock()
	l.run = context.WithoutCancel(ctx)
	l.start()
	l.mu.Unlock()
	<-ctx.Done()
	l.mu.Lock()
	l.close()
	l.run = nil
	l.mu.Unlock()
}

// Close writes what is left and closes the file.
func (l *Log) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.close()
}

// Print writes a line, or several.
func (l *Log) Print(text string) {
	text = strings.TrimRight(text, "\n")
	switch {
	case l.debug != nil:
		fmt.Fprintf(l.debug, "DEBUG2: %s\n%s\n", text, text)
	case l.plain != nil:
		fmt.Fprintf(l.plain, "[%s] %s\n", time.Now().Format(time.ANSIC), text)
	default:
		l.mu.Lock()
		out := l.out
		l.mu.Unlock()
		logger := out.Logger("ldirectord", os.Getpid())
		for line := range strings.SplitSeq(text, "\n") {
			logger.Log(halog.Info, line)
		}
	}
}

// Printf writes one line.
func (l *Log) Printf(format string, args ...any) { l.Print(fmt.Sprintf(format, args...)) }

// Debugf writes a line of -d; there is nothing to see of it otherwise.
func (l *Log) Debugf(level int, format string, args ...any) {
	if l.debug != nil {
		fmt.Fprintf(l.debug, "DEBUG%d: %s\n", level, fmt.Sprintf(format, args...))
	}
}

// fileFormat is "[Sun Nov 22 13:00:11 2026|CFGNAME|PID] TEXT".
func (l *Log) fileFormat(dst []byte, r halog.Record) []byte {
	if strings.HasPrefix(r.Text, "log-rotate detected") {
		return dst // halog's remark; the original, which opens the file for each line, has none
	}
	dst = append(dst, '[')
	dst = r.Time.AppendFormat(dst, time.ANSIC)
	dst = append(dst, '|')
	dst = append(dst, l.name...)
	dst = append(dst, '|')
	dst = strconv.AppendInt(dst, int64(r.PID), 10)
	dst = append(dst, "] "...)
	dst = append(dst, r.Text...)
	return append(dst, '\n')
}

// syslogFormat is "ldirectord[PID]: TEXT".
func syslogFormat(dst []byte, r halog.Record) []byte {
	dst = append(dst, "ldirectord["...)
	dst = strconv.AppendInt(dst, int64(r.PID), 10)
	dst = append(dst, "]: "...)
	return append(dst, r.Text...)
}
