package check

import (
	"context"
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
