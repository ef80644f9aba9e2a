//go:build !oracle

package ldirectordcf

// warnOracle says beforehand that this program, which has no Oracle driver, will find the section's
// real servers down.
func (p *parser) warnOracle(s *section) {
	if s.v.Service == "oracle" {
		p.warn(s.serviceAt, "service", "", "checktype=connect, an external check, or a program built with -tags oracle",
			"oracle: this program has no Oracle driver, so every check fails")
	}
}
