package applet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/hadir"
	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/resource"
)

// How long check waits for a name server.
const lookupLimit = 5 * time.Second

// machineHost answers ha.cf's questions about this machine: those that the daemon asks when it
// starts, and names, which the daemon finds out when it opens its media.
func machineHost(node string) hacf.Host {
	host := daemon.Host(node)
	host.Resolve = func(name string, ipv6 bool) error {
		network := "ip4"
		if ipv6 {
			network = "ip6"
		}
		ctx, cancel := context.WithTimeout(context.Background(), lookupLimit)
		defer cancel()
		_, err := net.DefaultResolver.LookupNetIP(ctx, network, name)
		if dns := new(net.DNSError); errors.As(err, &dns) {
			return errors.New(dns.Err)
		}
		return err
	}
	return host
}

// scriptDirs are where the scripts of resources are.
func (in *inspector) scriptDirs(dir string) []string {
	return []string{filepath.Join(dir, "resource.d"), in.root + "/etc/ha.d/resource.d", in.root + "/etc/init.d"}
}

// machine is what the files of dir are held against.
func (in *inspector) machine(dir string) hadir.Machine {
	scripts := in.scriptDirs(dir)
	agents := builtin(nil, nil, nil, nil)
	pid, _ := daemon.Running(daemon.PathsUnder(in.root + "/").PIDFile)
	return hadir.Machine{
		Links: links(),
		Script: func(name string) hadir.Script {
			if path, ok := resource.FindProgram(name, scripts...); ok {
				return hadir.Script{Path: path, Stock: slices.Contains(in.builtin, name) || resource.IsStock(name, path)}
			}
			for _, d := range scripts {
				if path := filepath.Join(d, name); exists(path) && !strings.Contains(name, "/") {
					return hadir.Script{Path: path, Bare: true}
				}
			}
			return hadir.Script{}
		},
		Builtin:  func(name string) bool { _, ok := agents[name]; return ok },
		PortUser: udpPortUser,
		Exists:   func(path string) bool { _, err := os.Stat(path); return err == nil },
		Runnable: func(path string) bool { return exists(path) && unix.Access(path, unix.X_OK) == nil },
		Sysctl: func(name string) string {
			text, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(name, ".", "/"))
			if err != nil {
				return ""
			}
			return strings.TrimSpace(string(text))
		},
		NoIPVS:  in.wantsKernel() && !kernelHasIPVS(),
		Running: pid != 0,
	}
}

// wantsKernel tells whether the daemon would work on the kernel's table.
func (in *inspector) wantsKernel() bool {
	kind := in.env.Getenv(ipvsEnv)
	if kind == "" {
		kind = in.ipvs
	}
	return kind == "" || kind == "kernel"
}

// kernelHasIPVS tells whether IPVS is loaded, or there for modprobe.
func kernelHasIPVS() bool {
	if _, err := os.Stat("/proc/net/ip_vs"); err == nil {
		return true
	}
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return true // who knows
	}
	dir := "/lib/modules/" + unix.ByteSliceToString(name.Release[:])
	for _, list := range []string{"modules.dep", "modules.builtin"} {
		if text, err := os.ReadFile(filepath.Join(dir, list)); err == nil && strings.Contains(string(text), "/ip_vs.ko") {
			return true
		}
	}
	return false
}

// links are the interfaces with their addresses, nil if they cannot be listed.
func links() map[string]hadir.Link {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	list := map[string]hadir.Link{}
	for _, i := range interfaces {
		l := hadir.Link{Down: i.Flags&net.FlagUp == 0}
		addrs, err := i.Addrs()
		if err != nil {
			addrs = nil // it has gone meanwhile
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				l.Addrs = append(l.Addrs, p)
			}
		}
		list[i.Name] = l
	}
	return list
}

// udpPortUser is the process that has a UDP port, unless it is a heartbeat; "" if nobody has it, or
// if it cannot be told who for lack of rights.
func udpPortUser(port int) string {
	sockets := map[string]bool{}
	for _, table := range []string{"/proc/thread-self/net/udp", "/proc/thread-self/net/udp6"} {
		text, _ := os.ReadFile(table) // udp6 is not there without IPv6
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				sockets["socket:["+f[9]+"]"] = true
			}
		}
	}
	if len(sockets) == 0 {
		return ""
	}
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	found := false
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err != nil || !sockets[to] {
			continue
		}
		found = true
		proc := filepath.Dir(filepath.Dir(fd))
		cmdline, _ := os.ReadFile(proc + "/cmdline")
		name, _, _ := strings.Cut(string(cmdline), "\x00")
		if name = filepath.Base(name); name != "heartbeat" && name != "systole" && !strings.HasPrefix(name, "heartbeat:") {
			return fmt.Sprintf("%s (pid %s)", name, filepath.Base(proc))
		}
	}
	if !found && os.Geteuid() == 0 {
		return "a process that is not seen from here"
	}
	return ""
}

func exists(file string) bool {
	st, err := os.Stat(file)
	return err == nil && st.Mode().IsRegular()
}

// writable says why a file could not be appended to; one that is not there could be made.
func writable(path string) error {
	err := unix.Access(path, unix.W_OK)
	if errors.Is(err, unix.ENOENT) {
		return unix.Access(filepath.Dir(path), unix.W_OK)
	}
	return err
}
