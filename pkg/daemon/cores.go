package daemon

import (
	"errors"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/halog"
)

// setCores has a crash leave a core file in the working directory, or not, as coredumps says. The limit is inherited by
// all children, as the original's is.
func setCores(on bool, log *halog.Logger) {
	word, limit := "disable", unix.Rlimit{}
	if on {
		word = "enable"
		if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil {
			log.Logf(halog.Error, "Cannot get current core limit value.: %s", strerror(err))
			return
		}
		if limit.Max == 0 {
			log.Log(halog.Warn, "Not possible to enable core dumps (rlim_max is 0)")
			return
		}
		limit.Cur = limit.Max
		// A fault in the program itself prints all goroutines and then ends by SIGABRT, which dumps.
		debug.SetTraceback("crash")
	} else if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err == nil {
		limit.Cur = 0
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &limit); err != nil && !errors.Is(err, unix.EPERM) {
		log.Logf(halog.Error, "Unable to %s core dumps: %s", word, strerror(err))
	}
}
