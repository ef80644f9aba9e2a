package check

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/systole-ha/systole/pkg/perlre"
)

// patterns keeps the compiled receive strings of the running configuration.
var patterns = patternCache{compiled: map[string]*perlre.Regexp{}}

type patternCache struct {
	mu       sync.RWMutex
	compiled map[string]*perlre.Regexp
}

// maxPatterns bounds the cache; reloads with ever new patterns start it anew.
const maxPatterns = 1024

// get compiles a receive string; nil for the empty one, which everything matches.
func (c *patternCache) get(pattern string) (*perlre.Regexp, error) {
	if pattern == "" {
		return nil, nil
	}
	c.mu.RLock()
	re := c.compiled[pattern]
	c.mu.RUnlock()
	if re != nil {
		return re, nil
	}
	re, err := perlre.Compile(pattern)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.compiled) >= maxPatterns {
		clear(c.compiled)
	}
	c.compiled[pattern] = re
	return re, nil
}

// Bounds of the time that one match may take.
const (
	shortestMatch = 10 * time.Millisecond // also at the deadline, for what has come until then
	longestMatch  = time.Second
)

// matchLimit is how long a match may take now.
func matchLimit(ctx context.Context) time.Duration {
	left := longestMatch
	if deadline, ok := ctx.Deadline(); ok {
		left = min(left, time.Until(deadline))
	}
	return max(left, shortestMatch)
}

var searchBuffers = sync.Pool{New: func() any { return new([4 << 10]byte) }}

// search looks for receive in what from has to give, up to maxSearched bytes. An error while
// reading, the deadline included, ends the text. nil is found; else preview is how the text begins.
func (s *session) search(receive *perlre.Regexp, from io.Reader) (preview []byte, err error) {
	buf := searchBuffers.Get().(*[4 << 10]byte)
	defer searchBuffers.Put(buf)
	search := receive.Search()
	total := 0
	for total < maxSearched {
		n, readErr := from.Read(buf[:])
		total += n
		preview = append(preview, buf[:min(n, maxPreview-len(preview))]...)
		found, err := search.Feed(buf[:n], matchLimit(s.ctx))
		if err != nil {
			return preview, wrong(err.Error())
		}
		if found {
			return nil, nil
		}
		if readErr != nil {
			break
		}
	}
	found, err := search.End(matchLimit(s.ctx))
	switch {
	case err != nil:
		return preview, wrong(err.Error())
	case found:
		return nil, nil
	}
	s.trace.received(string(preview))
	return preview, s.notFound(total)
}

// notFound is the verdict on an answer of that many bytes without receive in it.
func (s *session) notFound(total int) error {
	return wrong("receive " + strconv.Quote(s.spec.Receive) + fmt.Sprintf(" not found in %d bytes", total))
}
