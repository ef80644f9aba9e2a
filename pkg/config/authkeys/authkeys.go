// Package authkeys reads /etc/ha.d/authkeys: the keys that messages are signed and checked with.
// Grammar and choice of the signing key are auth.c's (spec/heartbeat-config.md, 9).
package authkeys

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/hbauth"
)

// maxKey is the highest key number.
const maxKey = 15

const space = " \t\n\v\f\r"

// CheckMode says what is wrong with the file's permissions: nobody but owner and group's writers
// may read it. Execute and write bits do not matter, as in the original.
func CheckMode(file string, mode uint32) diag.List {
	var l diag.List
	if mode&0o044 != 0 {
		l.Errorf(diag.Pos{File: file}, "", "mode 600", "mode %03o lets others read the keys", mode&0o777)
		l[0].Wire = fmt.Sprintf("Bad permissions on keyfile [%s], 600 recommended.", file)
	}
	return l
}

// Peers says what the other nodes run, which is written in systole.cf.
type Peers bool

// The kinds of peers.
const (
	Any     Peers = false // there may be originals, which refuse a file with hmac-sha256 in it
	Systole Peers = true  // none but our own kind
)

// shortKey is the length below which a key of hmac-sha256 is warned of.
const shortKey = 16

// Parse reads the file. The ring is nil unless the file is without errors.
//
// The signing key is chosen where a key line's number equals that of the latest auth line before
// it, so "auth N" has to come first; the last such line wins.
func Parse(file string, text []byte, peers Peers) (*hbauth.Ring, diag.List) {
	p := parser{file: file, peers: peers, keys: map[int]hbauth.Key{}, at: map[int]diag.Pos{}, selected: -1, wanted: -1}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		p.line(n, line)
	}
	whole := diag.Pos{File: file}
	switch {
	case p.selected >= 0 && p.selected != p.wanted:
		p.warn(p.wantedAt, "auth", "a key line with that number below", "no key %d below: key %d signs", p.wanted, p.selected)
	case p.selected >= 0:
	case p.wanted < 0:
		p.fail(whole, "", "a line \"auth N\" before the key lines", fmt.Sprintf("Missing auth directive in keyfile [%s]", file), "no auth line")
	default:
		p.fail(p.wantedAt, "auth", "key line N after \"auth N\"", fmt.Sprintf("Auth Key [%d] not found in keyfile [%s]", p.wanted, file), "no key %d below", p.wanted)
	}
	p.leftovers()
	if p.problems.Errors() > 0 {
		return nil, p.problems.List(file)
	}
	ring, err := hbauth.NewRing(p.keys, p.selected)
	if err != nil {
		p.fail(whole, "", "", "", "%v", err)
	}
	return ring, p.problems.List(file)
}

type parser struct {
	file     string
	peers    Peers
	keys     map[int]hbauth.Key
	at       map[int]diag.Pos // of the keys
	selected int
	wanted   int // of the latest auth line
	wantedAt diag.Pos
	plugins  [hbauth.SHA256 + 1]bool // methods that were loaded
	problems diag.Report
}

// line reads one line, which has its line end: so do the original's texts.
func (p *parser) line(n int, line string) {
	indent := len(line) - len(strings.TrimLeft(line, space))
	text := line[indent:]
	pos := diag.Pos{File: p.file, Line: n, Col: indent + 1}
	if text == "" || text[0] == '#' {
		return
	}
	if text[0] == 'a' {
		number, _, ok := scanInt(strings.TrimPrefix(text, "auth"))
		if !strings.HasPrefix(text, "auth") || !ok {
			p.fail(pos, "", "auth NUMBER", fmt.Sprintf("Invalid auth line [%s] in %s", text, p.file), "not an auth line: %q", firstWord(text))
			return
		}
		p.wanted, p.wantedAt = number, pos
		return
	}
	p.key(pos, text)
}

func (p *parser) key(pos diag.Pos, text string) {
	number, rest, ok := scanInt(text)
	words := strings.Fields(rest)
	if !ok || len(words) == 0 {
		p.fail(pos, "", "NUMBER METHOD [KEY]", fmt.Sprintf("Auth line [%s] is invalid.", text), "a line that begins with %q", firstWord(text))
		return
	}
	if number < 0 || number > maxKey {
		p.fail(pos, "", "a key number from 0 to 15", fmt.Sprintf("Invalid authnum [%d] in %s", number, p.file), "bad key number %d", number)
		return
	}
	pos.Col += strings.Index(text, words[0])
	method, ok := hbauth.ParseMethod(words[0])
	switch {
	case !ok && p.peers == Systole:
		p.fail(pos, "", "hmac-sha256, sha1, md5 or crc", p.noPlugin(words[0]), "no method %q", words[0])
		return
	case !ok:
		p.fail(pos, "", "crc, md5 or sha1", p.noPlugin(words[0]), "no method %q", words[0])
		return
	case method == hbauth.SHA256 && p.peers != Systole:
		p.fail(pos, words[0], "\"peers systole\" in systole.cf once every node runs systole, or another method", p.noPlugin(words[0]),
			"the other node may run heartbeat 3.0.6, which does not know this method")
		return
	}
	p.plugins[method] = true
	key := hbauth.Key{Method: method}
	switch {
	case method.NeedsText() && len(words) < 2:
		p.fail(pos, words[0], "a key after the method", fmt.Sprintf("Auth method [%s] requires a key", words[0]), "no key given")
		return
	case !method.NeedsText() && len(words) > 1:
		p.fail(pos, words[0], "no key after crc", fmt.Sprintf("info: Auth method [%s] doesn't use a key", words[0]), "a key is given, but the method has none")
		return
	case len(words) > 1:
		key.Text = words[1]
	}
	if method == hbauth.SHA256 && len(key.Text) < shortKey {
		p.warn(pos, words[0], "at least 16 characters", "a short key can be guessed")
	}
	if _, twice := p.keys[number]; twice {
		p.warn(pos, "", "each number once", "key %d is above already: this one counts", number)
	}
	p.keys[number], p.at[number] = key, pos
	if number == p.wanted {
		p.selected = number
	}
}

// leftovers warns of keys that make the selected one worth less.
func (p *parser) leftovers() {
	if key, ok := p.keys[p.selected]; !ok || key.Method != hbauth.SHA256 {
		return
	}
	for n := range maxKey + 1 {
		if key, ok := p.keys[n]; ok && key.Method != hbauth.SHA256 {
			p.warn(p.at[n], key.Method.String(), "no such key once every node signs with hmac-sha256", "packets that are signed with key %d are taken as well, and copies of them", n)
		}
	}
}

// firstWord is as much of a line as may be shown to anybody: the key comes later.
func firstWord(line string) string {
	for word := range strings.FieldsSeq(line) {
		return word
	}
	return ""
}

// noPlugin is what the original logs of a method without a plugin: it counts those it has loaded.
func (p *parser) noPlugin(method string) string {
	loaded := 0
	for _, l := range p.plugins {
		if l {
			loaded++
		}
	}
	return fmt.Sprintf("LoadPlugin on %[1]s returned 5: No such plugin/interface/interface type\n"+
		"Lookup extended#2 returned FALSE for %[1]s\nTable size: %[2]d\nInvalid authtype [%[1]s]", method, loaded)
}

// scanInt reads a number as scanf's %d does, which cuts it to 32 bits, and returns what follows.
func scanInt(s string) (n int, rest string, ok bool) {
	s = strings.TrimLeft(s, space)
	digits := s
	if s != "" && (s[0] == '-' || s[0] == '+') {
		digits = s[1:]
	}
	end := 0
	for end < len(digits) && digits[end] >= '0' && digits[end] <= '9' {
		end++
	}
	if end == 0 {
		return 0, s, false
	}
	long, err := strconv.ParseInt(digits[:end], 10, 64)
	if err != nil {
		long = math.MaxInt64
	}
	if s[0] == '-' {
		long = -long
	}
	return int(int32(long)), digits[end:], true
}

func (p *parser) fail(pos diag.Pos, directive, want, wire, format string, args ...any) {
	p.problems.Add(diag.Problem{Pos: pos, Sev: diag.Error, Directive: directive, Want: want, Wire: wire, Msg: fmt.Sprintf(format, args...)})
}

func (p *parser) warn(pos diag.Pos, directive, want, format string, args ...any) {
	p.problems.Add(diag.Problem{Pos: pos, Directive: directive, Want: want, Msg: fmt.Sprintf(format, args...)})
}
