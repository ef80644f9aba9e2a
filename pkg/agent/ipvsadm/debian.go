package ipvsadm

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// debian is Debian's init script, with /etc/default/ipvsadm:
//
//	AUTO    true|false (false)  load the rules at the start, clear the table at the stop
//	DAEMON  none|master|backup|both (none)  sync daemons to start and stop
//	IFACE   interface (eth0)    of the sync daemons
//	SYNCID  0 to 255 (0)        of the sync daemons
//
// With its defaults it does nothing at all. Whatever it does succeeds.
func (r *run) debian(op agent.Op) int {
	s := r.settings(debianSettings)
	auto := s["AUTO"] == "true"
	if _, err := os.Stat(r.path(debianRules)); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(r.path(debianRules), []byte(debianHead), 0o644); err != nil {
			r.errorf("%v", err)
		}
	}
	switch op {
	case agent.Start:
		if auto {
			r.debianLoad(false)
		}
		r.startDaemons(s)
	case agent.Stop:
		r.stopDaemons(s)
		if auto {
			r.debianClear()
		}
	case Restart:
		r.stopDaemons(s)
		if auto {
			r.debianLoad(true)
		}
		r.startDaemons(s)
	case Reload, ForceReload:
		if auto {
			r.debianLoad(true)
		}
	case Load:
		r.debianLoad(true)
	case Save:
		r.print("Saving IPVS configuration...done.")
		r.save(debianRules, debianHead)
	case agent.Status, Rate:
		text, _ := r.list(ipvs.Format{Rate: op == Rate}, ipvs.Names{})
		r.output.WriteString(text)
	default:
		return noSuchOperation
	}
	return 0
}

// debianHead is the first line of Debian's rule file.
const debianHead = "# ipvsadm.rules\n"

func (r *run) debianLoad(reload bool) {
	ok := r.load(debianRules, reload).ended
	r.print("Clearing the current IPVS table...%s", ended(r.table != nil))
	r.print("Loading IPVS configuration...%s", ended(ok))
}

func (r *run) debianClear() {
	r.print("Clearing the current IPVS table...%s", ended(r.clear()))
}

// ended is how an action ends; the script says that it is done in every case.
func ended(ok bool) string {
	if ok {
		return "done."
	}
	return "failed.\ndone."
}

func (r *run) startDaemons(s map[string]string) {
	if !r.eachDaemon(s, "Starting", ipvs.SyncTable.StartSync, ipvs.ErrExists) {
		r.print("ipvsadm is not configured to run. Please edit /etc/default/ipvsadm.")
	}
}

func (r *run) stopDaemons(s map[string]string) {
	if !r.eachDaemon(s, "Stopping", ipvs.SyncTable.StopSync, ipvs.ErrNoDaemon) {
		r.print("ipvsadm is not configured to run. Please run dpkg-reconfigure ipvsadm.")
	}
}

// eachDaemon makes a call for the daemons that the settings name; false if they name none.
func (r *run) eachDaemon(s map[string]string, what string, call syncCall, already error) bool {
	roles := map[string][]ipvs.SyncRole{
		"master": {ipvs.SyncMaster}, "backup": {ipvs.SyncBackup}, "both": {ipvs.SyncMaster, ipvs.SyncBackup},
	}[s["DAEMON"]]
	failed := false
	for _, role := range roles {
		if !r.open() {
			failed = true
			break
		}
		d := ipvs.SyncDaemon{Role: role, Iface: s["IFACE"]}
		if d.Iface == "" {
			d.Iface = "eth0"
		}
		if id, err := strconv.ParseUint(s["SYNCID"], 10, 8); err == nil {
			d.SyncID = uint8(id)
		}
		switch err := r.daemon(call, d); {
		case errors.Is(err, already):
			failed = true // the script says so; heartbeat has no need to know
		case err != nil:
			failed = true
			r.errorf("%v", err)
		}
	}
	if len(roles) == 0 {
		return false
	}
	end := "."
	if failed && len(roles) > 1 {
		end = " failed!"
	} else if failed {
		end = " failed!\n." // two words of the script's
	}
	r.print("%s IPVS Connection Synchronization Daemon: %s%s", what, strings.ReplaceAll(s["DAEMON"], "both", "master backup"), end)
	return true
}
