package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/config/hacf"
)

// Host answers the parser's questions about this machine.
func Host(node string) hacf.Host {
	return hacf.Host{
		Node:        node,
		UserExists:  func(name string) bool { _, err := user.Lookup(name); return err == nil },
		GroupExists: func(name string) bool { _, err := user.LookupGroup(name); return err == nil },
		Executable: func(path string) bool {
			// ipfail runs inside the daemon: its program need not be there, nor belong to this family.
			return isIpfail(path) || unix.Access(path, unix.X_OK) == nil
		},
		CheckLink: checkLink,
		LinkIndex: func(name string) (int, error) {
			i, err := net.InterfaceByName(name)
			if err != nil {
				return 0, cause(err)
			}
			return i.Index, nil
		},
		CheckTTY: func(path string) error {
			st, err := os.Stat(path)
			if err != nil {
				return err
			}
			if st.Mode()&os.ModeCharDevice == 0 {
				return unix.ENOTTY
			}
			return nil
		},
		ServiceOfPort: serviceOfPort,
		PortOfService: func(name string) error {
			_, err := net.LookupPort("udp", name)
			return err
		},
		StonithType:  stonithPlugin,
		StonithNames: stonithNames,
		ReadFile: func(path string) ([]byte, error) {
			text, err := os.ReadFile(path)
			return text, cause(err)
		},
	}
}

// stonithDirs are where cluster-glue has its plugins.
var stonithDirs = []string{"/usr/lib*/stonith/plugins/stonith2", "/usr/lib/*/stonith/plugins/stonith2"}

// stonithPlugin tells whether cluster-glue has a plugin of that name. External/NAME and rhcs/NAME are
// programs that the plugins external and rhcs run.
func stonithPlugin(name string) bool {
	name, _, _ = strings.Cut(name, "/")
	for _, pattern := range stonithDirs {
		dirs, _ := filepath.Glob(pattern) // the pattern is sound
		for _, dir := range dirs {
			if unix.Access(filepath.Join(dir, name+".so"), unix.R_OK) == nil {
				return true
			}
		}
	}
	return false
}

// askLimit is how long a stonith plugin may take to tell its parameters' names.
const askLimit = 5 * time.Second

// stonithNames asks cluster-glue's stonith command for the names of a plugin's parameters.
func stonithNames(plugin string) ([]string, error) {
	if kind, program, ok := strings.Cut(plugin, "/"); ok && kind == "external" {
		if files, _ := filepath.Glob("/usr/lib*/stonith/plugins/external/" + program); len(files) == 0 {
			return nil, fs.ErrNotExist
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, "stonith", "-t", plugin, "-n").Output()
	if err != nil {
		return nil, nil // no such command, or it does not know either: the device will tell
	}
	return strings.Fields(string(out)), nil
}

// starting is host for a daemon that may have been started before DHCP has done its work: the
// original waits up to two minutes for a mcast's interface to get its address, and to open the
// medium is our time to wait.
func starting(host hacf.Host) hacf.Host {
	strict := host.CheckLink
	host.CheckLink = func(kind, name string) error {
		err := strict(kind, name)
		if kind == "mcast" && errors.Is(err, unix.EADDRNOTAVAIL) {
			return nil
		}
		return err
	}
	return host
}

// checkLink asks the kernel what the original's media plugins ask it: lo has a broadcast address for
// it (0.0.0.0), and an interface that is down has one too; one without an IPv4 address has none.
func checkLink(kind, name string) error {
	request := map[string]uint{"bcast": unix.SIOCGIFBRDADDR, "mcast": unix.SIOCGIFADDR}[kind]
	if request == 0 {
		request = unix.SIOCGIFINDEX
	}
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return unix.ENODEV // too long for a name
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written to it
	return unix.IoctlIfreq(fd, request, ifr)
}

// serviceOfPort is the name that /etc/services has for a UDP port; "" is none.
func serviceOfPort(port int) string {
	text, err := os.ReadFile("/etc/services")
	if err != nil {
		return ""
	}
	want := fmt.Sprintf("%d/udp", port)
	for line := range strings.SplitSeq(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		if f := strings.Fields(line); len(f) > 1 && f[1] == want {
			return f[0]
		}
	}
	return ""
}
