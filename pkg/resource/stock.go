package resource

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path"
	"slices"
	"sync"

	"github.com/systole-ha/systole/pkg/layout"
)

// installed are the fingerprints of the scripts that we install, by name.
var installed = sync.OnceValue(func() map[string]string {
	list := map[string]string{}
	for _, f := range layout.Debian.Files(layout.Options{}) {
		if f.Kind == layout.Config && f.Mode&0o111 != 0 {
			list[path.Base(f.Path)] = fingerprint(f.Text)
		}
	}
	return list
})

// originals are the fingerprints of the originals' scripts, by name.
var originals = map[string][]string{
	// heartbeat 2.1.3 to 3.0.6
	"harc":            {"810b707a56616d875f18e69d89f63909"},
	"status":          {"bfc1e02b7f191d03389172df3825eabb"},
	"ip-request":      {"6be7402692bd51787ca049a5be9ef409"},
	"ip-request-resp": {"9573e7355594abdbb0c8ba400ac38601"},
	"hb_takeover":     {"41fdf46e02a97c1f2ff67bcde274fb70"},
}

// isKnown reports whether the text of a script of that name is one that we or the originals install.
func isKnown(name string, text []byte) bool {
	got := fingerprint(text)
	return got == installed()[name] || slices.Contains(originals[name], got)
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
