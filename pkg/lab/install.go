package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// programDirs are the places of the originals' programs. /usr/lib64/heartbeat, where CentOS has
// what Debian has in /usr/libexec/heartbeat, is a link.
var programDirs = map[string][]string{
	"usr/libexec/heartbeat": {"heartbeat", "ipfail", "dopd", "drbd-peer-outdater", "apphbd", "findif", "send_arp", "send_ua"},
	"usr/share/heartbeat":   {"ha_propagate", "ResourceManager", "hb_standby", "hb_takeover", "hb_addnode", "hb_delnode", "hb_setweight", "hb_setsite", "mach_down", "req_resource"},
	"usr/bin":               {"cl_status", "cl_respawn"},
	"usr/sbin":              {"ldirectord", "ipvsadm", "ipvsadm-save", "ipvsadm-restore", "systole"},
}

// installLinks makes an install root in which each name of a program that ours is links to it. ipfail
// is in the heartbeat process, but ha.cf names it and its file has to be there.
func installLinks(program, root string) error {
	if program == "" {
		return errors.New("no program given (HostsOptions.Systole)")
	}
	const home = "usr/lib/systole/systole"
	if err := copyFile(program, filepath.Join(root, home), 0o755); err != nil {
		return err
	}
	out, err := exec.Command(program, "programs").Output()
	if err != nil {
		return fmt.Errorf("%s programs: %w", program, err)
	}
	have := append(strings.Fields(string(out)), "ipfail", "systole")
	for _, dir := range sortedKeys(programDirs) {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
		for _, name := range programDirs[dir] {
			if !slices.Contains(have, name) {
				continue
			}
			if err := os.Symlink("/"+home, filepath.Join(root, dir, name)); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "usr/lib64"), 0o755); err != nil {
		return err
	}
	return os.Symlink("/usr/libexec/heartbeat", filepath.Join(root, "usr/lib64/heartbeat"))
}

func copyFile(from, to string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		return errors.Join(fmt.Errorf("copy %s: %w", from, err), out.Close())
	}
	return out.Close()
}
