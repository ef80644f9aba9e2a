package check

import (
	"net/netip"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
)

// SpecOf says how the real server r of v is probed: by its service for checktype=negotiate and
// the first step of a combined one, else by the checktype. A connect check of a udp service is
// a ping, as in the original.
func SpecOf(v *ldirectordcf.Virtual, r *ldirectordcf.Real) Spec {
	return Spec{
		Service:        v.CheckedAs(),
		Addr:           netip.AddrPortFrom(r.Addr.Addr(), r.CheckPort),
		Proto:          v.Protocol,
		VirtualHost:    v.VirtualHost,
		HasVirtualHost: v.HasVirtualHost,
		Method:         v.HTTPMethod,
		Request:        r.Request,
		URL:            r.URL,
		Receive:        r.Receive,
		Command:        v.CheckCommand,
		Login:          v.Login,
		Password:       v.Password,
		Database:       v.Database,
		Secret:         v.Secret,
		ServerName:     v.Options.ServerName,
		Verify:         v.Options.Verify,
		CAFile:         v.Options.CAFile,
		CertWarn:       v.Options.CertWarn,
		AgentPort:      v.Options.AgentPort,
		Timeout:        v.Timeout(),
		Attempts:       max(v.CheckCount, 1),
		Virtual:        v.VIP.Addr,
		FWMark:         v.VIP.FWMark,
		Real:           r.Addr,
	}
}

// AsConnect turns the probe of a combined check into its connect step. Over udp that is a
// connect that no server can fail, as in the original.
func (s Spec) AsConnect(v *ldirectordcf.Virtual) Spec {
	s.Service = "connect"
	if s.Proto == "udp" {
		s.Service = "none"
	}
	s.Timeout = v.CheckTimeout
	return s
}
