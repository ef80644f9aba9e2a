// Package ldirectordcf reads ldirectord.cf: text in, [Config] and problems out.
//
// The grammar is the one of the original's read_config with all its habits (spec/ldirectord.md
// section 1): where a section ends, which quotes are needed, which values are found by an
// unanchored search. What the original accepts is accepted with the same meaning; what it
// refuses is refused with the original's words in [diag.Problem].Wire.
//
// The package is pure. Names, service names, and whether a file can be written are asked
// through [Options].
package ldirectordcf
