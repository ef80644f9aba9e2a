package ldirectord

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// TestNamesAtOnce: a name server that takes its time for each name costs that time once.
func TestNamesAtOnce(t *testing.T) {
	const names = 40
	b := newBench(t, "")
	var config strings.Builder
	config.WriteString("virtual=name0.example.org:80\n")
	for i := 1; i < names; i++ {
		fmt.Fprintf(&config, "    real=name%d.example.org:80 gate\n", i)
	}
	b.write(config.String())
	server := patientNames(t, names)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	o := LoadOptions{Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server)
	}}}
	f := Load(ctx, b.in, o)
	if f.Err != nil {
		t.Fatal(f.Err)
	}
	v := f.Config.Virtuals[0]
	if len(v.Reals) != names-1 || v.Label() != "10.9.0.0:80" || v.Reals[6].Addr.String() != "10.9.0.7:80" {
		t.Errorf("%s: %v", v.Label(), v.Reals)
	}
}

// patientNames is a name server that answers nobody before so many names have been asked for. nameN has
// the address 10.9.0.N.
func patientNames(t *testing.T, names int) string {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	go func() {
		waiting := map[string]func(){}
		buf := make([]byte, 512)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			var number byte
			fmt.Sscanf(q.Name.String(), "name%d.", &number)
			m.Response, m.Additionals = true, nil
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET},
				Body:   &dnsmessage.AResource{A: [4]byte{10, 9, 0, number}},
			}}
			answer, err := m.Pack()
			if err != nil {
				t.Error(err)
				return
			}
			waiting[q.Name.String()] = func() { pc.WriteTo(answer, from) }
			if len(waiting) < names {
				continue
			}
			for _, tell := range waiting {
				tell()
			}
		}
	}()
	return pc.LocalAddr().String()
}
