package takeover

import "strings"

// Hold is a set of resources as seen from one node: its own groups (local), those of the others
// (foreign). Same bits as hb_resource.c's.
type Hold uint8

// The four values.
const (
	None    Hold = 0
	Local   Hold = 1
	Foreign Hold = 2
	All     Hold = Local | Foreign
)

// String is the word used in messages: none, local, foreign, all.
func (h Hold) String() string {
	return [...]string{"none", "local", "foreign", "all"}[h&All]
}

// ParseHold reads the word of a message, in any case; ok is false for any other word.
func ParseHold(s string) (h Hold, ok bool) {
	switch strings.ToLower(s) {
	case "none":
		return None, true
	case "local":
		return Local, true
	case "foreign":
		return Foreign, true
	case "all":
		return All, true
	}
	return None, false
}

// Has tells whether all of x is in h.
func (h Hold) Has(x Hold) bool { return h&x == x }

// Other is the same set seen from the other node of a pair.
func (h Hold) Other() Hold {
	switch h {
	case Local:
		return Foreign
	case Foreign:
		return Local
	}
	return h
}
