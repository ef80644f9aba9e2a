package resource

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/agent"
)

// choice is who serves a resource, and the path that log lines name.
type choice struct {
	agent   agent.Agent
	path    string
	builtin bool
}

// choose finds the script of a resource as the original does, in resource.d and then in init.d, and
// decides who does its work: our own agent if there is one for the name and the script is a stock
// one, ours, or missing; else the script.
func (m *Manager) choose(s script, name string) (choice, bool) {
	p := m.o.Paths
	path, found := FindProgram(name, p.ResourceD, p.InitD)
	own := m.o.Agents[name]
	switch {
	case own == nil && (!found || m.o.Script == nil):
		return choice{}, false
	case own == nil:
		return choice{agent: m.o.Script, path: path}, true
	case !found:
		path = p.ResourceD + "/" + name
		if name == "ipvsadm" || name == "ldirectord" {
			path = p.InitD + "/" + name
		}
	case !IsStock(name, path):
		m.report(s, name, "info: "+path+" is not the stock script: it is run, not the built-in agent "+name)
		if m.o.Script == nil {
			return choice{}, false
		}
		return choice{agent: m.o.Script, path: path}, true
	}
	m.report(s, name, "")
	return choice{agent: own, path: path, builtin: true}, true
}

// report writes a line about the choice for a name when it is another than before.
func (m *Manager) report(s script, name, text string) {
	m.mu.Lock()
	was := m.reported[name]
	m.reported[name] = text
	m.mu.Unlock()
	switch {
	case text == was:
	case text == "":
		s.log("info: the stock script is back: the built-in agent %s is used", name)
	default:
		s.log("%s", text)
	}
}

// FindProgram looks for the script of a resource in the directories, in their order, as the
// original does: a regular file that somebody may execute. A name with a "/" is not looked for.
func FindProgram(name string, dirs ...string) (path string, found bool) {
	if strings.Contains(name, "/") {
		return "", false
	}
	for _, dir := range dirs {
		if path = dir + "/" + name; isProgram(path) {
			return path, true
		}
	}
	return "", false
}

// isProgram reports whether path is a regular file, after links, that somebody may execute.
func isProgram(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// marks are words that the stock scripts have in them: any one will do.
var marks = map[string][]string{
	"IPaddr":   {"hto-mapfuncs"},
	"IPaddr2":  {"hto-mapfuncs"},
	"IPv6addr": {"hto-mapfuncs"},
	"ipvsadm":  {"ipvsadm-restore", "/etc/default/ipvsadm", "IPVSADM_RULES"},
	// Of heartbeat 2: 3.0 has none.
	"LVSSyncDaemonSwap": {"syncmaster", "start-daemon"},
	"ldirectord":        {"sbin/ldirectord", "/usr/sbin/$NAME", "@sbindir@/ldirectord"},
}

// ownMark is in the scripts that we install in the places of stock ones.
const ownMark = "systole"

// mostScript is how long a stock script may be, in bytes.
const mostScript = 64 << 10

// IsStock reports whether a resource script is one that comes with heartbeat, ipvsadm or
// ldirectord, or ours.
func IsStock(name, path string) bool {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		if name == "ldirectord" && filepath.Base(real) == "ldirectord" && filepath.Base(filepath.Dir(real)) == "sbin" {
			return true
		}
	}
	if isSelf(path) {
		return true
	}
	text, err := readScript(path)
	return err == nil && slices.ContainsFunc(append(marks[name], ownMark), func(mark string) bool { return bytes.Contains(text, []byte(mark)) })
}

// isSelf reports whether path is this very program.
func isSelf(path string) bool {
	a, err := os.Stat(path)
	if err != nil {
		return false
	}
	b, err := os.Stat("/proc/self/exe")
	return err == nil && os.SameFile(a, b)
}

// readScript reads a script. What is longer than any stock one is an error.
func readScript(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mostScript+1))
	if err == nil && len(text) > mostScript {
		err = fmt.Errorf("read %s: %w", path, unix.EFBIG)
	}
	return text, err
}
