package realserver

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/systole-ha/systole/pkg/diag"
)

// Parse reads the list of virtual addresses: one or more to a line, apart from comments (#). A line may also look like
// one of the scripts that it replaces: VIP="172.16.60.111", SNS_VIP1=172.16.60.111. Each address counts once.
func Parse(file, text string) ([]netip.Addr, diag.List) {
	var vips []netip.Addr
	var problems diag.List
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(strings.TrimRight(line, "\r\n"), "#")
		if name, value, ok := strings.Cut(line, "="); ok && !strings.ContainsAny(strings.TrimSpace(name), " \t") {
			line = strings.Repeat(" ", len(name)+1) + value
		}
		line = strings.Map(func(r rune) rune {
			if strings.ContainsRune("\"';,\t", r) {
				return ' '
			}
			return r
		}, line)
		for at := 0; ; {
			rest := line[at:]
			word := strings.TrimLeft(rest, " ")
			at += len(rest) - len(word)
			word, _, _ = strings.Cut(word, " ")
			if word == "" {
				break
			}
			vip, err := ParseAddr(word)
			if err != nil {
				problems = append(problems, diag.Problem{Pos: diag.Pos{File: file, Line: n, Col: at + 1}, Sev: diag.Error, Msg: err.Error(), Want: "an address"})
			} else {
				vips = appendNew(vips, vip)
			}
			at += len(word)
		}
	}
	return vips, problems
}

// ParseAddr reads a virtual address; "/32" and "/128" may follow.
func ParseAddr(word string) (netip.Addr, error) {
	text := strings.TrimSuffix(strings.TrimSuffix(word, "/32"), "/128")
	vip, err := netip.ParseAddr(text)
	if err != nil || vip.Zone() != "" || vip.IsUnspecified() || vip.IsMulticast() || vip.IsLoopback() {
		return netip.Addr{}, fmt.Errorf("bad virtual address %q", word)
	}
	return vip.Unmap(), nil
}

func appendNew(list []netip.Addr, a netip.Addr) []netip.Addr {
	for _, b := range list {
		if a == b {
			return list
		}
	}
	return append(list, a)
}
