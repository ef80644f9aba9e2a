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
	"syscall"

	"github.com/systole-ha/systole/pkg/lasting"
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
	root     string   // before all of these; "" but for tests
	step     func()   // called between any two changes of files, nil but for a test, which ends the program there
}

func (r Record) changed() {
	if r.step != nil {
		r.step()
	}
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

// readRecord reads the record below root, which is "" but for tests.
func readRecord(root string) (Record, error) {
	r := Record{root: root}
	text, err := os.ReadFile(root + recordFile)
	if errors.Is(err, fs.ErrNotExist) {
		return r, ErrNotAdopted
	}
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	return r, err
}

// write is done, on the disk, when it returns.
func (r Record) write() error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	name := r.root + recordFile
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return lasting.WriteFile(name, append(text, '\n'))
}

func fsync(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// tidy removes what an adoption that was killed left half written, and the record's directory if nothing is in it.
func tidy(root string) error {
	var errs []error
	for _, name := range []string{recordFile + lasting.Unfinished, filepath.Dir(layout.Home) + "/.systole." + filepath.Base(layout.Home)} {
		if err := os.Remove(root + name); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	_ = os.Remove(filepath.Dir(root + recordFile)) // somebody else's file may be in it
	return errors.Join(errs...)
}

// haBin is the directory of the heartbeat that was replaced.
func (r Record) haBin() string {
	for _, p := range r.Programs {
		if filepath.Base(p.Path) == "heartbeat" {
			return filepath.Dir(p.Path)
		}
	}
	return ""
}

// plan is what there is to replace: names of the layout that the originals have here.
func plan(root string, l layout.Layout, programs []string) (r Record, err error) {
	r.root = root
	for _, f := range l.Files(layout.Options{Programs: programs}) {
		if f.Kind != layout.Link || strings.HasPrefix(f.Path, "/etc/") {
			continue
		}
		st, err := os.Lstat(root + f.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // the originals have no such program here
		case err != nil:
			return r, err
		case st.Mode()&fs.ModeSymlink != 0:
			if to, err := filepath.EvalSymlinks(root + f.Path); err == nil && to == root+layout.Home {
				return r, fmt.Errorf("%s is ours already: systole is installed here, there is nothing to adopt", f.Path)
			}
		}
		p := Replacement{Path: f.Path, Aside: f.Path + aside}
		if p.Diverted, err = dpkgOwns(root + f.Path); err != nil {
			return r, err
		}
		if _, err := os.Lstat(root + p.Aside); err == nil {
			return r, fmt.Errorf("%s is there: left by an earlier attempt?", p.Aside)
		}
		r.Programs = append(r.Programs, p)
	}
	if len(r.Programs) == 0 {
		return r, errors.New("none of the originals' programs is installed here (systole install, or the package, is for such a machine)")
	}
	if _, err := os.Lstat(root + layout.Home); errors.Is(err, fs.ErrNotExist) {
		r.Own = []string{layout.Home}
	}
	return r, nil
}

// dpkgOwns tells whether a package of Debian's has the file; an error when dpkg is here and cannot say.
func dpkgOwns(path string) (bool, error) {
	err := command("dpkg", "-S", path).Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, exec.ErrNotFound), errors.As(err, &exit) && (exit.ExitCode() == 1 || exit.ExitCode() == 127):
		return false, nil
	}
	return false, fmt.Errorf("dpkg -S %s: %w", path, err)
}

// prepare writes down what place will do, so that undo knows whatever happens, and copies the program: what needs room on
// the disk, and can be done while heartbeat runs.
func (r Record) prepare(self string) error {
	if err := r.write(); err != nil {
		return fmt.Errorf("write %s: %w", recordFile, err)
	}
	r.changed()
	if len(r.Own) == 0 {
		return nil
	}
	file := layout.File{Path: layout.Home, Kind: layout.Program, Mode: 0o755}
	if err := layout.Install(r.root, self, []layout.Step{{File: file, What: layout.Made}}); err != nil {
		return err
	}
	r.changed()
	return errors.Join(fsync(r.root+layout.Home), fsync(filepath.Dir(r.root+layout.Home)))
}

// place puts ours in the originals' places.
func (r Record) place() error {
	for _, p := range r.Programs {
		if err := r.setAside(p); err != nil {
			return fmt.Errorf("set %s aside: %w", p.Path, err)
		}
		r.changed()
		if err := os.Symlink(r.root+layout.Home, r.root+p.Path); err != nil {
			return err
		}
		r.changed()
	}
	return nil
}

func (r Record) setAside(p Replacement) error {
	if p.Diverted {
		if err := r.divert(p, "--add"); err != nil {
			return err
		}
		r.changed()
		if is(r.root + p.Aside) {
			return nil
		}
		// A diversion that was there already: then dpkg-divert has not renamed.
	}
	return os.Rename(r.root+p.Path, r.root+p.Aside)
}

func (r Record) divert(p Replacement, what string) error {
	return run("dpkg-divert", "--quiet", "--local", "--rename", "--divert", r.root+p.Aside, what, r.root+p.Path)
}

func is(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// restore puts the originals back, as far as they were set aside, and removes what was added. It can be repeated after
// it, or place, has ended anywhere; until it succeeds the record stays.
func (r Record) restore(say func(string, ...any)) error {
	var errs []error
	for _, p := range r.Programs {
		if err := r.putBack(p, say); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, f := range r.Own {
		if err := os.Remove(r.root + f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		r.changed()
	}
	errs = append(errs, os.Remove(r.root+recordFile))
	r.changed()
	return errors.Join(append(errs, tidy(r.root))...)
}

// putBack renames before it removes the diversion, so that there is a program in the place at any time.
func (r Record) putBack(p Replacement, say func(string, ...any)) error {
	path, original := r.root+p.Path, r.root+p.Aside
	to, err := os.Readlink(path)
	ours := err == nil && to == r.root+layout.Home
	switch {
	case is(original) && is(path) && !ours && !p.Diverted:
		// rpm's upgrade took our link's place. (dpkg's goes where the diversion says.)
		say("  %s has been installed anew: that stays, the older %s is removed", p.Path, p.Aside)
		err = os.Remove(original)
	case is(original):
		err = os.Rename(original, path)
	case ours: // the original's package was removed
		err = os.Remove(path)
	default: // it was not set aside, or is back
		err = nil
	}
	r.changed()
	if err != nil || !p.Diverted {
		return err
	}
	// Even if nothing was aside: dpkg-divert writes down a new diversion before it renames.
	err = r.divert(p, "--remove")
	r.changed()
	return err
}

// command is a program that a Ctrl-C at the terminal does not reach: one that is ended half way leaves a node half done.
func command(name string, arg ...string) *exec.Cmd {
	cmd := exec.Command(name, arg...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

func run(name string, arg ...string) error {
	out, err := command(name, arg...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(append([]string{name}, arg...), " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
