package ldirectord

import (
	"context"
	"fmt"
	"os"
	"time"
)

// How often the configuration file is looked at (the original: each pass, or each second with
// fork=yes).
const watchInterval = time.Second

// loader reads the configuration file again when asked, and looks whether it has changed.
type loader struct {
	instance Instance
	options  LoadOptions
	seen     stamp
	changing stamp // differs from seen, and is to be the same at the next look
	missing  bool

	asked   chan struct{}
	files   chan File
	changes chan string // empty for a change, else what prevents looking
}

func newLoader(in Instance, o LoadOptions, f File) *loader {
	return &loader{
		instance: in, options: o, seen: f.stamp,
		asked: make(chan struct{}, 1), files: make(chan File), changes: make(chan string),
	}
}

// ask has the file read. Requests that come while it is being read count as one.
func (l *loader) ask() {
	select {
	case l.asked <- struct{}{}:
	default:
	}
}

func (l *loader) run(ctx context.Context) {
	t := time.NewTicker(watchInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.asked:
			f := Load(ctx, l.instance, l.options)
			l.seen = f.stamp
			select {
			case l.files <- f:
			case <-ctx.Done():
				return
			}
		case <-t.C:
			complaint, tell := l.look()
			if !tell {
				continue
			}
			select {
			case l.changes <- complaint:
			case <-ctx.Done():
				return
			}
		}
	}
}

// look compares the file with what was seen of it last: its time, if that was old enough to tell,
// else its contents. A change counts when the file has been the same for one interval: an editor
// that has emptied the file and not yet written it must not cost any services.
func (l *loader) look() (complaint string, tell bool) {
	info, err := os.Stat(l.instance.Path)
	if err == nil && info.ModTime().UnixNano() == l.seen.mtime && !l.seen.young {
		l.missing, l.changing = false, stamp{}
		return "", false
	}
	var now stamp
	if err == nil {
		_, now, err = readStamped(l.instance.Path)
	}
	if err != nil {
		was := l.missing
		l.missing = true
		return fmt.Sprintf("Warning [%d]: can not open file %s for checking", os.Getpid(), l.instance.Config), !was
	}
	l.missing = false
	if now.sum == l.seen.sum {
		l.seen, l.changing = now, stamp{}
		return "", false
	}
	if !now.same(l.changing) {
		l.changing = now
		return "", false
	}
	l.seen = now
	return "", true
}
