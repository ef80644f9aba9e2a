package resource

import (
	"os"
	"slices"
	"strings"

	"github.com/systole-ha/systole/pkg/agent"
)

// choice is who serves a resource, and the path that log lines name.
type choice struct {
	agent   agent.Agent
	path    string
	builtin bool
}

// choose finds the script of a resource as the original does, in resource.d and then in init.d, and
// decides who does its work: our own agent if there is one for the name and the script is missing, is
// known as a stock one or ours, or systole.cf says so (builtin); else the script.
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
	case IsStock(name, path):
	case slices.Contains(m.o.Builtin, name):
		m.report(s, name, "info: "+path+" is not the stock script: it is not run, but the built-in agent (systole.cf: builtin "+name+")")
		return choice{agent: own, path: path, builtin: true}, true
	default:
		m.report(s, name, "info: "+path+" is not the stock script: it is run, not the built-in agent (to have that: builtin "+name+" in systole.cf)")
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
