package layout

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Step is what Install does, or would do, with one file.
type Step struct {
	File
	What What
}

// What is done with a file.
type What uint8

// Same: as it is to be. Made, Replaced: written. Kept: the administrator's file stays. Foreign: somebody else's program
// or file is in the place; Install stops at it.
const (
	Same What = iota
	Made
	Replaced
	Kept
	Foreign
)

// String is a word for a list.
func (w What) String() string { return [...]string{"same", "made", "replaced", "kept", "foreign"}[w] }

// Plan says what there is to do below dest ("" is this machine). Nothing is written.
func Plan(dest string, list []File) ([]Step, error) {
	var steps []Step
	for _, f := range list {
		what, err := look(dest, f)
		if err != nil {
			return nil, fmt.Errorf("look at %s: %w", filepath.Join(dest, f.Path), err)
		}
		steps = append(steps, Step{f, what})
	}
	return steps, nil
}

func look(dest string, f File) (What, error) {
	path := dest + f.Path
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Made, nil
	case err != nil:
		return 0, err
	}
	switch f.Kind {
	case Dir:
		if st.IsDir() {
			return Same, nil
		}
		return Foreign, nil
	case Program:
		return Replaced, nil
	case StandIn:
		return Same, nil
	case Link:
		if to, err := os.Readlink(path); err == nil && to == f.Target {
			return Same, nil
		}
		return Foreign, nil
	}
	if !st.Mode().IsRegular() {
		return Foreign, nil
	}
	have, err := os.ReadFile(path)
	switch {
	case err != nil:
		return 0, err
	case bytes.Equal(have, f.Text):
		return Same, nil
	case f.Kind == Config:
		return Kept, nil
	case !bytes.Contains(have, []byte("systole")) && filepath.Ext(path) != ".gz":
		return Foreign, nil
	}
	return Replaced, nil
}

// Install does the steps of a plan; program is the file to copy for Program. What is foreign is passed over.
// Directories are made as needed.
func Install(dest, program string, steps []Step) error {
	for _, s := range steps {
		path := dest + s.Path
		if s.What == Same || s.What == Kept || s.What == Foreign {
			continue
		}
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = write(path, program, s.File)
		}
		if err != nil {
			return fmt.Errorf("install %s: %w", path, err)
		}
	}
	return nil
}

func write(path, program string, f File) error {
	switch f.Kind {
	case Dir:
		if err := os.Mkdir(path, f.Mode.Perm()); err != nil {
			return err
		}
		return os.Chmod(path, f.Mode)
	case Link, StandIn:
		return replace(path, func(tmp string) error { return os.Symlink(f.Target, tmp) })
	case Program:
		return replace(path, func(tmp string) error { return copyProgram(program, tmp, f.Mode) })
	}
	return replace(path, func(tmp string) error {
		if err := os.WriteFile(tmp, f.Text, f.Mode); err != nil {
			return err
		}
		return os.Chmod(tmp, f.Mode)
	})
}

// replace makes a file beside path and puts it in its place: a program that is running is never half written.
func replace(path string, make func(tmp string) error) error {
	tmp := filepath.Join(filepath.Dir(path), ".systole."+filepath.Base(path))
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := make(tmp); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return os.Rename(tmp, path)
}

func copyProgram(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(mode), out.Close())
}
