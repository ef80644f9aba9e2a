package ipvsadm

import (
	"os"
	"path/filepath"
	"regexp"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// Exit statuses of Red Hat's script, which are those of LSB and one of its own.
const (
	exitFailed        = 1
	exitNotRunning    = 3
	exitNotConfigured = 6
	exitDisabled      = 150
)

// redHat is the init script of Red Hat's package, with /etc/sysconfig/ipvsadm-config:
//
//	IPVS_SAVE_ON_STOP     yes|no (no)   save the table into the rule file when it stops
//	IPVS_SAVE_ON_RESTART  yes|no (no)   ... when it restarts
//	IPVS_STATUS_NUMERIC   yes|no (yes)  numbers, no names, in what status shows
//	IPVS_MODULES_UNLOAD   yes|no (yes)  unload the kernel's modules when it stops
func (r *run) redHat(op agent.Op) int {
	s := map[string]string{"IPVS_STATUS_NUMERIC": "yes", "IPVS_MODULES_UNLOAD": "yes"}
	for name, value := range r.settings(redHatSettings) {
		s[name] = value
	}
	switch op {
	case agent.Start, Reload:
		return r.redHatStart(op == Reload)
	case agent.Stop:
		return r.redHatStop(s)
	case Restart, ForceReload:
		if s["IPVS_SAVE_ON_RESTART"] == "yes" {
			r.redHatSave()
		}
		r.redHatStop(s)
		return r.redHatStart(false)
	case agent.Status:
		return r.redHatStatus(s["IPVS_STATUS_NUMERIC"] == "yes")
	case Save:
		return r.redHatSave()
	}
	return noSuchOperation
}

func (r *run) redHatStart(reload bool) int {
	if !reload && r.locked() && (r.filled() || !isThere(r.o.Root, redHatRules)) {
		return 0
	}
	if !isThere(r.o.Root, redHatRules) {
		if r.redHatSave(); !isThere(r.o.Root, redHatRules) {
			r.errorf("%s: no rules, and no table to save", redHatRules)
			return exitNotConfigured
		}
	}
	if r.disabled() {
		r.print("ipvsadm: ip_vs is disabled.")
		return exitDisabled
	}
	how := r.load(redHatRules, reload)
	r.print("ipvsadm: Clearing the current IPVS table:%s", outcome(r.table != nil))
	r.print("ipvsadm: Applying IPVS configuration: %s", outcome(how.ended))
	if !how.ended {
		r.unlock()
		return exitFailed
	}
	return 0
}

func (r *run) redHatStop(s map[string]string) int {
	if s["IPVS_SAVE_ON_STOP"] == "yes" {
		r.redHatSave()
	}
	if !r.o.Loaded() {
		r.unmark()
		return 0
	}
	code := 0
	r.print("ipvsadm: Clearing the current IPVS table:%s", outcome(r.clear()))
	if s["IPVS_MODULES_UNLOAD"] == "yes" && r.o.Unload != nil {
		r.close()
		err := r.o.Unload()
		r.print("ipvsadm: Unloading modules:%s", outcome(err == nil))
		if err != nil {
			r.errorf("%v", err)
			code = exitFailed
		}
	}
	return code
}

func (r *run) redHatStatus(numeric bool) int {
	switch {
	case r.o.Loaded():
	case !r.locked():
		r.output.WriteString("ipvsadm: IPVS is not running.\n")
		return exitNotRunning
	default:
		r.output.WriteString("ipvsadm: IPVS module is not loaded.\n")
		return exitNotRunning
	}
	names := ipvs.Names{}
	if !numeric {
		names = r.o.Names(r.ctx)
	}
	text, _ := r.list(ipvs.Format{}, names)
	r.output.WriteString(text + "\n")
	return 0
}

func (r *run) redHatSave() int {
	if !r.o.Loaded() {
		return 0
	}
	ok := r.save(redHatRules, "")
	r.print("ipvsadm: Saving IPVS table to %s: %s", redHatRules, outcome(ok))
	if !ok {
		return exitFailed
	}
	return 0
}

// noModule is how an administrator forbids a module.
var noModule = regexp.MustCompile(`(?m)^\s*install\s+ip_vs\s+/bin/(true|false)\b`)

// disabled tells whether the configuration of modprobe forbids ip_vs.
func (r *run) disabled() bool {
	files, _ := filepath.Glob(r.path("/etc/modprobe.d/*")) // the pattern is sound
	for _, file := range append(files, r.path("/etc/modprobe.conf")) {
		if text, err := os.ReadFile(file); err == nil && noModule.Match(text) {
			return true
		}
	}
	return false
}
