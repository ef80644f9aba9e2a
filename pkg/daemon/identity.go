package daemon

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hamsg"
	"github.com/systole-ha/systole/pkg/lasting"
)

// nextGeneration raises the number that tells this run from earlier ones and saves it before
// anything is sent: decimal, right-aligned in 15 columns, and a line feed, as IncrGeneration does. A missing or
// unreadable file starts at the time of day plus one, so that the number never goes back.
// (The original writes 1 for an unreadable one, and its peers then drop its packets as old.)
func nextGeneration(path string, now time.Time, log *halog.Logger) (uint64, error) {
	gen := uint64(now.Unix()) + 1
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		log.Logf(halog.Warn, "No Previous generation - starting at %d", gen)
	case err != nil:
		return 0, fmt.Errorf("read generation: %w", err)
	default:
		old, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		if err != nil || old == 0 {
			log.Logf(halog.Warn, "BROKEN previous generation - starting at %d", gen)
		} else {
			gen = old + 1
		}
	}
	if err := lasting.WriteFile(path, fmt.Appendf(nil, "%15d\n", gen)); err != nil {
		return 0, fmt.Errorf("save generation: %w", err)
	}
	log.Logf(halog.Info, "Heartbeat generation: %d", gen)
	return gen, nil
}

// generationByTime is hbgenmethod time: the file is left alone. A run that takes the place of another
// within a second must have a higher number all the same.
func generationByTime(now time.Time, restarted bool, log *halog.Logger) uint64 {
	gen := uint64(now.Unix())
	if restarted {
		gen++
	}
	log.Logf(halog.Info, "Heartbeat generation: %d", gen)
	return gen
}

// nodeUUID reads this node's identity, or makes one and saves it.
func nodeUUID(path string, log *halog.Logger) (hamsg.UUID, error) {
	var u hamsg.UUID
	b, err := os.ReadFile(path)
	if err == nil && len(b) >= len(u) {
		copy(u[:], b)
		return u, nil
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return u, fmt.Errorf("read uuid: %w", err)
	}
	log.Log(halog.Info, "No uuid found for current node - generating a new uuid.")
	if _, err := rand.Read(u[:]); err != nil {
		return u, fmt.Errorf("generate uuid: %w", err)
	}
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80 // a random (version 4) uuid
	if err := lasting.WriteFile(path, u[:]); err != nil {
		return u, fmt.Errorf("save uuid: %w", err)
	}
	return u, nil
}

// NodeName is this machine's name as a node, lower case, and as uname -n has it.
func NodeName(p Paths) (name, uname string, err error) {
	return nodeName(filepath.Join(p.Etc, "nodeinfo"))
}

// nodeName is the first line of nodeinfo, or uname -n; uname is given as it is, since log lines
// show it so, and the name in lower case, as the protocol has it.
func nodeName(nodeinfo string) (name, uname string, err error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", "", fmt.Errorf("uname: %w", err)
	}
	uname = unix.ByteSliceToString(u.Nodename[:])
	name = uname
	if text, err := os.ReadFile(nodeinfo); err == nil {
		if line, _, _ := strings.Cut(string(text), "\n"); strings.TrimSpace(line) != "" {
			name = strings.TrimSpace(line)
		}
	}
	return strings.ToLower(name), uname, nil
}

// runNumber is a random number that nobody can foresee, not 0.
func runNumber() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return max(binary.NativeEndian.Uint64(b[:]), 1)
}
