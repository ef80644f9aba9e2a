package ipvsadm

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/ipvs"
)

// How long one host name or address may take to resolve.
const lookupLimit = 10 * time.Second

// SystemNames resolves with this machine's hosts file, name servers and services file. Answers
// are kept as long as the value.
func SystemNames(ctx context.Context) ipvs.Names {
	addrs := map[string]netip.Addr{}
	hosts := map[netip.Addr]string{}
	var services []service
	read := false
	known := func() []service {
		if !read {
			services, read = readServices("/etc/services"), true
		}
		return services
	}
	return ipvs.Names{
		Addr: func(host string) (netip.Addr, bool) {
			addr, ok := addrs[host]
			if !ok {
				ctx, cancel := context.WithTimeout(ctx, lookupLimit)
				defer cancel()
				if all, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host); err == nil && len(all) > 0 {
					addr = all[0].Unmap()
				}
				addrs[host] = addr
			}
			return addr, addr.IsValid()
		},
		Host: func(addr netip.Addr) (string, bool) {
			name, ok := hosts[addr]
			if !ok {
				ctx, cancel := context.WithTimeout(ctx, lookupLimit)
				defer cancel()
				if names, err := net.DefaultResolver.LookupAddr(ctx, addr.String()); err == nil && len(names) > 0 {
					name = strings.TrimSuffix(names[0], ".")
				}
				hosts[addr] = name
			}
			return name, name != ""
		},
		Port: func(name, proto string) (uint16, bool) {
			for _, s := range known() {
				if s.proto == proto && s.called(name) {
					return s.port, true
				}
			}
			return 0, false
		},
		Service: func(port uint16, proto string) (string, bool) {
			for _, s := range known() {
				if s.proto == proto && s.port == port {
					return s.names[0], true
				}
			}
			return "", false
		},
	}
}

// service is a line of services(5): the name first, then its aliases.
type service struct {
	names []string
	port  uint16
	proto string
}

func (s service) called(name string) bool {
	for _, n := range s.names {
		if n == name {
			return true
		}
	}
	return false
}

// readServices reads a services file; one that is missing or wrong in places gives what it has.
func readServices(path string) []service {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var services []service
	for lines := bufio.NewScanner(f); lines.Scan(); {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) < 2 {
			continue
		}
		number, proto, ok := strings.Cut(words[1], "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if !ok || err != nil {
			continue
		}
		services = append(services, service{names: append(words[:1:1], words[2:]...), port: uint16(port), proto: proto})
	}
	return services
}
