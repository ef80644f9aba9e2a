package adopt

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/systole-ha/systole/pkg/layout"
)

// Replacement is one program of the originals whose place was taken.
type Replacement struct {
	Path     string
	Aside    string // where the original's file is
	Diverted bool   // by dpkg-divert
}

// Record is what was done, kept for Undo.
type Record struct {
	Programs []Replacement
	Own      []string // files that were made where none was
}

// recordFile is where the record is kept.
const recordFile = "/var/lib/systole/adopted"

// aside is what a file that was set aside has at its end.
const aside = ".original"

// ErrAdopted is returned when the machine is adopted already, ErrNotAdopted when it is not.
var (
	ErrAdopted    = errors.New("this machine has been adopted already (systole adopt --undo puts the originals back)")
	ErrNotAdopted = errors.New("this machine has not been adopted: there is nothing to undo")
)

func readRecord() (Record, error) {
	var r Record
	text, err := os.ReadFile(recordFile)
	if errors.Is(err, fs.ErrNotExist) {
		return r, ErrNotAdopted
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	return r, err
}

func (r Record) write() error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(recordFile), 0o755); err != nil {
		return err
	}
	tmp := recordFile + ".new"
	if err := os.WriteFile(tmp, append(text, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, recordFile)
}

// plan is what there is to replace: names of the layout that the originals have here.
func plan(l layout.Layout, programs []string) (r Record, err error) {
	for _, f := range l.Files(layout.Options{Programs: programs}) {
		if f.Kind != layout.Link || strings.HasPrefix(f.Path, "/etc/") {
			continue
		}
		st, err := os.Lstat(f.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // the originals have no such program here
		case err != nil:
			return r, err
		case st.Mode()&fs.ModeSymlink != 0:
			if to, err := filepath.EvalSymlinks(f.Path); err == nil && to == layout.Home {
				return r, fmt.Errorf("%s is ours already: systole is installed here, there is nothing to adopt", f.Path)
			}
		}
		p := Replacement{Path: f.Path, Aside: f.Path + aside, Diverted: dpkgOwns(f.Path)}
		if _, err := os.Lstat(p.Aside); err == nil {
			return r, fmt.Errorf("%s is there: left by an earlier attempt?", p.Aside)
		}
		r.Programs = append(r.Programs, p)
	}
	if len(r.Programs) == 0 {
		return r, errors.New("none of the originals' programs is installed here (systole install, or the package, is for such a machine)")
	}
	if _, err := os.Lstat(layout.Home); errors.Is(err, fs.ErrNotExist) {
		r.Own = []string{layout.Home}
	}
	return r, nil
}

// dpkgOwns tells whether a package of Debian's has the file.
func dpkgOwns(path string) bool { return exec.Command("dpkg", "-S", path).Run() == nil }

// place puts ours in the originals' places. On an error what was done is undone.
func (r Record) place(self string) (err error) {
	if err := r.write(); err != nil { // first, so that undo knows whatever happens
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.restore())
		}
	}()
	if len(r.Own) > 0 {
		if err := layout.Install("", self, []layout.Step{{File: layout.File{Path: layout.Home, Kind: layout.Program, Mode: 0o755}, What: layout.Made}}); err != nil {
			return err
		}
	}
	for _, p := range r.Programs {
		if err := p.setAside(); err != nil {
			return fmt.Errorf("set %s aside: %w", p.Path, err)
		}
		if err := os.Symlink(layout.Home, p.Path); err != nil {
			return err
		}
	}
	return nil
}

func (p Replacement) setAside() error {
	if !p.Diverted {
		return os.Rename(p.Path, p.Aside)
	}
	return run("dpkg-divert", "--quiet", "--local", "--rename", "--divert", p.Aside, "--add", p.Path)
}

// restore puts the originals back, as far as they were set aside, and removes what was added.
func (r Record) restore() error {
	var errs []error
	for _, p := range r.Programs {
		if to, err := os.Readlink(p.Path); err == nil && to == layout.Home {
			errs = append(errs, os.Remove(p.Path))
		}
		if _, err := os.Lstat(p.Path); err == nil {
			continue // it was not set aside
		}
		if p.Diverted {
			errs = append(errs, run("dpkg-divert", "--quiet", "--local", "--rename", "--divert", p.Aside, "--remove", p.Path))
			continue
		}
		if err := os.Rename(p.Aside, p.Path); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err // the record stays, for another try
	}
	for _, f := range r.Own {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, os.Remove(recordFile))
	_ = os.Remove(filepath.Dir(recordFile)) // if nothing else is in it
	return errors.Join(errs...)
}

func run(name string, arg ...string) error {
	out, err := exec.Command(name, arg...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(append([]string{name}, arg...), " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
