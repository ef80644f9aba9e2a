package perlre

import (
	"bytes"
	"time"
)

// Sizes of a search's memory. A match longer than overlap that crosses a window's end may be
// missed in a text longer than window; nothing else differs from matching the whole text.
const (
	window  = 64 << 10 // bytes searched at a time
	overlap = 24 << 10 // bytes of a window that are searched again with the next
	context = 256      // bytes before the first place where a later window looks for a match
	margin  = 1 << 10  // bytes after a match that decide about it, if what follows can matter
)

// Search looks for an expression in a text that comes in pieces, of which it keeps no more than
// a window of 64 KiB. A text that is not longer gets the very answer of Match.
type Search struct {
	re      *Regexp
	held    []byte
	text    []rune // held as the engine sees it; kept for the next window
	dropped bool   // text before held is gone
	found   bool
}

// Search starts a search.
func (r *Regexp) Search() *Search { return &Search{re: r} }

// Feed adds a piece of the text and tells whether the expression is known to match. Each match
// tried may take limit.
func (s *Search) Feed(piece []byte, limit time.Duration) (bool, error) {
	for len(piece) > 0 && !s.found {
		n := min(window-len(s.held), len(piece))
		s.held = append(s.held, piece[:n]...)
		piece = piece[n:]
		if len(s.held) < window {
			break
		}
		if err := s.look(limit, false); err != nil {
			return false, err
		}
		keep := overlap
		if s.re.engine == nil {
			keep = min(len(s.re.literal), window-1)
		}
		s.held = append(s.held[:0], s.held[len(s.held)-keep:]...)
		s.dropped = true
	}
	return s.found, nil
}

// End tells whether the expression matches the text, which is complete.
func (s *Search) End(limit time.Duration) (bool, error) {
	if s.found {
		return true, nil
	}
	if !s.dropped {
		return s.re.Match(s.held, limit)
	}
	err := s.look(limit, true)
	return s.found, err
}

// look searches what is held. Unless the text is complete, a match is not believed if what
// follows could undo it.
func (s *Search) look(limit time.Duration, complete bool) error {
	if s.re.engine == nil {
		s.found = bytes.Contains(s.held, s.re.literal)
		return nil
	}
	if s.text == nil {
		s.text = make([]rune, 0, window)
	}
	s.text = appendRunes(s.text[:0], s.held)
	text, from := s.text, 0
	if s.dropped {
		from = context
	}
	m, err := s.re.within(limit).FindRunesMatchStartingAt(text, min(from, len(text)))
	if err != nil {
		return s.re.failure(err)
	}
	s.found = m != nil && (complete || !s.re.atEnd || m.RuneIndex+m.RuneLength <= len(text)-margin)
	return nil
}
