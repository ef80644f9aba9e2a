package daemon

import (
	"context"
	"fmt"
	"os"

	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// deletedFile keeps the list of nodes that hb_delnode has removed. The original writes it too, and
// like it we do not read it in haresources mode. Writing may take as long as the disk takes, so it
// has a goroutine of its own.
type deletedFile struct {
	path string
	log  *halog.Logger
	list chan []string
}

func newDeletedFile(path string, log *halog.Logger) *deletedFile {
	return &deletedFile{path: path, log: log, list: make(chan []string, 1)}
}

// save has the list written; only the newest counts.
func (d *deletedFile) save(names []string) {
	select {
	case <-d.list:
	default:
	}
	d.list <- names
}

func (d *deletedFile) run(ctx context.Context) {
	for {
		select {
		case names := <-d.list:
			if err := d.write(names); err != nil {
				d.log.Logf(halog.Error, "save deleted nodes: %v", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// write replaces the file: name, uuid, weight and site of each node. The last three are not known
// any more.
func (d *deletedFile) write(names []string) error {
	var text []byte
	for _, name := range names {
		text = fmt.Appendf(text, "%s\t%s\t100\t\n", name, hamsg.UUID{})
	}
	tmp := d.path + ".tmp"
	if err := os.WriteFile(tmp, text, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, d.path)
}
