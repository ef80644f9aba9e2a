package ldirectord

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/systole-ha/systole/pkg/director"
)

// monitorQueue is how many lines may wait for a slow disk; more are thrown away.
const monitorQueue = 8192

// monitorGrace is how long writing may take at the end.
const monitorGrace = time.Second

// monitorFiles writes the lines of monitorfile=, so that a slow disk holds up nothing else. Files
// are opened anew each time, so that they may be rotated.
type monitorFiles struct {
	log    *Log
	queue  chan monitorLine
	broken map[string]bool // files whose failure is in the log
	lost   int             // since the last line that found room; the owner's
}

type monitorLine struct{ file, text string }

func newMonitorFiles(log *Log) *monitorFiles {
	return &monitorFiles{log: log, queue: make(chan monitorLine, monitorQueue), broken: map[string]bool{}}
}

// write has a line written. It does not wait.
func (m *monitorFiles) write(a director.Monitor) {
	text := fmt.Sprintf("[%s] [%d] %s\n", time.Now().Format(time.ANSIC), os.Getpid(), a.Text)
	select {
	case m.queue <- monitorLine{a.File, text}:
		if m.lost > 0 {
			m.log.Printf("%d lines for monitorfiles were not written: too many wait", m.lost)
			m.lost = 0
		}
	default:
		m.lost++
	}
}

// run writes until ctx ends, and then what waits.
func (m *monitorFiles) run(ctx context.Context) {
	for {
		select {
		case l := <-m.queue:
			m.append(l)
		case <-ctx.Done():
			for {
				select {
				case l := <-m.queue:
					m.append(l)
				default:
					return
				}
			}
		}
	}
}

// append writes first and all that waits, each file in one go.
func (m *monitorFiles) append(first monitorLine) {
	texts := map[string][]byte{first.file: []byte(first.text)}
	order := []string{first.file}
	for range len(m.queue) {
		l := <-m.queue
		if texts[l.file] == nil {
			order = append(order, l.file)
		}
		texts[l.file] = append(texts[l.file], l.text...)
	}
	for _, file := range order {
		err := appendFile(file, texts[file])
		if err != nil && !m.broken[file] {
			m.log.Printf("Failed to write monitorfile: %v", err)
		}
		m.broken[file] = err != nil
	}
}

func appendFile(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
