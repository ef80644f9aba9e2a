package lab

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ReadFile reads a file of the node as the node sees it. Of a node that is off, only its own files
// can be read.
func (n *Node) ReadFile(path string) ([]byte, error) {
	f, err := n.open(path, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// WriteFile writes a file of the node, and the directories to it, with exactly that mode. On a node
// that is off this can be done below /etc, /usr, /var/lib, /var/log and /tmp.
func (n *Node) WriteFile(path string, data []byte, mode fs.FileMode) error {
	if err := n.mkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	f, err := n.open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, mode)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Close()
}

// Symlink makes a symbolic link in the node, in place of what is there, and the directories to it.
func (n *Node) Symlink(target, path string) error {
	if err := n.mkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	return n.at(filepath.Dir(path), func(dir int) error {
		name := filepath.Base(path)
		if err := unix.Unlinkat(dir, name, 0); err != nil && err != unix.ENOENT {
			return err
		}
		return unix.Symlinkat(target, dir, name)
	})
}

// Remove removes a file of the node.
func (n *Node) Remove(path string) error {
	return n.at(filepath.Dir(path), func(dir int) error { return unix.Unlinkat(dir, filepath.Base(path), 0) })
}

func (n *Node) mkdirAll(path string) error {
	path = filepath.Clean(path)
	if path == "/" {
		return nil
	}
	if f, err := n.open(path, unix.O_PATH|unix.O_DIRECTORY, 0); err == nil {
		return f.Close()
	}
	if err := n.mkdirAll(filepath.Dir(path)); err != nil {
		return err
	}
	return n.at(filepath.Dir(path), func(dir int) error { return unix.Mkdirat(dir, filepath.Base(path), 0o755) })
}

func (n *Node) at(path string, f func(dir int) error) error {
	d, err := n.open(path, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := f(int(d.Fd())); err != nil {
		return fmt.Errorf("lab: %s: %s: %w", n.Name(), path, err)
	}
	return nil
}

// open opens a path below the node's root, symbolic links as the node resolves them.
func (n *Node) open(path string, flags int, mode fs.FileMode) (*os.File, error) {
	root := n.disk()
	if pid := n.Pid(); pid != 0 {
		root = fmt.Sprintf("/proc/%d/root", pid)
	} else {
		own := func(d string) bool { return path == d || strings.HasPrefix(path, d+"/") }
		if !slices.ContainsFunc(overlaid, own) && !slices.ContainsFunc(private, own) {
			return nil, fmt.Errorf("lab: %s: %s: the node is off", n.Name(), path)
		}
		if err := n.format(); err != nil {
			return nil, err
		}
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("lab: %s: %w", n.Name(), err)
	}
	defer unix.Close(dir)
	how := &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_IN_ROOT}
	if flags&unix.O_CREAT != 0 {
		how.Mode = uint64(mode.Perm())
	}
	fd, err := unix.Openat2(dir, strings.TrimPrefix(path, "/"), how)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: n.Name() + ":" + path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
