package daemon

import (
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hamsg"
)

// uuidFromName is uuidfrom nodename: the file is left alone, and each digit of the uuid is a random
// number's last four bits, the generator seeded with a hash of the name (gen_uuid_from_name). Peers and
// clients know the node by it, so it is the same as the original's to the bit.
func uuidFromName(name string, log *halog.Logger) (u hamsg.UUID) {
	hash := int32(0)
	for i := range len(name) {
		hash = hash*31 + int32(int8(name[i])) // C's char has a sign
	}
	log.Logf(halog.Info, "seed is %d", hash)
	rand := newGlibcRand(uint32(hash))
	for i := range u {
		u[i] = byte(rand.next()&0xf<<4 | rand.next()&0xf)
	}
	return u
}

// glibcRand is rand(3) of the GNU C library: an additive feedback generator over 31 words.
type glibcRand struct {
	word [31]int32
	at   int
}

func newGlibcRand(seed uint32) *glibcRand {
	if seed == 0 {
		seed = 1
	}
	g := &glibcRand{}
	w := int32(seed)
	g.word[0] = w
	for i := 1; i < len(g.word); i++ {
		// 16807 w modulo 2^31-1 without a product of more than 31 bits.
		w = 16807*(w%127773) - 2836*(w/127773)
		if w < 0 {
			w += 1<<31 - 1
		}
		g.word[i] = w
	}
	g.at = 3
	for range 310 {
		g.next()
	}
	return g
}

// next is the next number, from 0 to 2^31-1.
func (g *glibcRand) next() uint32 {
	back := (g.at + len(g.word) - 3) % len(g.word)
	g.word[g.at] += g.word[back]
	v := uint32(g.word[g.at]) >> 1
	g.at = (g.at + 1) % len(g.word)
	return v
}

// uuid is this node's identity.
func (d *service) uuid(path string) (hamsg.UUID, error) {
	if d.Files.HA.UUIDFrom == "nodename" {
		return uuidFromName(d.Files.Node, d.core), nil
	}
	return nodeUUID(path, d.core)
}
