package daemon

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Paths are the files of a running heartbeat. The two families of distributions differ in
// few of them, and a symbolic link from /var/run to /run makes even those the same.
type Paths struct {
	Etc     string // /etc/ha.d
	VarLib  string // /var/lib/heartbeat
	Run     string // /var/run
	PIDFile string // /var/run/heartbeat.pid
	FIFO    string // /var/lib/heartbeat/fifo
	RscTmp  string // /var/run/heartbeat/rsctmp
	Socket  string // /var/run/heartbeat/register: the client API's
	Public  string // /var/run/heartbeat.status: the same for everybody who may only ask
}

// DefaultPaths are those of the originals' packages (spec/heartbeat-config.md, 11).
func DefaultPaths() Paths { return PathsUnder("/") }

// PathsUnder are the same below root; tests use a directory of their own.
func PathsUnder(root string) Paths {
	p := Paths{
		Etc:    filepath.Join(root, "etc/ha.d"),
		VarLib: filepath.Join(root, "var/lib/heartbeat"),
		Run:    filepath.Join(root, "var/run"),
	}
	p.PIDFile = filepath.Join(p.Run, "heartbeat.pid")
	p.FIFO = filepath.Join(p.VarLib, "fifo")
	p.RscTmp = filepath.Join(p.Run, "heartbeat/rsctmp")
	p.Socket = filepath.Join(p.Run, "heartbeat/register")
	p.Public = filepath.Join(p.Run, "heartbeat.status")
	return p
}

// WorkDir is where the daemon and its children run: root's directory for core dumps, made if need
// be, or / where that cannot be. coreRoot is ha.cf's coreroot; "" is the usual place.
func WorkDir(p Paths, coreRoot string) string {
	if coreRoot == "" {
		coreRoot = filepath.Join(p.VarLib, "cores")
	}
	dir := filepath.Join(coreRoot, "root")
	if os.MkdirAll(dir, 0o700) != nil || unix.Access(dir, unix.X_OK) != nil {
		return "/"
	}
	return dir
}
