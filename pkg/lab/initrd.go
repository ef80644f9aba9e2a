package lab

import (
	"bufio"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// writeInitrd writes the guest's first file system: this program as /init, the modules, the job.
func (k *kernel) writeInitrd(w io.Writer, job []byte, extra []string) error {
	modules, err := k.loadOrder(append(slices.Clone(guestModules), extra...))
	if err != nil {
		return err
	}
	a := &archive{w: bufio.NewWriterSize(w, 1<<20), dirs: map[string]bool{}}
	for _, d := range []string{"/proc", "/sys", "/dev", "/lower", "/upper", "/root"} {
		a.dir(d)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	a.copy("/init", self)
	libs, err := libraries(self)
	if err != nil {
		return err
	}
	for _, l := range libs {
		a.copy(l, l)
	}
	for i, m := range modules {
		a.copy(fmt.Sprintf("/modules/%03d-%s", i, filepath.Base(m)), m)
	}
	a.file(jobFile, job)
	a.entry("TRAILER!!!", 0, 0, nil)
	return errors.Join(a.err, a.w.Flush())
}

// libraries lists the shared objects of a program that is not static, as one with the race
// detector is not.
func libraries(program string) ([]string, error) {
	f, err := elf.Open(program)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	interp := f.Section(".interp")
	if interp == nil {
		return nil, nil
	}
	loader, err := interp.Data()
	if err != nil {
		return nil, err
	}
	files := []string{string(loader[:len(loader)-1])}
	names, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		i := slices.IndexFunc(libraryDirs, func(d string) bool { _, err := os.Stat(filepath.Join(d, n)); return err == nil })
		if i < 0 {
			return nil, fmt.Errorf("library %s of %s: not found", n, program)
		}
		files = append(files, filepath.Join(libraryDirs[i], n))
	}
	return files, nil
}

var libraryDirs = []string{"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"}

// archive writes the cpio format that the kernel unpacks (newc); the first error sticks.
type archive struct {
	w     *bufio.Writer
	dirs  map[string]bool
	inode int
	err   error
}

func (a *archive) dir(name string) {
	if name == "/" || a.dirs[name] {
		return
	}
	a.dir(path.Dir(name))
	a.dirs[name] = true
	a.entry(name[1:], 0o040755, 0, nil)
}

func (a *archive) file(name string, data []byte) {
	a.dir(path.Dir(name))
	a.entry(name[1:], 0o100755, int64(len(data)), func() error { _, err := a.w.Write(data); return err })
}

func (a *archive) copy(name, from string) {
	a.dir(path.Dir(name))
	f, err := os.Open(from)
	if err != nil {
		a.err = errors.Join(a.err, err)
		return
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		a.err = errors.Join(a.err, err)
		return
	}
	a.entry(name[1:], 0o100755, st.Size(), func() error { _, err := io.CopyN(a.w, f, st.Size()); return err })
}

func (a *archive) entry(name string, mode int, size int64, data func() error) {
	if a.err != nil {
		return
	}
	a.inode++
	_, a.err = fmt.Fprintf(a.w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		a.inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
	a.pad(110 + len(name) + 1)
	if data != nil && a.err == nil {
		a.err = data()
		a.pad(int(size % 4))
	}
}

func (a *archive) pad(n int) {
	if a.err == nil {
		_, a.err = a.w.Write(make([]byte, (4-n%4)%4))
	}
}
