package hacf

import (
	"fmt"
	"slices"
	"strings"

	"github.com/systole-ha/systole/pkg/diag"
)

// maxClientName is the longest name of an API client.
const maxClientName = 31

func setAPIAuth(p *parser, d *directive, w word) {
	bad := func(pos diag.Pos, why, format string, args ...any) {
		wire := why
		if why != "" {
			wire += "\n"
		}
		wire += fmt.Sprintf("Invalid apiauth directive [%s]\n", w.text) +
			"info: Syntax: apiauth client [uid=uidlist] [gid=gidlist]\ninfo: Where uidlist is a comma-separated list of uids,\n" +
			"info: and gidlist is a comma-separated list of gids\ninfo: One or the other must be specified."
		p.fail(pos, d.name, "CLIENT [uid=NAME,...] [gid=NAME,...]", wire, format, args...)
	}
	f := w.fields()
	if len(f) == 0 {
		bad(w.pos, "", "no client given")
		return
	}
	a := APIAuth{Client: f[0].text, Pos: w.pos}
	if len(a.Client) > maxClientName {
		bad(f[0].pos, fmt.Sprintf("client name [%s] too long", w.text), "client name %q is longer than %d letters", a.Client, maxClientName)
		return
	}
	lists := map[string]*idList{
		"uid": {names: &a.UIDs, exists: p.host.UserExists, what: "user", wire: "Invalid user id name [%s]\nBad uid list [%s]"},
		"gid": {names: &a.GIDs, exists: p.host.GroupExists, what: "group", wire: "Invalid group name [%s]\nBad gid list [%s]"},
	}
	for _, part := range f[1:] {
		kind, text, _ := strings.Cut(part.text, "=")
		l := lists[kind]
		switch {
		case l == nil:
			bad(part.pos, "Missing uid or gid in apiauth", "bad word %q", part.text)
			return
		case l.given:
			bad(part.pos, "Duplicate "+kind+" list in apiauth", "%s is given twice", kind)
			return
		}
		l.given = true
		if name, ok := l.read(text); !ok {
			bad(part.pos, fmt.Sprintf(l.wire, name, text), "no %s %q", l.what, name)
			return
		}
	}
	if len(f) == 1 {
		bad(w.pos, "", "neither uid nor gid given")
		return
	}
	if _, twice := p.clients[a.Client]; twice {
		bad(f[0].pos, fmt.Sprintf("Duplicate apiauth directive for API client %s: [%s]", a.Client, w.text), "client %q has one already", a.Client)
		return
	}
	p.clients[a.Client] = true
	p.cfg.APIAuth = append(p.cfg.APIAuth, a)
}

// idList is the uid= or gid= of an apiauth line.
type idList struct {
	names  *[]string
	given  bool
	exists func(name string) bool
	what   string
	wire   string // the original's text for a name that does not exist
}

// read takes names apart and returns the first that does not exist. Whatever begins with a digit
// is a number; nothing after a last comma is nothing.
func (l *idList) read(text string) (missing string, ok bool) {
	for text != "" {
		var name string
		name, text, _ = strings.Cut(text, ",")
		number := name != "" && name[0] >= '0' && name[0] <= '9'
		if name == "" || !number && l.exists != nil && !l.exists(name) {
			return name, false
		}
		*l.names = append(*l.names, name)
	}
	return "", true
}

func setClient(p *parser, d *directive, w word) {
	const syntax = "USER /PATH/TO/PROGRAM [ARGUMENTS]"
	user, prog, command := word{pos: w.pos}, word{pos: w.pos}, ""
	if f := w.fields(); len(f) > 0 {
		user = f[0]
		if len(f) > 1 {
			prog = f[1]
			command = w.text[prog.pos.Col-w.pos.Col:]
		}
	}
	switch {
	case len(user.text) > maxUserName:
		p.fail(user.pos, d.name, syntax, "UID specified for client child is too long", "user name is longer than %d letters", maxUserName)
	case user.text == "" || p.host.UserExists != nil && !p.host.UserExists(user.text):
		p.fail(user.pos, d.name, syntax, fmt.Sprintf("Invalid uid [%s] specified for client child", user.text), "no user %q", user.text)
	case !strings.HasPrefix(prog.text, "/"):
		p.fail(prog.pos, d.name, syntax, fmt.Sprintf("Client child command [%s] is not full pathname", command), "%q is not an absolute path", prog.text)
	case p.host.Executable != nil && !p.host.Executable(prog.text):
		p.fail(prog.pos, d.name, "a program", fmt.Sprintf("Client child command [%s] is not executable", prog.text), "%q cannot be executed", prog.text)
	default:
		p.cfg.Clients = append(p.cfg.Clients, Client{User: user.text, Command: command, Failfast: d.name == "failfast", Pos: w.pos})
	}
}

// maxUserName is the longest user of a client.
const maxUserName = 63

// builtin is who may sign on under names that the file does not give.
var builtin = []APIAuth{
	{Client: "ipfail", UIDs: []string{"hacluster"}},
	{Client: "ccm", UIDs: []string{"hacluster"}},
	{Client: "ping", GIDs: []string{"haclient"}},
	{Client: "lha-snmpagent", UIDs: []string{"root"}},
	{Client: "anon", UIDs: []string{"root"}, GIDs: []string{"haclient"}},
}

// Access is APIAuth with what the original adds to it: its own clients, where the file has no line for
// them. The client "anon" stands for all without a name.
func (c *Config) Access() []APIAuth {
	list := slices.Clone(c.APIAuth)
	for _, a := range builtin {
		if !slices.ContainsFunc(c.APIAuth, func(x APIAuth) bool { return x.Client == a.Client }) {
			list = append(list, a)
		}
	}
	return list
}
