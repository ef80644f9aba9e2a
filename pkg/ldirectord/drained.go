package ldirectord

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/director"
	"github.com/systole-ha/systole/pkg/lasting"
)

// DrainRequest names real servers that are to get no new connections, or to get them again.
type DrainRequest struct {
	Addrs   []netip.Addr `json:"addrs"`   // of the real server
	Port    uint16       `json:"port"`    // 0 is each of its ports
	Virtual string       `json:"virtual"` // "10.0.0.1:80", "tcp:10.0.0.1:80", a mark; "" is each service
	Undrain bool         `json:"undrain"`
}

// Drained answers a DrainRequest.
type Drained struct {
	Servers  []director.Server `json:"servers"` // that the request is about
	Warnings []string          `json:"warnings"`
}

// drainedServers is the servers that are drained, and the file that keeps them over a restart.
type drainedServers struct {
	path    string
	servers []director.Server
	err     error // why the file could not be read: it is not to be overwritten then
}

const drainedHeader = "# Real servers drained with \"ldirectord drain\", and their services. Undo with \"ldirectord undrain\".\n"

// load reads the file. What it cannot make out it leaves out.
func (d *drainedServers) load() error {
	d.servers, d.err = nil, nil
	f, err := os.Open(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		d.err = fmt.Errorf("drained servers: %w", err)
		return d.err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) == 2 && words[0][0] != '#' {
			d.servers = append(d.servers, director.Server{Virtual: words[0], Real: words[1]})
		}
	}
	if err := lines.Err(); err != nil {
		d.err = fmt.Errorf("drained servers: %s: %w", d.path, err)
	}
	return d.err
}

// retry reads the file again if that has failed.
func (d *drainedServers) retry() error {
	if d.err == nil {
		return nil
	}
	return d.load()
}

// set replaces the list, on disk first. [drainedServers.retry] has to have succeeded.
func (d *drainedServers) set(servers []director.Server) error {
	if slices.Equal(servers, d.servers) {
		return nil
	}
	if len(servers) == 0 {
		if err := os.Remove(d.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("drained servers: %w", err)
		}
		d.servers = nil
		lasting.SyncDir(filepath.Dir(d.path))
		return nil
	}
	text := []byte(drainedHeader)
	for _, s := range servers {
		text = fmt.Appendf(text, "%s %s\n", s.Virtual, s.Real)
	}
	err := os.MkdirAll(filepath.Dir(d.path), 0o755)
	if err == nil {
		err = lasting.WriteFile(d.path, text)
	}
	if err != nil {
		return fmt.Errorf("drained servers: %w", err)
	}
	d.servers = servers
	return nil
}

// drop forgets servers that the configuration does not have any more.
func (d *drainedServers) drop(c *ldirectordcf.Config) (dropped []director.Server, err error) {
	if err := d.retry(); err != nil {
		return nil, err
	}
	have := map[director.Server]bool{}
	for i := range c.Virtuals {
		for _, r := range c.Virtuals[i].Reals {
			have[director.Server{Virtual: c.Virtuals[i].ID(), Real: r.Addr.String()}] = true
		}
	}
	var kept []director.Server
	for _, s := range d.servers {
		if have[s] {
			kept = append(kept, s)
		} else {
			dropped = append(dropped, s)
		}
	}
	return dropped, d.set(kept)
}

// drain carries out a request.
func (l *loop) drain(r DrainRequest) (Drained, error) {
	var answer Drained
	config := l.file.Config
	for i := range config.Virtuals {
		v := &config.Virtuals[i]
		if r.Virtual != "" && r.Virtual != v.ID() && r.Virtual != v.Label() {
			continue
		}
		found := false
		for _, real := range v.Reals {
			if slices.Contains(r.Addrs, real.Addr.Addr()) && (r.Port == 0 || r.Port == real.Addr.Port()) {
				answer.Servers = append(answer.Servers, director.Server{Virtual: v.ID(), Real: real.Addr.String()})
				found = true
			}
		}
		if found && !r.Undrain && v.Persistent > 0 && !expiresQuiescent() {
			answer.Warnings = append(answer.Warnings, v.ID()+" is persistent: clients that have been on the server return to it "+
				"until their time is over (sysctl net.ipv4.vs.expire_quiescent_template=1 ends that)")
		}
	}
	if len(answer.Servers) == 0 {
		return answer, r.unknown(config)
	}
	if err := l.drained.retry(); err != nil {
		return answer, err
	}
	next := slices.DeleteFunc(slices.Clone(l.drained.servers), func(s director.Server) bool { return slices.Contains(answer.Servers, s) })
	word := "no longer drained"
	if !r.Undrain {
		next = append(next, answer.Servers...)
		word = "drained"
	}
	if err := l.drained.set(next); err != nil {
		return answer, err
	}
	for _, s := range answer.Servers {
		l.log.Printf("Real server %s (%s) is %s, as asked for", s.Real, s.Virtual, word)
	}
	l.step(director.Drain{Servers: next})
	return answer, nil
}

// unknown says what a request that fits nothing could have meant.
func (r DrainRequest) unknown(c *ldirectordcf.Config) error {
	name := "these addresses"
	if len(r.Addrs) == 1 {
		name = r.Addrs[0].String()
		if r.Port != 0 {
			name = netip.AddrPortFrom(r.Addrs[0], r.Port).String()
		}
	}
	where := c.File
	if r.Virtual != "" {
		where = "service " + r.Virtual + " of " + c.File
	}
	return fmt.Errorf("no real server %s in %s", name, where)
}

// expiresQuiescent says whether the kernel ends a client's persistence when its server has lost
// its weight. Without IPVS in the kernel nothing is known, and nothing said.
func expiresQuiescent() bool {
	text, err := os.ReadFile("/proc/sys/net/ipv4/vs/expire_quiescent_template")
	return err != nil || strings.TrimSpace(string(text)) != "0"
}
