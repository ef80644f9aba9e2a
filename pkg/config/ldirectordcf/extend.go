package ldirectordcf

import "github.com/systole-ha/systole/pkg/config/systolecf"

// Extend gives each section what the service lines of systole.cf say of it.
func (c *Config) Extend(s *systolecf.Config) {
	for i := range c.Virtuals {
		v := &c.Virtuals[i]
		v.Options = s.Options(v.ID(), v.Label())
	}
}
