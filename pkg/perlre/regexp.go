package perlre

import (
	"bytes"
	"fmt"
	"time"

	"github.com/dlclark/regexp2/v2"
)

// clockStep is how exactly a match's time limit is kept.
const clockStep = 20 * time.Millisecond

// stackLimit bounds the backtracking stack of one match, in machine words.
const stackLimit = 40000

func init() {
	// The engine's own step is 100 ms, which would let a check outlive its deadline.
	regexp2.SetTimeoutCheckPeriod(clockStep)
}

// Regexp is a compiled Perl regular expression. It is safe for concurrent use.
type Regexp struct {
	source  string
	literal []byte          // what the expression is if it is plain text
	engine  *regexp2.Regexp // nil for plain text
	atEnd   bool            // whether it matches can depend on what follows the match
}

// Compile translates and compiles a pattern, whose bytes stand for themselves. The error says
// what is wrong with it or cannot be expressed.
func Compile(pattern string) (*Regexp, error) {
	t := translator{src: pattern, plain: true}
	if err := t.translate(); err != nil {
		return nil, fmt.Errorf("pattern %q: %w", clip(pattern), err)
	}
	r := &Regexp{source: pattern, atEnd: t.atEnd}
	if t.plain {
		r.literal = t.literal
		return r, nil
	}
	engine, err := regexp2.Compile(t.out.String(), regexp2.OptionMaintainCaptureOrder(), regexp2.OptionMaxBacktrackingStackSize(stackLimit))
	if err != nil {
		return nil, fmt.Errorf("pattern %q: %w", clip(pattern), err)
	}
	r.engine = engine
	return r, nil
}

// clip keeps an over-long pattern out of messages.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// String is the expression as it was given.
func (r *Regexp) String() string { return r.source }

// Match tells whether the expression matches anywhere in text. It gives up with an error after
// limit, or when the expression needs too much memory to backtrack.
func (r *Regexp) Match(text []byte, limit time.Duration) (bool, error) {
	if r.engine == nil {
		return bytes.Contains(text, r.literal), nil
	}
	ok, err := r.within(limit).MatchRunes(runes(text))
	if err != nil {
		return false, r.failure(err)
	}
	return ok, nil
}

// within is the engine with a time limit. The limit belongs to the copy only; all else is shared.
func (r *Regexp) within(limit time.Duration) *regexp2.Regexp {
	engine := *r.engine
	engine.MatchTimeout = max(limit, 0)
	return &engine
}

func (r *Regexp) failure(err error) error {
	if err == regexp2.ErrBacktrackingStackLimit {
		return fmt.Errorf("pattern %q needs too much memory", clip(r.source))
	}
	return fmt.Errorf("pattern %q takes too long", clip(r.source))
}

// highByte is where the bytes from 0x80 on live among the runes that the engine sees: in the
// private use area, whose characters are no letters, digits or blanks and have no case. So \w,
// \s, \b and (?i) are about ASCII only, as they are for Perl on bytes.
const highByte = 0xE000

// toRune is the rune that stands for a byte.
func toRune(b byte) rune {
	if b < 0x80 {
		return rune(b)
	}
	return highByte + rune(b)
}

func runes(text []byte) []rune { return appendRunes(make([]rune, 0, len(text)), text) }

func appendRunes(out []rune, text []byte) []rune {
	for _, b := range text {
		out = append(out, toRune(b))
	}
	return out
}
