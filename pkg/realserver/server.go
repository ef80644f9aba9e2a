package realserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/netif"
)

// settings are what keeps IPv4 addresses of lo from being announced: answer ARP requests for addresses of the interface
// that they came in by only, and ask with such an address (Documentation/networking/ip-sysctl). For IPv6 nothing is
// needed: the kernel answers neighbour solicitations for the interface's own addresses only.
var settings = []setting{
	{"net/ipv4/conf/all/arp_ignore", "1"},
	{"net/ipv4/conf/all/arp_announce", "2"},
	{"net/ipv4/conf/lo/arp_ignore", "1"},
	{"net/ipv4/conf/lo/arp_announce", "2"},
}

type setting struct{ name, value string }

// Server is this machine as a real server.
type Server struct {
	Host  netif.Host
	Sys   string // /proc/sys
	State string // what Start found is kept in that file until Stop; it should not outlive a reboot
	Say   func(format string, args ...any)
}

// state is what Start changed.
type state struct {
	Settings  map[string]string `json:"settings,omitempty"`  // name → value before
	Addresses []netip.Addr      `json:"addresses,omitempty"` // that were not there before
}

// Start puts the addresses on lo, having seen to it that they are not announced. What is so already stays. An error
// names everything that could not be done; the rest has been done.
func (s *Server) Start(vips []netip.Addr) error {
	st, err := s.load()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(vips, netip.Addr.Is4) {
		if err := s.quiet(st); err != nil {
			return err // an address without that would be a second one on the network
		}
	}
	have, err := s.loopback()
	if err != nil {
		return err
	}
	var errs []error
	for _, vip := range vips {
		if have[vip] {
			s.Say("%v is on lo already", vip)
			continue
		}
		if err := s.add(st, vip); err != nil {
			errs = append(errs, fmt.Errorf("add %v to lo: %w", vip, err))
			continue
		}
		s.Say("%v is on lo", vip)
	}
	return errors.Join(errs...)
}

// quiet makes the settings.
func (s *Server) quiet(st *state) error {
	changed := false
	for _, w := range settings {
		was, err := s.read(w.name)
		if err != nil {
			return err
		}
		if _, known := st.Settings[w.name]; !known {
			if st.Settings == nil {
				st.Settings = map[string]string{}
			}
			st.Settings[w.name] = was
			changed = true
		}
	}
	if changed {
		if err := s.save(st); err != nil {
			return err
		}
	}
	for _, w := range settings {
		was, err := s.read(w.name)
		if err == nil && was != w.value {
			if err = s.write(w.name, w.value); err == nil {
				s.Say("%s is %s (was %s)", dotted(w.name), w.value, was)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// add puts one address on lo. IPv4 addresses get a label, for ifconfig to show: lo:0, lo:1 and so on.
func (s *Server) add(st *state, vip netip.Addr) error {
	a := netif.Addr{Link: "lo", Prefix: netip.PrefixFrom(vip, vip.BitLen())}
	if vip.Is4() {
		addrs, err := s.Host.Addrs()
		if err != nil {
			return err
		}
		for n := 0; a.Label == "" || slices.ContainsFunc(addrs, func(b netif.Addr) bool { return b.Label == a.Label }); n++ {
			a.Label = "lo:" + strconv.Itoa(n)
		}
		a.Broadcast = vip
	}
	if !slices.Contains(st.Addresses, vip) {
		st.Addresses = append(st.Addresses, vip)
		if err := s.save(st); err != nil {
			return err
		}
	}
	return s.Host.AddAddr(a)
}

// Stop takes the addresses from lo. With the last one that Start put there the settings are put back, save those that
// somebody has changed since.
func (s *Server) Stop(vips []netip.Addr) error {
	st, err := s.load()
	if err != nil {
		return err
	}
	return s.stop(st, vips)
}

// StopAll takes from lo all that Start put there, and these addresses, too.
func (s *Server) StopAll(too []netip.Addr) error {
	st, err := s.load()
	if err != nil {
		return err
	}
	vips := slices.Clone(st.Addresses)
	for _, vip := range too {
		vips = appendNew(vips, vip)
	}
	return s.stop(st, vips)
}

func (s *Server) stop(st *state, vips []netip.Addr) error {
	have, err := s.loopback()
	if err != nil {
		return err
	}
	var errs []error
	for _, vip := range vips {
		if !have[vip] {
			s.Say("%v is not on lo", vip)
		} else if err := s.Host.DelAddr("lo", netip.PrefixFrom(vip, vip.BitLen())); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			errs = append(errs, fmt.Errorf("remove %v from lo: %w", vip, err))
			continue
		} else {
			s.Say("%v is off lo", vip)
		}
		st.Addresses = slices.DeleteFunc(st.Addresses, func(a netip.Addr) bool { return a == vip })
	}
	if !slices.ContainsFunc(st.Addresses, netip.Addr.Is4) {
		errs = append(errs, s.putBack(st))
	}
	if len(st.Addresses) == 0 && len(st.Settings) == 0 {
		if err := os.Remove(s.State); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	} else {
		errs = append(errs, s.save(st))
	}
	return errors.Join(errs...)
}

func (s *Server) putBack(st *state) error {
	var errs []error
	for _, w := range settings {
		was, known := st.Settings[w.name]
		if !known {
			continue
		}
		is, err := s.read(w.name)
		switch {
		case err != nil:
		case is != w.value:
			s.Say("%s is %s by now, and stays", dotted(w.name), is)
		case was != is:
			if err = s.write(w.name, was); err == nil {
				s.Say("%s is %s again", dotted(w.name), was)
			}
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		delete(st.Settings, w.name)
	}
	return errors.Join(errs...)
}

// Missing says what is not as Start leaves it; nothing is missing on a real server that works. None says that not one of
// the addresses is there.
func (s *Server) Missing(vips []netip.Addr) (missing []string, none bool, err error) {
	have, err := s.loopback()
	if err != nil {
		return nil, false, err
	}
	none = true
	for _, vip := range vips {
		if have[vip] {
			none = false
		} else {
			missing = append(missing, fmt.Sprintf("%v is not on lo", vip))
		}
	}
	if none || !slices.ContainsFunc(vips, netip.Addr.Is4) {
		return missing, none, nil
	}
	for _, w := range settings {
		is, err := s.read(w.name)
		if err != nil {
			return nil, false, err
		}
		if is != w.value {
			missing = append(missing, fmt.Sprintf("%s is %s (want %s)", dotted(w.name), is, w.value))
		}
	}
	return missing, none, nil
}

// loopback are the addresses of lo that stand alone: /32 and /128.
func (s *Server) loopback() (map[netip.Addr]bool, error) {
	addrs, err := s.Host.Addrs()
	if err != nil {
		return nil, err
	}
	have := map[netip.Addr]bool{}
	for _, a := range addrs {
		if a.Link == "lo" && a.Prefix.IsSingleIP() {
			have[a.Prefix.Addr()] = true
		}
	}
	return have, nil
}

func dotted(name string) string { return strings.ReplaceAll(name, "/", ".") }

func (s *Server) read(name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(s.Sys, name))
	return strings.TrimSpace(string(b)), err
}

func (s *Server) write(name, value string) error {
	return os.WriteFile(filepath.Join(s.Sys, name), []byte(value+"\n"), 0o644)
}

func (s *Server) load() (*state, error) {
	st := &state{}
	b, err := os.ReadFile(s.State)
	if errors.Is(err, fs.ErrNotExist) {
		return st, nil
	}
	if err == nil {
		err = json.Unmarshal(b, st)
	}
	if err != nil {
		return nil, fmt.Errorf("what was before is in %s: %w", s.State, err)
	}
	return st, nil
}

func (s *Server) save(st *state) error {
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	tmp := s.State + ".new"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, s.State)
}
