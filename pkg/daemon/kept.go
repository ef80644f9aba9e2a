package daemon

import (
	"io/fs"
	"os"
	"time"

	"github.com/systole-ha/systole/pkg/config/hacf"
	"github.com/systole-ha/systole/pkg/diag"
)

// Kept is a configuration that was found sound. A run hands it to the one that follows in its place, which
// goes on with it if the files on disk are bad by then.
type Kept struct {
	Node, Uname string
	Texts       map[string]Text // by path
}

// Text is a file as it was read.
type Text struct {
	Text  []byte
	Stamp time.Time // when it was modified
}

// take reads a file of the disk and keeps it.
func (k *Kept) take(path string) (Text, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Text{}, err
	}
	st, err := os.Stat(path)
	if err != nil {
		return Text{}, err
	}
	t := Text{text, st.ModTime()}
	k.Texts[path] = t
	return t, nil
}

// open is a file as it was kept.
func (k *Kept) open(path string) (Text, error) {
	t, kept := k.Texts[path]
	if !kept {
		return t, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return t, nil
}

// changed tells whether a file is another one in k than in old.
func (k *Kept) changed(old *Kept, path string) bool {
	return !k.Texts[path].Stamp.Equal(old.Texts[path].Stamp)
}

// LoadKept is [Load] for texts that were kept. The machine is not asked again: what it has lost since, an
// interface or a program, may come back.
func LoadKept(p Paths, k *Kept) (*Files, diag.List) {
	f := &Files{Node: k.Node, Uname: k.Uname, kept: k}
	host := hacf.Host{
		Node: k.Node,
		ReadFile: func(path string) ([]byte, error) {
			t, err := k.open(path)
			return t.Text, cause(err)
		},
	}
	return f, f.load(p, host, k.open, func(string) diag.List { return nil })
}

// LoadAgain is Load for a run that takes another's place, and must not end for what has become of the files
// meanwhile: if those on disk are bad it gives the kept ones, and with them what is wrong on disk.
func LoadAgain(p Paths, k *Kept) (f *Files, problems, onDisk diag.List) {
	f, problems = Load(p)
	if k == nil || problems.Err() == nil {
		return f, problems, nil
	}
	onDisk = problems
	f, problems = LoadKept(p, k)
	return f, problems, onDisk
}
