package kernel

import (
	"slices"
	"testing"
)

func TestUnloadOrder(t *testing.T) {
	const modules = `ip_vs_pe_sip 16384 0 - Live 0x0000000000000000
nf_conntrack_sip 40960 1 ip_vs_pe_sip, Live 0x0000000000000000
ip_vs_wlc 16384 1 - Live 0x0000000000000000
ip_vs 180224 7 ip_vs_pe_sip,ip_vs_wlc, Live 0x0000000000000000
nf_conntrack 180224 3 nf_conntrack_sip,ip_vs, Live 0x0000000000000000
`
	for name, want := range map[string][]string{
		"ip_vs":        {"ip_vs_pe_sip", "ip_vs_wlc", "ip_vs"},
		"nf_conntrack": {"ip_vs_pe_sip", "nf_conntrack_sip", "ip_vs_wlc", "ip_vs", "nf_conntrack"},
		"ip_tables":    nil,
	} {
		if got := unloadOrder(modules, name); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
