package view

import (
	"fmt"
	"strings"

	"github.com/systole-ha/systole/pkg/hbauth"
)

// Keys is an authkeys, without the keys' texts.
type Keys struct {
	File string `json:"file" doc:"the file that was read"`
	Auth int    `json:"auth" doc:"number of the key that signs"`
	Keys []Key  `json:"keys" doc:"all keys, by number"`
}

// Key is a key.
type Key struct {
	Number int    `json:"number" doc:"0 to 15"`
	Method string `json:"method" doc:"crc, md5 or sha1"`
}

// NewKeys is the object of an authkeys.
func NewKeys(file string, ring *hbauth.Ring) Keys {
	k := Keys{File: file, Keys: []Key{}}
	k.Auth, _ = ring.Selected()
	for n := range hbauth.MaxKeys {
		if key, ok := ring.Key(n); ok {
			k.Keys = append(k.Keys, Key{n, key.Method.String()})
		}
	}
	return k
}

// KeysText is an authkeys with its keys left out.
func KeysText(k Keys) string {
	var b strings.Builder
	fmt.Fprintf(&b, "auth %d\n", k.Auth)
	for _, key := range k.Keys {
		fmt.Fprintf(&b, "%d %s", key.Number, key.Method)
		if key.Method != "crc" {
			b.WriteString(" " + hidden)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
