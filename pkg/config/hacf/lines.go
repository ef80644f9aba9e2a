package hacf

import (
	"strconv"
	"strings"
	"time"
)

// Line is one directive with its value, in the grammar of ha.cf.
type Line struct {
	Directive, Value string
	Default          bool // the file does not say it
}

// Lines says a Config in the grammar of ha.cf: a file of these lines means the same, with every
// default filled in.
func (c *Config) Lines() []Line {
	list := c.recorded("quorum_server") // sets the cluster's name, too: cluster comes after it
	add := func(directive string, words ...string) {
		list = append(list, Line{Directive: directive, Value: strings.TrimRight(strings.Join(words, " "), " ")})
	}
	for _, d := range directives {
		if d.get == nil {
			if d.record && d.name != "udpport" && d.name != "quorum_server" { // udpport stands above the media
				list = append(list, c.recorded(d.name)...)
			}
			continue
		}
		text := d.get(c)
		isDefault := d.record || text == "off" // of what is recorded at most when it is given
		for _, p := range c.Params {
			if p.Name == d.name {
				isDefault = p.Default
			}
		}
		if text != "" {
			list = append(list, Line{d.name, text, isDefault})
		}
	}
	for _, e := range c.Env {
		add("env", e)
	}
	for _, n := range c.Nodes {
		add("node", n.Name)
	}
	port := 0
	for _, m := range c.Media {
		if m.Port != 0 && m.Port != port {
			port = m.Port
			add("udpport", strconv.Itoa(port))
		}
		add(m.Kind, append([]string{m.Name}, m.Args...)...)
	}
	if c.UDPPort != port {
		add("udpport", strconv.Itoa(c.UDPPort))
	}
	if s := c.Stonith; s != nil && s.Config != "" {
		add("stonith", s.Type, s.Config)
	} else if s != nil {
		add("stonith_host", "*", s.Type, s.Params)
	}
	for i, a := range c.Access() {
		words := []string{a.Client}
		if a.UIDs != nil || a.GIDs == nil {
			words = append(words, "uid="+strings.Join(a.UIDs, ","))
		}
		if a.GIDs != nil {
			words = append(words, "gid="+strings.Join(a.GIDs, ","))
		}
		add("apiauth", words...)
		list[len(list)-1].Default = i >= len(c.APIAuth)
	}
	for _, cl := range c.Clients {
		if cl.Failfast {
			add("failfast", cl.User, cl.Command)
		} else {
			add("respawn", cl.User, cl.Command)
		}
	}
	return list
}

// recorded is the line of a directive that is recorded and means nothing.
func (c *Config) recorded(name string) []Line {
	for _, p := range c.Params {
		if p.Name == name {
			return []Line{{name, p.Value, p.Default}}
		}
	}
	return nil
}

// seconds writes a time as ha.cf has it.
func seconds(d time.Duration) string {
	if d%time.Second != 0 {
		return millis(d)
	}
	return strconv.FormatInt(int64(d/time.Second), 10)
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
