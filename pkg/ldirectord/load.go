package ldirectord

import (
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/check"
	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/config/systolecf"
	"github.com/systole-ha/systole/pkg/diag"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// File is a configuration file as it was read.
type File struct {
	Config   *ldirectordcf.Config // never nil; fit for use if Err is nil
	Err      error                // why the file cannot be used: *ConfigError
	Warnings []string             // lines in the original's form
	Problems diag.List            // all of it, in ours
	stamp    stamp
}

// ConfigError is what is wrong with a configuration file.
type ConfigError struct {
	// Lines are the original's messages, "Error [PID] reading file FILE at line N: TEXT", each
	// followed by one of ours that says where in the line and what would be accepted.
	Lines []string
}

// Error joins the lines.
func (e *ConfigError) Error() string { return strings.Join(e.Lines, "\n") }

// stamp tells two states of a file apart.
type stamp struct {
	mtime int64 // nanoseconds
	sum   [md5.Size]byte
	young bool // when it was read another write could still have got the same mtime
}

// How far apart two writes are that certainly differ in their mtime: file systems count in ticks of the
// kernel, the oldest in 2 s.
const mtimeTick = 2 * time.Second

// same reports whether two stamps are of one state.
func (s stamp) same(o stamp) bool { return s.mtime == o.mtime && s.sum == o.sum }

// readStamped reads a file. The stamp's time is taken first: a write that comes between makes the next
// look find another time, and so the new contents.
func readStamped(path string) ([]byte, stamp, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, stamp{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, stamp{}, err
	}
	young := time.Since(info.ModTime()) < mtimeTick
	text, err := io.ReadAll(f)
	return text, stamp{info.ModTime().UnixNano(), md5.Sum(text), young}, err
}

// LoadOptions are the circumstances of reading a configuration.
type LoadOptions struct {
	Debug    bool                // ldirectord -d: the log file is not tested
	Test     bool                // no file is made only to see whether it can be
	Getenv   func(string) string // nil: os.Getenv
	Resolver *net.Resolver       // nil: the system's
}

// How long one name of a configuration may take to resolve.
const lookupLimit = 10 * time.Second

// How long a directory may take to say that it is there.
const statLimit = time.Second

// Load reads an instance's configuration. Names in it are resolved, which may take time.
func Load(ctx context.Context, in Instance, o LoadOptions) File {
	pid := os.Getpid()
	text, read, err := readStamped(in.Path)
	if err != nil {
		return File{
			Config: &ldirectordcf.Config{File: in.Config},
			Err:    &ConfigError{Lines: []string{fmt.Sprintf("Error [%d]: can not open file %s", pid, in.Config)}},
		}
	}
	f := File{stamp: read}
	config, problems := Parse(in.Config, text, o.Parser(ctx))
	f.Config, f.Problems = config, problems
	var lines []string
	for _, p := range problems {
		line := original(p, pid, in.Config)
		if p.Sev == diag.Warning {
			f.Warnings = append(f.Warnings, line)
			continue
		}
		lines = append(lines, line)
		if own := p.String(); !strings.HasSuffix(own, p.Wire) || p.Want != "" {
			lines = append(lines, own)
		}
	}
	lines = append(lines, f.extend(in.Systole)...)
	if len(lines) > 0 {
		f.Err = &ConfigError{Lines: lines}
	}
	return f
}

// extend adds what systole.cf says of the services, and returns what is wrong with that.
func (f *File) extend(path string) (lines []string) {
	text, err := os.ReadFile(path)
	if path == "" || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return []string{fmt.Sprintf("Error [%d]: %v", os.Getpid(), err)}
	}
	config, problems := systolecf.Parse(path, text)
	f.Config.Extend(&config)
	for _, s := range config.Services {
		if s.Option != "cafile" {
			continue
		}
		if err := check.Authorities(s.Value); err != nil {
			problems.Errorf(s.Pos, "service cafile", "a PEM file with certificates of authorities", "%v", err)
		}
	}
	f.Problems = append(f.Problems, problems...)
	for _, p := range problems {
		if p.Sev == diag.Error {
			lines = append(lines, p.String())
		} else {
			f.Warnings = append(f.Warnings, p.String())
		}
	}
	return lines
}

// original is a problem in the words of the original (config_error, config_warn).
func original(p diag.Problem, pid int, file string) string {
	kind := "Error"
	if p.Sev == diag.Warning {
		kind = "Warning"
	}
	text := p.Wire
	if text == "" {
		text = p.Msg
		if p.Directive != "" {
			text = p.Directive + ": " + text
		}
	}
	line := p.Pos.Line
	if p.WireLine != 0 {
		line = p.WireLine
	}
	if line <= 0 {
		return fmt.Sprintf("%s [%d]: %s", kind, pid, text)
	}
	return fmt.Sprintf("%s [%d] reading file %s at line %d: %s", kind, pid, file, line, text)
}

// wouldOpen says why a file could not be opened for append.
func wouldOpen(path string) error {
	err := unix.Access(path, unix.W_OK)
	if errors.Is(err, fs.ErrNotExist) {
		err = unix.Access(filepath.Dir(path), unix.W_OK|unix.X_OK)
	}
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return nil
}

// Parser gives the parser its view of the machine.
func (o LoadOptions) Parser(ctx context.Context) ldirectordcf.Options {
	getenv := o.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	resolver := o.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	host := getenv("HOSTNAME")
	if host == "" {
		host, _ = os.Hostname()
	}
	return ldirectordcf.Options{
		LookupHost: func(name string, family ipvs.Family) (netip.Addr, error) {
			network := "ip4"
			if family == ipvs.IPv6 {
				network = "ip6"
			}
			ctx, cancel := context.WithTimeout(ctx, lookupLimit)
			defer cancel()
			addrs, err := resolver.LookupNetIP(ctx, network, name)
			if err != nil {
				return netip.Addr{}, err
			}
			return addrs[0].Unmap(), nil
		},
		LookupPort: func(name, proto string) (uint16, error) {
			protos := []string{proto}
			if proto == "" {
				protos = []string{"tcp", "udp"}
			}
			var err error
			for _, p := range protos {
				var port int
				if port, err = resolver.LookupPort(ctx, p, name); err == nil {
					return uint16(port), nil
				}
			}
			return 0, err
		},
		Writable: func(path string) error {
			if o.Test {
				return wouldOpen(path)
			}
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
			if err != nil {
				return err
			}
			return f.Close()
		},
		DirExists: func(path string) bool {
			there := make(chan bool, 1)
			go func() {
				info, err := os.Stat(path)
				there <- err == nil && info.IsDir()
			}()
			select {
			case yes := <-there:
				return yes
			case <-time.After(statLimit):
				return true // or its file server does not answer, which is no reason for not starting
			}
		},
		Hostname: host,
		Debug:    o.Debug,
	}
}
