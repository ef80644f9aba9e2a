// Package lasting writes files that outlive a crash and a power cut.
package lasting

import (
	"errors"
	"os"
	"path/filepath"
)

// Unfinished is what a file that is being written has at the end of its name.
const Unfinished = ".new"

// WriteFile puts data into a file, with mode 0644, by way of another one beside it that is renamed: the file is
// the old one or the new one, whatever happens, and the new one, on the disk, when WriteFile returns without an
// error. The directory must be there. One goroutine of the machine may write a file at a time.
func WriteFile(path string, data []byte) error {
	f, err := os.OpenFile(path+Unfinished, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // a leftover harms nobody
		return err
	}
	SyncDir(filepath.Dir(path))
	return nil
}

// SyncDir has a directory's changes written to the disk. Some file systems cannot; the change is made all
// the same, and is to count.
func SyncDir(path string) {
	if d, err := os.Open(path); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
