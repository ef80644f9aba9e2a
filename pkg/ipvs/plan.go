package ipvs

import "net/netip"

// Plan returns the operations that turn the table have into want, in an order in which no
// service is without a working destination longer than want itself says: first services are
// added and changed, then destinations that carry traffic are added and changed, then others
// lose their weight, then destinations and at last services are deleted. Within each step
// want's order is kept (have's for deletions), so equal inputs give equal plans.
//
// Every difference of two services with one VIP can be edited in the kernel; nothing is
// deleted to be added again. Counters are not compared. Of several entries in want for one VIP,
// or several destinations with one address, the first counts.
func Plan(have, want []Entry) []Op {
	haveAt, wantAt := index(have), index(want)
	var services, carrying, weightless, goneDests, goneServices []Op
	for i, w := range want {
		if wantAt[w.VIP] != i {
			continue
		}
		var old Entry
		if h, ok := haveAt[w.VIP]; !ok {
			services = append(services, Op{Kind: AddService, Service: w.Service})
		} else {
			old = have[h]
			if !sameService(old.Service, w.Service) {
				services = append(services, Op{Kind: EditService, Service: w.Service})
			}
		}
		oldAt, newAt := indexDests(old.Dests), indexDests(w.Dests)
		for j, d := range w.Dests {
			if newAt[d.Addr] != j {
				continue
			}
			op := Op{Kind: AddDest, Service: w.Service, Dest: d.Dest}
			if k, ok := oldAt[d.Addr]; ok {
				if sameDest(old.Dests[k].Dest, d.Dest) {
					continue
				}
				op.Kind = EditDest
			}
			if d.Weight > 0 {
				carrying = append(carrying, op)
			} else {
				weightless = append(weightless, op)
			}
		}
		for _, d := range old.Dests {
			if _, ok := newAt[d.Addr]; !ok {
				goneDests = append(goneDests, Op{Kind: DelDest, Service: w.Service, Dest: d.Dest})
			}
		}
	}
	for _, h := range have {
		if _, ok := wantAt[h.VIP]; !ok {
			goneServices = append(goneServices, Op{Kind: DelService, Service: h.Service})
		}
	}
	plan := services
	for _, step := range [][]Op{carrying, weightless, goneDests, goneServices} {
		plan = append(plan, step...)
	}
	return plan
}

func index(entries []Entry) map[VIP]int {
	at := make(map[VIP]int, len(entries))
	for i, e := range entries {
		if _, dup := at[e.VIP]; !dup {
			at[e.VIP] = i
		}
	}
	return at
}

func indexDests(dests []DestEntry) map[netip.AddrPort]int {
	at := make(map[netip.AddrPort]int, len(dests))
	for i, d := range dests {
		if _, dup := at[d.Addr]; !dup {
			at[d.Addr] = i
		}
	}
	return at
}

func sameService(have, want Service) bool {
	have.Netmask, want.Netmask = have.Mask(), want.Mask()
	return have == want
}

// sameDest takes a destination that the kernel shows as Local for one with any forwarding
// method: kernels before 3.x turned destinations on the machine's own addresses into that, and
// would do so after every edit.
func sameDest(have, want Dest) bool {
	if have.Forward == Local {
		have.Forward = want.Forward
	}
	return have == want
}
