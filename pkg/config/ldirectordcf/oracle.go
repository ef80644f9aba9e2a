//go:build oracle

package ldirectordcf

func (p *parser) warnOracle(*section) {}
