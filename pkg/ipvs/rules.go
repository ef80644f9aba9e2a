package ipvs

import (
	"fmt"
	"strings"

	"github.com/systole-ha/systole/pkg/diag"
)

// Rule is a line of a rule file: one command, or what is wrong with it.
type Rule struct {
	Pos     diag.Pos // of the line's first word
	Command Command
	Err     *UsageError  // Command does not count if it is set
	Problem diag.Problem // Err with its place
}

// ParseRules reads the input of ipvsadm -R, which is also the output of ipvsadm -S: one command
// a line, words parted by blanks without any quoting, the word "ipvsadm" ignored. As
// ipvsadm-restore does, it passes over lines that begin with '#'. Every line that is not empty
// makes a rule, also one that is wrong; the problems of those are in the list as well, each
// once, in order.
func ParseRules(file string, text []byte, names Names) ([]Rule, diag.List) {
	var rules []Rule
	var problems diag.List
	for n, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		words, columns := SplitRule(line)
		if len(words) == 0 {
			continue
		}
		at := func(i int) diag.Pos {
			col := len(line) + 1
			if i < len(columns) {
				col = columns[i]
			}
			return diag.Pos{File: file, Line: n + 1, Col: col}
		}
		r := Rule{Pos: at(0)}
		r.Command, r.Err = ParseCommand(words, names)
		if r.Err == nil && r.Command.Kind == CmdRestore {
			r.Err = &UsageError{Status: 255, Want: "a command other than -R"}
		}
		if r.Err != nil {
			msg := r.Err.Error()
			if r.Err.Text == "" {
				msg = fmt.Sprintf("not a command: %q", words[0])
			}
			r.Problem = diag.Problem{Pos: at(r.Err.Arg), Sev: diag.Error, Msg: msg, Want: r.Err.Want, Wire: r.Err.Text}
			problems = append(problems, r.Problem)
		}
		rules = append(rules, r)
	}
	return rules, problems
}

// SplitRule takes a line for ipvsadm -R apart: words, and the column of each, from 1. Words
// "ipvsadm" are left out wherever they stand, and what follows a NUL byte in a word.
func SplitRule(line string) (words []string, columns []int) {
	for i := 0; i < len(line); {
		if strings.IndexByte(" \t\r\n", line[i]) >= 0 {
			i++
			continue
		}
		end := i
		for end < len(line) && strings.IndexByte(" \t\r\n", line[end]) < 0 {
			end++
		}
		word, _, _ := strings.Cut(line[i:end], "\x00")
		if word != "ipvsadm" {
			words, columns = append(words, word), append(columns, i+1)
		}
		i = end
	}
	return words, columns
}

// AppendRule appends the lines that ipvsadm -S prints for a service and its destinations, in
// their order. Like ipvsadm's, they leave out thresholds.
func AppendRule(b []byte, e Entry, names Names) []byte {
	service := serviceOption(e.Service, names)
	b = fmt.Appendf(b, "-A %s -s %s", service, e.Scheduler)
	if e.Persistent != 0 {
		b = fmt.Appendf(b, " -p %d", e.Persistent)
		if mask := maskText(e.Service); mask != "" {
			b = append(b, " -M "+mask...)
		}
	}
	if e.PE != "" {
		b = append(b, " --pe "+e.PE...)
	}
	if e.OnePacket {
		b = append(b, " -o"...)
	}
	if e.SchedFlags != 0 {
		b = append(b, " -b "+schedFlagNames(e.Service)...)
	}
	b = append(b, '\n')
	for _, d := range e.Dests {
		b = fmt.Appendf(b, "-a %s -r %s %s -w %d", service, names.endpoint(d.Addr, e.Protocol), forwardOption(d.Forward), d.Weight)
		if d.Forward == Tunnel {
			b = append(b, tunnelOptions(d.Dest)...)
		}
		b = append(b, '\n')
	}
	return b
}

func serviceOption(s Service, names Names) string {
	switch {
	case s.FWMark != 0 && s.Family == IPv6:
		return fmt.Sprintf("-f %d -6", int32(s.FWMark))
	case s.FWMark != 0:
		return fmt.Sprintf("-f %d", int32(s.FWMark))
	}
	option := "-t"
	switch s.Protocol {
	case UDP:
		option = "-u"
	case SCTP:
		option = "--sctp-service"
	}
	return option + " " + names.endpoint(s.Addr, s.Protocol)
}

// forwardOption is the option for a forwarding method; ipvsadm has none for two of them.
func forwardOption(f Forward) string {
	switch f {
	case Masq:
		return "-m"
	case Tunnel:
		return "-i"
	case Route, Local:
		return "-g"
	}
	return "(null)"
}

func tunnelOptions(d Dest) string {
	sums := " --tun-nocsum"
	switch {
	case d.TunFlags&TunCsum != 0:
		sums = " --tun-csum"
	case d.TunFlags&TunRemCsum != 0:
		sums = " --tun-remcsum"
	}
	switch d.TunType {
	case GUE:
		return fmt.Sprintf(" --tun-type gue --tun-port %d%s", d.TunPort, sums)
	case GRE:
		return " --tun-type gre" + sums
	}
	return " --tun-type ipip"
}
