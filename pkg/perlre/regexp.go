package perlre

// Regexp is a compiled Perl regular expression. It is safe for concurrent use.
type Regexp struct {
	source string
}

// String is the expression as it was given.
func (r *Regexp) String() string { return r.source }
