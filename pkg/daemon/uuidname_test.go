package daemon

import (
	"encoding/hex"
	"path/filepath"
	"testing"

	"github.com/systole-ha/systole/pkg/halog"
)

// TestUUIDFromName: what the C library's srand and rand make of the names.
func TestUUIDFromName(t *testing.T) {
	log := halog.New(halog.Config{Node: "x", Entity: "heartbeat", LogFile: filepath.Join(t.TempDir(), "log")}).Logger("heartbeat", 1)
	for name, want := range map[string]string{
		"ha-master": "24b447a2bcc0b90e12b00f53987058a8",
		"ha-slave":  "e3eaa1a5c80debd8625ba2a05dec4422",
		"alpha":     "cc301fda9190a843de51a987ec340ccc",
		"n\u00e9":   "8561615dac5ea6084116e1715ca20f18",
	} {
		u := uuidFromName(name, log)
		if got := hex.EncodeToString(u[:]); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
