package resource

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/layout"
)

// installed are the fingerprints of the scripts that we install, by name.
var installed = sync.OnceValue(func() map[string]string {
	list := map[string]string{}
	for _, f := range layout.Debian.Files(layout.Options{}) {
		if f.Kind == layout.Config && f.Mode&0o111 != 0 {
			list[filepath.Base(f.Path)] = fingerprint(f.Text)
		}
	}
	return list
})

// originals are the fingerprints of the originals' scripts, by name, oldest first.
var originals = map[string][]string{
	// heartbeat 2.1.3 to 3.0.6.
	"harc":            {"810b707a56616d875f18e69d89f63909"},
	"status":          {"bfc1e02b7f191d03389172df3825eabb"},
	"ip-request":      {"6be7402692bd51787ca049a5be9ef409"},
	"ip-request-resp": {"9573e7355594abdbb0c8ba400ac38601"},
	"hb_takeover":     {"41fdf46e02a97c1f2ff67bcde274fb70"},

	// heartbeat 2.0.8, 2.1 and since 2.1.3; each of IPaddr with ping in /bin and in /usr/bin.
	"IPaddr": {
		"e099daa5784fc4ea784ca77f9883a833", "d128960a0e10777ab0d495acbba47007",
		"f5c9925ebe14f08ecf4fe656df046a57", "537e3ae97c074019aeea12d04f843ab9",
		"70fca6a3799959f102645a2feaede9d7", "cf19fcacf6355650c3a7a21564518c12",
	},
	"IPaddr2":  {"c1bd3f8f6b903abc2bfe5f3c948b258c", "0747b2ab1a199cdbbec38a6f4fe78f0c"},
	"IPv6addr": {"410ec0dd10e6cbf5b6f3f91c14215bc3", "b724f9b76d598bd2e47723f45e687ea3"},
	// heartbeat 2.0.5 to 2.1.4, and the last before it was dropped.
	"LVSSyncDaemonSwap": {"4a386c23253e460d9cb55e83388e4297", "e298310f6f62d37d30d3dcead0b75f6b"},

	"ipvsadm": {
		"4e6beaddc2723c31e298c12bc5ebcfd2", "72f62d1be7b143f34553adc0c9ddcbb0", // the source's "make install": 2001, and 1.24 to 1.26
		"d56b641b7a7c1e7498cce795750aab38",                                                                                                             // RHEL 6
		"0b06a4440028923912e14184844677ea",                                                                                                             // Debian 1.24 and 1.25
		"9bc8385c6b5862f2921671cf5179d698", "9fcc7d144bd6e905c996120e737652ca", "8fb1015144b1dc159e396f7220d927f0", "4d27bce17308b713b7691c4b165b5faf", // 1.26
		"51f27b7c77ab338b9931b7ca68e23223", // 1.31
	},
	"ldirectord": {
		"1394604c17d182df8a05f807f01a4573", "efb0a7472164b96742c755f1a7d1371d", "1bcf7ac9565dc5e3d24f130d1cbf43c2", // heartbeat 2.0.8 to resource-agents 3.9.1
		"c301a8f1bfce243d5db52d8d28e0c912",                                     // since 3.9.3; RHEL 6
		"8ce0f19cd10bf4063838d9fbb026a2a2",                                     // the source's for Debian
		"232f46318b7362d0dfa1e48210fe8edf", "9661f2ddf5a47dd900d83cbf213593b0", // Debian's own
	},
}

// isKnown reports whether the text of a script of that name is one that we or the originals install.
func isKnown(name string, text []byte) bool {
	got := fingerprint(text)
	return got == installed()[name] || slices.Contains(originals[name], got)
}

// IsStock reports whether a resource script is one that comes with heartbeat, ipvsadm or ldirectord, or
// ours, as it was installed. What else a script calls does not matter: it may do more.
func IsStock(name, path string) bool {
	if real, err := filepath.EvalSymlinks(path); err == nil && name == "ldirectord" && filepath.Base(real) == name && filepath.Base(filepath.Dir(real)) == "sbin" {
		return true // the program itself
	}
	if isSelf(path) {
		return true
	}
	text, err := readScript(path)
	return err == nil && isKnown(name, text)
}

// isStockHook reports whether a script of rc.d, or harc, is the stock one, ours, or missing.
func isStockHook(name, path string) bool {
	text, err := readScript(path)
	switch {
	case os.IsNotExist(err):
		return true
	case err != nil:
		return false
	}
	return isSelf(path) || isKnown(name, text)
}

// isSelf reports whether path is this very program, or what an upgrade has put in its place.
func isSelf(path string) bool {
	a, err := os.Stat(path)
	if err != nil {
		return false
	}
	if b, err := os.Stat("/proc/self/exe"); err == nil && os.SameFile(a, b) {
		return true
	}
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return false
	}
	real, err := filepath.EvalSymlinks(path)
	return err == nil && real == strings.TrimSuffix(self, " (deleted)")
}

// mostScript is how long a stock script may be, in bytes.
const mostScript = 64 << 10

// readScript reads a script. What is longer than any stock one is an error.
func readScript(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mostScript+1))
	if err == nil && len(text) > mostScript {
		err = fmt.Errorf("read %s: %w", path, unix.EFBIG)
	}
	return text, err
}

// fingerprint is a digest of what a shell script does: comments, empty lines, indentation and the
// places of ifconfig and route, which differ between builds and are not used, do not count.
func fingerprint(text []byte) string {
	h := sha256.New()
	for line := range bytes.Lines(text) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && !bytes.HasPrefix(line, []byte("IFCONFIG=")) && !bytes.HasPrefix(line, []byte("ROUTE=")) {
			h.Write(append(line, '\n'))
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
