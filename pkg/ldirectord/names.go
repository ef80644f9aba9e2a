package ldirectord

import (
	"net/netip"
	"sync"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// hostLookups is how many of a configuration's names are looked up at a time.
const hostLookups = 64

// Parse is [ldirectordcf.Parse], but looks up names at the same time and not one after the other, which
// takes long for many when a name server does not answer.
func Parse(file string, text []byte, o ldirectordcf.Options) (*ldirectordcf.Config, diag.List) {
	type question struct {
		name   string
		family ipvs.Family
	}
	type answer struct {
		addr netip.Addr
		err  error
	}
	answers := map[question]*answer{}
	lookup := o.LookupHost
	o.LookupHost = func(name string, family ipvs.Family) (netip.Addr, error) {
		answers[question{name, family}] = &answer{}
		if family == ipvs.IPv6 { // anything, as this reading does not count then
			return netip.IPv6Loopback(), nil
		}
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	}
	config, problems := ldirectordcf.Parse(file, text, o)
	if len(answers) == 0 {
		return config, problems
	}
	var all sync.WaitGroup
	slots := make(chan struct{}, hostLookups)
	for q, a := range answers {
		all.Go(func() {
			slots <- struct{}{}
			a.addr, a.err = lookup(q.name, q.family)
			<-slots
		})
	}
	all.Wait()
	o.LookupHost = func(name string, family ipvs.Family) (netip.Addr, error) {
		if a := answers[question{name, family}]; a != nil {
			return a.addr, a.err
		}
		return lookup(name, family)
	}
	return ldirectordcf.Parse(file, text, o)
}
