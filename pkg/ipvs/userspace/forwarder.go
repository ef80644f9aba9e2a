package userspace

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/model"
)

// Default idle times of connection entries, as the kernel's.
const (
	defaultTCP    = 900 * time.Second
	defaultTCPFin = 120 * time.Second
	defaultUDP    = 300 * time.Second
)

// Forwarder is the table and the traffic. New starts nothing; each service that is added
// starts one goroutine that accepts its clients, and each client one or two more. Close ends
// and joins them all.
type Forwarder struct {
	wg sync.WaitGroup // every goroutine of every service

	mu       sync.Mutex
	table    *model.Table // what is configured, and the kernel's refusals
	services map[ipvs.VIP]*service
	closed   bool
	now      func() time.Time
}

// service is one virtual service with its listener. Guarded by Forwarder.mu.
type service struct {
	f         *Forwarder
	cfg       ipvs.Service
	dests     []*dest
	sched     scheduler
	stats     ipvs.Stats
	templates map[netip.Prefix]*template // persistence: client network to destination
	swept     time.Time                  // when those whose time is over were dropped
	stop      func()                     // closes the listener and all its connections
}

// template is a client network's destination while it lasts.
type template struct {
	dest    *dest
	conns   int // open connections that hold the template
	expires time.Time
}

// New returns an empty forwarder.
func New() *Forwarder {
	return &Forwarder{table: model.New(), services: map[ipvs.VIP]*service{}, now: time.Now}
}

// Caps says what differs from the kernel.
func (f *Forwarder) Caps() ipvs.Caps {
	c := f.table.Caps()
	c.Name = "userspace"
	return c
}

// Do carries out one operation. Adding a TCP or UDP service opens its socket: an address in use
// is an error with its errno, and nothing is added. The address need not be up yet.
func (f *Forwarder) Do(ctx context.Context, op ipvs.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return fmt.Errorf("change table: %w", net.ErrClosed)
	}
	if err := f.table.Do(ctx, op); err != nil {
		return err
	}
	switch op.Kind {
	case ipvs.AddService:
		s := &service{f: f, cfg: op.Service, templates: map[netip.Prefix]*template{}, stop: func() {}}
		s.sched.last = -1
		if err := s.listen(); err != nil {
			if undo := f.table.Do(ctx, ipvs.Op{Kind: ipvs.DelService, Service: op.Service}); undo != nil {
				return fmt.Errorf("add service %v: %w (and it stays listed: %v)", op.Service.Addr, err, undo)
			}
			return fmt.Errorf("add service %v: %w", op.Service.Addr, err)
		}
		f.services[op.Service.VIP] = s
	case ipvs.EditService:
		s := f.services[op.Service.VIP]
		if s.cfg.Scheduler != op.Service.Scheduler {
			s.sched = scheduler{last: -1}
		}
		s.cfg = op.Service
	case ipvs.DelService:
		f.services[op.Service.VIP].stop()
		delete(f.services, op.Service.VIP)
	case ipvs.AddDest:
		s := f.services[op.Service.VIP]
		s.dests = append(s.dests, &dest{cfg: op.Dest})
	case ipvs.EditDest:
		if d := f.services[op.Service.VIP].dest(op.Dest.Addr); d != nil {
			d.cfg = op.Dest
			d.updateOverload()
		}
	case ipvs.DelDest:
		f.services[op.Service.VIP].remove(op.Dest.Addr)
	case ipvs.Flush:
		for vip, s := range f.services {
			s.stop()
			delete(f.services, vip)
		}
	case ipvs.Zero:
		for vip, s := range f.services {
			if op.Service.VIP == (ipvs.VIP{}) || op.Service.VIP == vip {
				s.zero()
			}
		}
	}
	return nil
}

// Snapshot lists the services with their counters.
func (f *Forwarder) Snapshot(ctx context.Context) ([]ipvs.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, fmt.Errorf("list table: %w", net.ErrClosed)
	}
	entries, err := f.table.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		s := f.services[entries[i].VIP]
		if s == nil {
			continue
		}
		entries[i].Stats = s.stats
		for j := range entries[i].Dests {
			if d := s.dest(entries[i].Dests[j].Addr); d != nil {
				e := &entries[i].Dests[j]
				e.ActiveConns, e.InactConns, e.PersistConns, e.Stats = d.active, d.inact, d.persist, d.stats
			}
		}
	}
	return entries, nil
}

// Timeouts returns the idle times in force.
func (f *Forwarder) Timeouts(ctx context.Context) (ipvs.Timeouts, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.table.Timeouts(ctx)
}

// SetTimeouts changes the idle times of later connections; zero leaves one as it is.
func (f *Forwarder) SetTimeouts(ctx context.Context, t ipvs.Timeouts) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.table.SetTimeouts(ctx, t)
}

// Close ends all traffic and waits for every goroutine. The table is empty afterwards.
func (f *Forwarder) Close() error {
	f.mu.Lock()
	f.closed = true
	for vip, s := range f.services {
		s.stop()
		delete(f.services, vip)
	}
	f.mu.Unlock()
	f.wg.Wait()
	return nil
}

func (s *service) dest(a netip.AddrPort) *dest {
	for _, d := range s.dests {
		if d.cfg.Addr == a {
			return d
		}
	}
	return nil
}

// remove takes a destination out of scheduling; its open connections go on, as the kernel's do
// until they end by themselves.
func (s *service) remove(a netip.AddrPort) {
	for i, d := range s.dests {
		if d.cfg.Addr == a {
			d.removed = true
			s.dests = append(s.dests[:i:i], s.dests[i+1:]...)
			s.sched.last = min(s.sched.last, len(s.dests)-1)
			break
		}
	}
	for net, t := range s.templates {
		if t.dest.removed {
			delete(s.templates, net)
		}
	}
}

func (s *service) zero() {
	s.stats = ipvs.Stats{}
	for _, d := range s.dests {
		d.stats = ipvs.Stats{}
	}
}

// timeouts returns the idle times with the kernel's defaults filled in. The lock is held.
func (f *Forwarder) timeouts() (tcp, fin, udp time.Duration) {
	t, err := f.table.Timeouts(context.Background())
	if err != nil {
		t = ipvs.Timeouts{}
	}
	or := func(seconds uint32, d time.Duration) time.Duration {
		if seconds > 0 {
			return time.Duration(seconds) * time.Second
		}
		return d
	}
	return or(t.TCP, defaultTCP), or(t.TCPFin, defaultTCPFin), or(t.UDP, defaultUDP)
}

// session is one client's connection or datagram flow to its destination.
type session struct {
	s        *service
	d        *dest
	template *template
}

// open picks a destination for a client and counts it; ok is false when there is none.
func (s *service) open(client netip.AddrPort) (session, bool) {
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	now := s.f.now()
	var tpl *template
	var d *dest
	var network netip.Prefix
	if s.cfg.Persistent > 0 {
		network = s.network(client.Addr())
		// Weight 0 does not drive clients away, as it does not in the kernel (expire_quiescent_template=0).
		if t := s.templates[network]; t != nil && (t.conns > 0 || now.Before(t.expires)) && !t.dest.removed {
			tpl, d = t, t.dest
		}
	}
	if d == nil {
		if d = s.sched.pick(s.cfg.Scheduler, s.dests, client, s.cfg.Addr); d == nil {
			return session{}, false
		}
	}
	if s.cfg.Persistent > 0 {
		if tpl == nil {
			s.forgetExpired(now)
			if t := s.templates[network]; t != nil {
				t.dest.persist--
			}
			tpl = &template{dest: d}
			s.templates[network] = tpl
			d.persist++
		}
		tpl.conns++
		tpl.expires = now.Add(time.Duration(s.cfg.Persistent) * time.Second)
	}
	d.active++
	d.stats.Conns++
	s.stats.Conns++
	d.updateOverload()
	return session{s: s, d: d, template: tpl}, true
}

// close gives the destination back. A TCP connection is counted as inactive for the FIN
// timeout, as `ipvsadm -L` shows it with the kernel.
func (c session) close(lingers bool) {
	f := c.s.f
	f.mu.Lock()
	defer f.mu.Unlock()
	c.d.active--
	if c.template != nil {
		c.template.conns--
		c.template.expires = f.now().Add(time.Duration(c.s.cfg.Persistent) * time.Second)
	}
	if lingers {
		_, fin, _ := f.timeouts()
		c.d.inact++
		time.AfterFunc(fin, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			c.d.inact--
			c.d.updateOverload()
		})
	}
	c.d.updateOverload()
}

// count adds traffic: packets are reads of the socket, the nearest thing a proxy sees.
func (c session) count(in, out uint64, inPkts, outPkts uint64) {
	c.s.f.mu.Lock()
	defer c.s.f.mu.Unlock()
	for _, st := range []*ipvs.Stats{&c.d.stats, &c.s.stats} {
		st.InBytes += in
		st.OutBytes += out
		st.InPkts += inPkts
		st.OutPkts += outPkts
	}
}

func (s *service) network(a netip.Addr) netip.Prefix {
	bits := int(s.cfg.Netmask)
	if bits == 0 || bits > a.BitLen() {
		bits = a.BitLen()
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.PrefixFrom(a, a.BitLen())
	}
	return p
}

// forgetExpired drops templates whose time is over, so that a service that met a million
// clients does not keep them all. It looks once a second.
func (s *service) forgetExpired(now time.Time) {
	if now.Sub(s.swept) < time.Second {
		return
	}
	s.swept = now
	for net, t := range s.templates {
		if t.conns == 0 && now.After(t.expires) {
			t.dest.persist--
			delete(s.templates, net)
		}
	}
}
