package daemon

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/halog"
)

// signalWords are how the original's process tracker (cluster-glue's proctrack.c) calls signals.
var signalWords = map[syscall.Signal]string{
	unix.SIGHUP: "Hangup", unix.SIGINT: "Interrupt", unix.SIGQUIT: "Quit", unix.SIGILL: "Illegal instruction",
	unix.SIGTRAP: "Trace", unix.SIGABRT: "Abort", unix.SIGBUS: "BUS error", unix.SIGFPE: "Floating-point exception",
	unix.SIGKILL: "Kill, unblockable", unix.SIGUSR1: "User-defined signal 1", unix.SIGSEGV: "Segmentation violation",
	unix.SIGUSR2: "User-defined signal 2", unix.SIGPIPE: "Broken pipe (POSIX)", unix.SIGALRM: "Alarm clock (POSIX)",
	unix.SIGTERM: "Termination (ANSI)", unix.SIGSTKFLT: "Stack fault", unix.SIGXCPU: "CPU limit exceeded",
	unix.SIGXFSZ: "File size limit exceeded", unix.SIGVTALRM: "Virtual alarm clock", unix.SIGPROF: "Profiling alarm clock",
	unix.SIGIO: "I/O now possible", unix.SIGPWR: "Power failure restart", unix.SIGSYS: "Bad system call",
}

// LogDeath writes what the original's process tracker writes about the end of a managed process.
func LogDeath(log *halog.Logger, name string, pid int, ws syscall.WaitStatus) {
	switch {
	case ws.Signaled():
		words := ""
		if w, ok := signalWords[ws.Signal()]; ok {
			words = fmt.Sprintf(" [%s - %s]", unix.SignalName(ws.Signal()), w)
		}
		log.Logf(halog.Warn, "Managed %s process %d killed by signal %d%s.", name, pid, ws.Signal(), words)
	case ws.ExitStatus() == 0:
		log.Logf(halog.Info, "Managed %s process %d exited with return code 0.", name, pid)
	default:
		log.Logf(halog.Warn, "Managed %s process %d exited with return code %d.", name, pid, ws.ExitStatus())
	}
}

// logCore tells of a core dump, which the original does even while it shuts down.
func logCore(log *halog.Logger, name string, pid int, ws syscall.WaitStatus) {
	if ws.CoreDump() {
		log.Logf(halog.Error, "Managed %s process %d dumped core", name, pid)
	}
}
