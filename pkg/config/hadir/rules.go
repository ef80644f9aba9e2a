package hadir

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// rules: ipvsadm's rules and ldirectord.cf are loaded one after the other; where both have a
// service, ldirectord's word is the last, and a difference only means a change at each start.
func (c *checker) rules() {
	if c.dir.Rules == nil || len(c.dir.Ldirectord) == 0 {
		return
	}
	for _, e := range c.dir.Rules.Table {
		at := c.dir.Rules.At(e.VIP, netip.AddrPort{})
		v := c.service(e.VIP)
		if v == nil {
			c.warn(at, "-A", "a virtual section for it, or no rule", "service %s is in no ldirectord.cf: nobody checks its real servers", name(e.VIP))
			continue
		}
		if e.Scheduler != v.Scheduler {
			said, _ := v.Place("scheduler")
			c.warn(at, "-A", "-s "+v.Scheduler, "service %s has scheduler %s, %s says %s", name(e.VIP), e.Scheduler, said, v.Scheduler)
		}
		if e.Persistent != v.Persistent {
			said, given := v.Place("persistent")
			if !given || v.Persistent == 0 {
				c.warn(at, "-A", "no -p", "service %s is persistent for %d s, not so in %s", name(e.VIP), e.Persistent, said)
			} else {
				c.warn(at, "-A", fmt.Sprintf("-p %d", v.Persistent), "service %s is persistent for %d s, %s says %d", name(e.VIP), e.Persistent, said, v.Persistent)
			}
		}
		for _, d := range e.Dests {
			c.destination(e.VIP, d.Dest, v)
		}
	}
}

// destination holds a rule's real server against those of the service.
func (c *checker) destination(service ipvs.VIP, d ipvs.Dest, v *ldirectordcf.Virtual) {
	at := c.dir.Rules.At(service, d.Addr)
	i := slices.IndexFunc(v.Reals, func(r ldirectordcf.Real) bool { return r.Addr == d.Addr })
	if i < 0 {
		if v.Fallback == nil || v.Fallback.Addr != d.Addr {
			c.warn(at, "-a", "a real= line for it, or no rule", "real server %s of %s is not in %s", d.Addr, name(service), v.Pos)
		}
		return
	}
	r := v.Reals[i]
	if d.Forward != r.Forward {
		c.warn(at, "-a", method(r.Forward), "real server %s of %s is reached by %s, %s says %s", d.Addr, name(service), method(d.Forward), r.Pos, method(r.Forward))
	}
	if d.Weight != r.Weight {
		c.warn(at, "-a", fmt.Sprintf("-w %d", r.Weight), "real server %s of %s has weight %d, %s says %d", d.Addr, name(service), d.Weight, r.Pos, r.Weight)
	}
}

func name(v ipvs.VIP) string {
	if v.FWMark != 0 {
		return fmt.Sprintf("fwmark %d", v.FWMark)
	}
	return v.Addr.String()
}

// method is ldirectord's word for a forwarding method.
func method(f ipvs.Forward) string {
	switch f {
	case ipvs.Masq:
		return "masq"
	case ipvs.Tunnel:
		return "ipip"
	}
	return "gate"
}

func portText(port uint16) string { return strconv.Itoa(int(port)) }

// service is the section of a service, in whichever file.
func (c *checker) service(vip ipvs.VIP) *ldirectordcf.Virtual {
	for _, cf := range c.dir.Ldirectord {
		for i := range cf.Virtuals {
			if cf.Virtuals[i].VIP == vip {
				return &cf.Virtuals[i]
			}
		}
	}
	return nil
}
