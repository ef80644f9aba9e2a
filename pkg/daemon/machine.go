package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strings"

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
	}
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
