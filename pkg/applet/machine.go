package applet

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/config/hadir"
	"github.com/systole-ha/systole/pkg/daemon"
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

// machine is what the files of dir are held against.
func (in *inspector) machine(dir string) hadir.Machine {
	scripts := []string{filepath.Join(dir, "resource.d"), in.root + "/etc/ha.d/resource.d", in.root + "/etc/init.d"}
	return hadir.Machine{
		Links: links(),
		Script: func(name string) (string, bool) {
			for _, d := range scripts {
				path := filepath.Join(d, name)
				if exists(path) && unix.Access(path, unix.X_OK) == nil {
					return path, true
				}
			}
			return "", false
		},
		Builtin: func(name string) bool {
			return slices.Contains([]string{"IPaddr", "IPaddr2", "IPv6addr", "ipvsadm", "ldirectord"}, name)
		},
	}
}

// links are the interfaces with their addresses, nil if they cannot be listed.
func links() map[string][]netip.Prefix {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	list := map[string][]netip.Prefix{}
	for _, i := range interfaces {
		list[i.Name] = nil
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has gone meanwhile
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				list[i.Name] = append(list[i.Name], p)
			}
		}
	}
	return list
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
