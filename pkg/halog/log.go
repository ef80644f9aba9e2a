package halog

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// Config says where lines go, as ha.cf does. The zero value logs nowhere.
type Config struct {
	Node          string    // uname -n, as it is (not lower-cased)
	Entity        string    // who reports a rotated file; "heartbeat" if empty
	LogFile       string    // ha.cf logfile; empty or /dev/null: off
	DebugFile     string    // ha.cf debugfile; empty or /dev/null: off
	Facility      Facility  // ha.cf logfacility
	PlainFormat   bool      // ha.cf "syslogmsgfmt false"
	Dialect       Dialect   // form of script lines
	DebugLevel    int       // at the start, see [Log.DebugLevel]
	Stderr        io.Writer // nil: off
	Terminal      bool      // standard input is a terminal: script lines go to Stderr only, as ha_log does
	UID, GID      int       // owner of files that are created; 0 leaves them to root
	Format        Formatter // the files' and Stderr's form, if not the one above (ldirectord)
	SyslogFormat  Formatter // the text handed to syslogd after "<PRI>DATE ", likewise
	SyslogAddress string    // empty: /dev/log
	Logd          *Logd     // nil: ha_logd has no part in it
	Now           func() time.Time
}

// queueLimit bounds the lines that wait for a slow disk: some 10 MB at the very most, in
// practice far less.
const queueLimit = 8192

// Log is a set of destinations. It is safe for use by several goroutines.
type Log struct {
	cfg   Config
	outs  []output
	files []*file
	logd  *logd // nil: see Config
	pid   atomic.Int64
	debug atomic.Int64

	mu      sync.Mutex // guards queue, dropped, running, stderr
	queue   []Record
	dropped int
	running bool
	stderr  io.Writer
	wake    chan struct{}

	writing sync.Mutex // held while lines are written; taken before mu
}

// output is one destination: a logrus logger whose Out and Formatter are ours.
type output struct {
	logger *logrus.Logger
	wants  func(Record) bool
}

// New makes a Log. Files are opened when the first line is written.
func New(c Config) *Log {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Entity == "" {
		c.Entity = "heartbeat"
	}
	if c.Format == nil {
		c.Format = fileFormat(c.Node, c.PlainFormat, c.Dialect)
	}
	if c.SyslogFormat == nil {
		c.SyslogFormat = syslogFormat
	}
	if c.SyslogAddress == "" {
		c.SyslogAddress = "/dev/log"
	}
	l := &Log{cfg: c, stderr: c.Stderr, wake: make(chan struct{}, 1)}
	l.pid.Store(int64(os.Getpid()))
	l.SetDebugLevel(c.DebugLevel)
	if c.Logd != nil {
		l.logd = newLogd(c)
	}
	if c.Facility != 0 {
		s := &syslogd{address: c.SyslogAddress}
		l.add(s, syslogLine(c.Facility, c.SyslogFormat), func(r Record) bool { return r.Kind != Output })
	}
	if isFile(c.DebugFile) {
		f := l.newFile(c.DebugFile, debugFormat(c.Format))
		l.add(f, f.format, func(Record) bool { return true })
	}
	if isFile(c.LogFile) && c.LogFile != c.DebugFile {
		f := l.newFile(c.LogFile, c.Format)
		l.add(f, f.format, func(r Record) bool { return r.Kind != Output && r.Prio != Debug })
	}
	l.add(stderrOf{l}, l.stderrFormat, func(r Record) bool { return r.Kind != Script || l.scriptsToStderr() })
	return l
}

func isFile(path string) bool { return path != "" && path != os.DevNull }

// scriptsToStderr is ha_log's rule: on a terminal, or with nowhere else to go.
func (l *Log) scriptsToStderr() bool {
	return l.cfg.Terminal || l.cfg.LogFile == "" && l.cfg.Facility == 0
}

func (l *Log) stderrFormat(dst []byte, r Record) []byte {
	if r.Kind != Script {
		return l.cfg.Format(dst, r)
	}
	if !l.cfg.Terminal {
		date := scriptDate
		if l.cfg.Dialect == D12 {
			date = debianDate
		}
		dst = append(r.Time.AppendFormat(dst, date), ' ')
	}
	return append(append(dst, r.Text...), '\n')
}

func (l *Log) newFile(path string, f Formatter) *file {
	n := &file{path: path, uid: l.cfg.UID, gid: l.cfg.GID, format: f, now: l.cfg.Now}
	n.record = func(p Prio, text string) Record {
		return Record{Time: l.cfg.Now(), Prio: p, Entity: l.cfg.Entity, PID: os.Getpid(), Text: text}
	}
	n.complain = func(text string) {
		s := syslogd{address: l.cfg.SyslogAddress}
		line := syslogLine(l.cfg.Facility, l.cfg.SyslogFormat)
		_, _ = s.Write(line(nil, n.record(Error, text)))
		s.close()
	}
	l.files = append(l.files, n)
	return n
}

func (l *Log) add(w io.Writer, f Formatter, wants func(Record) bool) {
	l.outs = append(l.outs, output{
		logger: &logrus.Logger{
			Out: w, Formatter: lineFormatter(f), Hooks: logrus.LevelHooks{}, Level: logrus.TraceLevel, ExitFunc: func(int) {},
		},
		wants: wants,
	})
}

// lineFormatter carries a Record through logrus.
type lineFormatter Formatter

// recordKey is the only field of our logrus entries.
const recordKey = "record"

// Format is logrus.Formatter.
func (f lineFormatter) Format(e *logrus.Entry) ([]byte, error) {
	return f(nil, e.Data[recordKey].(Record)), nil
}

var logrusLevel = [...]logrus.Level{
	Emerg: logrus.FatalLevel, Alert: logrus.FatalLevel, Crit: logrus.FatalLevel, Error: logrus.ErrorLevel,
	Warn: logrus.WarnLevel, Notice: logrus.InfoLevel, Info: logrus.InfoLevel, Debug: logrus.DebugLevel,
}

// Logger writes lines of one program or of one of its children.
type Logger struct {
	log    *Log
	entity string
	pid    int
}

// Logger gives the Logger of a program: entity is the base name of its argv[0].
func (l *Log) Logger(entity string, pid int) *Logger {
	return &Logger{log: l, entity: entity, pid: pid}
}

// Log writes one line.
func (g *Logger) Log(p Prio, text string) {
	g.log.put(Record{Kind: Core, Prio: p, Entity: g.entity, PID: g.pid, Text: oneLine(text)})
}

// Logf writes one line.
func (g *Logger) Logf(p Prio, format string, args ...any) { g.Log(p, fmt.Sprintf(format, args...)) }

// Child gives the Logger of a child of the program, which has a number of its own.
func (g *Logger) Child() *Logger { return &Logger{log: g.log, entity: g.entity, pid: g.log.NextPID()} }

// ChildOf is a Logger like g for lines of a child process with that pid.
func (g *Logger) ChildOf(pid int) *Logger { return &Logger{log: g.log, entity: g.entity, pid: pid} }

// PID is the number that the Logger's lines carry.
func (g *Logger) PID() int { return g.pid }

// Script writes a line of a script: tag as Tag gives it, text with its level word. Lines that
// begin with debug: or DEBUG: are dropped unless the debug level is above 0.
func (l *Log) Script(tag, text string) {
	text = oneLine(text)
	p := scriptPrio(text)
	if p == Debug && l.DebugLevel() == 0 {
		return
	}
	l.put(Record{Kind: Script, Prio: p, Entity: tag, Text: text})
}

// DebugLevel is the debug level of the moment, 0 or more. At 0 scripts' debug lines are dropped, as
// HA_debug=0 does in the originals.
func (l *Log) DebugLevel() int { return int(l.debug.Load()) }

// SetDebugLevel changes the debug level; below 0 is 0.
func (l *Log) SetDebugLevel(n int) { l.debug.Store(int64(max(n, 0))) }

// Print writes what a script printed: to the debug file, where the originals' scripts have their
// standard output. text may have several lines.
func (l *Log) Print(text string) {
	if text = strings.TrimRight(text, "\n"); text != "" {
		l.put(Record{Kind: Output, Prio: Debug, Text: text})
	}
}

// NextPID gives a number for the tag of an in-process script, or for an in-process child: it stands
// where the original has a pid, goes up from our own pid, and differs between invocations.
func (l *Log) NextPID() int {
	const top = 1 << 22 // PID_MAX_LIMIT
	return int(l.pid.Add(1)-1)%top + 1
}

// Dialect is the one that the Log was made with.
func (l *Log) Dialect() Dialect { return l.cfg.Dialect }

// SetStderr turns standard error on or off (nil): the daemon's lines go there until it detaches.
func (l *Log) SetStderr(w io.Writer) {
	l.mu.Lock()
	l.stderr = w
	l.mu.Unlock()
}

func (l *Log) put(r Record) {
	r.Time = l.cfg.Now()
	l.mu.Lock()
	if l.running {
		if len(l.queue) < queueLimit {
			l.queue = append(l.queue, r)
		} else {
			l.dropped++
		}
		l.mu.Unlock()
		select {
		case l.wake <- struct{}{}:
		default:
		}
		return
	}
	l.mu.Unlock()
	l.writing.Lock()
	l.write(r)
	l.writing.Unlock()
}

// write hands a line to its destinations. The caller holds l.writing.
func (l *Log) write(r Record) {
	terminal := l.cfg.Terminal && r.Kind == Script
	sent := false
	if l.logd != nil && r.Kind != Output && !terminal {
		var lost bool
		if sent, lost = l.logd.send(r); lost {
			l.writeTo(Record{Time: r.Time, Prio: Warn, Entity: l.cfg.Entity, PID: os.Getpid(), Text: logdDown}, false)
		}
	}
	l.writeTo(r, terminal || sent)
}

// writeTo hands a line to the destinations that are no daemon's: to all, or to standard error alone.
func (l *Log) writeTo(r Record, stderr bool) {
	for _, o := range l.outs {
		if stderr {
			if _, ok := o.logger.Out.(stderrOf); !ok {
				continue
			}
		}
		if o.wants(r) {
			o.logger.WithTime(r.Time).WithField(recordKey, r).Log(logrusLevel[r.Prio], r.Text)
		}
	}
}

// drain writes what is queued, in order; with last set, lines that come later are not queued any
// more.
func (l *Log) drain(last bool) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	batch, dropped := l.queue, l.dropped
	l.queue, l.dropped = nil, 0
	if last {
		l.running = false
	}
	l.mu.Unlock()
	for _, r := range batch {
		l.write(r)
	}
	if dropped > 0 {
		l.write(Record{
			Time: l.cfg.Now(), Prio: Warn, Entity: l.cfg.Entity, PID: os.Getpid(),
			Text: fmt.Sprintf("cl_log: %d messages were dropped : the log was too slow", dropped),
		})
	}
}

// Run writes queued lines until ctx ends, and then what is left of them. While it runs, writing a
// line never waits for a disk or for syslogd; lines beyond some thousands are dropped and counted.
func (l *Log) Run(ctx context.Context) {
	l.mu.Lock()
	l.running = true
	l.mu.Unlock()
	for {
		select {
		case <-l.wake:
			l.drain(false)
		case <-ctx.Done():
			l.drain(true)
			return
		}
	}
}

// Flush waits until all lines written so far are with their destinations, or limit has passed.
func (l *Log) Flush(limit time.Duration) {
	done := make(chan struct{})
	go func() { // ends with the write that it waits for
		l.drain(false)
		close(done)
	}()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

// Reopen closes the files; the next line opens them again. For SIGHUP and log rotation.
func (l *Log) Reopen() {
	l.writing.Lock()
	defer l.writing.Unlock()
	for _, f := range l.files {
		f.close()
	}
}

// Close writes what is queued and closes files and syslog. A Log that is written to afterwards
// opens them again.
func (l *Log) Close() {
	l.drain(false)
	l.Reopen()
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.logd != nil {
		l.logd.close()
	}
	for _, o := range l.outs {
		if s, ok := o.logger.Out.(*syslogd); ok {
			s.close()
		}
	}
}

// OpenDebug opens the debug file for a child's standard output and error, as the originals' scripts
// have it; without a debug file it is the null device. Lines written before come before the child's.
func (l *Log) OpenDebug() (*os.File, error) {
	l.Flush(time.Second)
	if !isFile(l.cfg.DebugFile) {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	return openAppend(l.cfg.DebugFile)
}

// stderrOf writes to the Log's standard error of the moment.
type stderrOf struct{ l *Log }

// Write is io.Writer. It never fails: there is nobody to tell.
func (s stderrOf) Write(p []byte) (int, error) {
	s.l.mu.Lock()
	w := s.l.stderr
	s.l.mu.Unlock()
	if w != nil {
		_, _ = w.Write(p)
	}
	return len(p), nil
}
