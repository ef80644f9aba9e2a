package media

import (
	"context"
	"fmt"
	"net"
	"net/netip"
)

// resolve is the first IPv4 address of a host given by address or name.
func resolve(ctx context.Context, host string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		if a = a.Unmap(); a.Is4() {
			return a, nil
		}
		return a, fmt.Errorf("host %s: not an IPv4 address", host)
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("host %s: %w", host, err)
	}
	return addrs[0].Unmap(), nil
}
