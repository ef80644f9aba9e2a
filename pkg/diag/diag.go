// Package diag says where a word of a configuration file stands and what is wrong with it.
//
// Every parser of this project reads its whole input and returns all problems at once as a
// [List]; none returns a configuration mistake as an error.
package diag

import (
	"fmt"
	"sort"
	"strings"
)

// Pos is a place in a file. Line and Col count from 1; Col counts bytes. Zero means unknown.
type Pos struct {
	File      string
	Line, Col int
}

// String is "file:line:col", leaving out what is unknown.
func (p Pos) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
		if p.Col > 0 {
			fmt.Fprintf(&b, ":%d", p.Col)
		}
	}
	return b.String()
}

// Severity ranks a problem as the original treats it.
type Severity uint8

// Warning is for what the original accepts; Error for what makes it refuse the file.
const (
	Warning Severity = iota
	Error
)

// Problem is one thing wrong with a configuration text.
type Problem struct {
	Pos       Pos
	Sev       Severity
	Directive string // the directive concerned; empty for a problem of the whole file
	Msg       string // what is wrong, the offending word quoted
	Want      string // what would be accepted; may be empty
	Wire      string // the original's own log text for it, if it has one
	WireLine  int    // the line that the original names; 0 is Pos's, below it none is named
}

// String is "file:line:col: directive: what is wrong (want what)"; warnings say so after the position.
func (p Problem) String() string {
	var b strings.Builder
	if p.Pos != (Pos{}) {
		b.WriteString(p.Pos.String() + ": ")
	}
	if p.Sev == Warning {
		b.WriteString("warning: ")
	}
	if p.Directive != "" {
		b.WriteString(p.Directive + ": ")
	}
	b.WriteString(p.Msg)
	if p.Want != "" {
		b.WriteString(" (want " + p.Want + ")")
	}
	return b.String()
}

// List is the problems of one run, in the order found.
type List []Problem

// Errorf appends an error at pos about directive. want may be empty.
func (l *List) Errorf(pos Pos, directive, want, format string, args ...any) {
	*l = append(*l, Problem{Pos: pos, Sev: Error, Directive: directive, Want: want, Msg: fmt.Sprintf(format, args...)})
}

// Warnf appends a warning at pos about directive. want may be empty.
func (l *List) Warnf(pos Pos, directive, want, format string, args ...any) {
	*l = append(*l, Problem{Pos: pos, Sev: Warning, Directive: directive, Want: want, Msg: fmt.Sprintf(format, args...)})
}

// Count returns how many problems are errors and how many are warnings.
func (l List) Count() (errs, warnings int) {
	for _, p := range l {
		if p.Sev == Error {
			errs++
		} else {
			warnings++
		}
	}
	return errs, warnings
}

// Sort orders the problems by file, line and column, keeping the order of those at one place.
func (l List) Sort() {
	sort.SliceStable(l, func(i, j int) bool {
		a, b := l[i].Pos, l[j].Pos
		if a.File != b.File {
			return a.File < b.File
		}
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Col < b.Col
	})
}

// Err is nil when the list holds nothing but warnings; else an error whose text is all its
// errors, one a line.
func (l List) Err() error {
	if errs, _ := l.Count(); errs == 0 {
		return nil
	}
	return listError(l)
}

type listError List

func (l listError) Error() string {
	var lines []string
	for _, p := range l {
		if p.Sev == Error {
			lines = append(lines, p.String())
		}
	}
	return strings.Join(lines, "\n")
}
