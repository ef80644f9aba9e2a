package compat

import (
	"os"
	"strings"
	"testing"
)

// A confRecord holds what an original makes of configuration files: testdata/conf/original/*.txt.
// It is blocks of lines between empty lines. A block is the case, lines that begin with ">" or "=",
// and the answer: a verdict and what was logged, each line of it after a tab. A line that begins
// with "#" is a remark.
type confRecord struct {
	path   string
	blocks []*confCase
}

// confCase is one block.
type confCase struct {
	remarks []string
	lines   []string // of the case, with their marks, as they are in the record
	verdict string   // accepted or refused
	log     []string
}

// confBytes is the notation of the cases for bytes that cannot be seen.
var confBytes = strings.NewReplacer(`\\`, `\`, `\r`, "\r", `\f`, "\f", `\v`, "\v", `\t`, "\t", `\s`, " ")

// text is the file that the case describes; lines marked ">" go after base.
func (c *confCase) text(base string) string {
	var b strings.Builder
	for i, line := range c.lines {
		if i == 0 && line[0] == '>' {
			b.WriteString(base)
		}
		if len(line) > 1 {
			b.WriteString(confBytes.Replace(line[2:]) + "\n")
		} else if len(c.lines) > 1 {
			b.WriteString("\n")
		}
	}
	return b.String()
}

// name is the case on one line.
func (c *confCase) name() string { return strings.Join(c.lines, " | ") }

func readConfRecord(t *testing.T, path string) *confRecord {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := &confRecord{path: path}
	for block := range strings.SplitSeq(strings.TrimRight(string(text), "\n"), "\n\n") {
		c := &confCase{}
		for line := range strings.SplitSeq(strings.Trim(block, "\n"), "\n") {
			switch {
			case strings.HasPrefix(line, "#"):
				c.remarks = append(c.remarks, line)
			case strings.HasPrefix(line, ">"), strings.HasPrefix(line, "="):
				c.lines = append(c.lines, line)
			case strings.HasPrefix(line, "\t"):
				c.log = append(c.log, line[1:])
			default:
				c.verdict = line
			}
		}
		r.blocks = append(r.blocks, c)
	}
	return r
}

// cases are the blocks that are not remarks only.
func (r *confRecord) cases() []*confCase {
	var list []*confCase
	for _, c := range r.blocks {
		if len(c.lines) > 0 {
			list = append(list, c)
		}
	}
	return list
}

func (r *confRecord) write(t *testing.T) {
	t.Helper()
	var blocks []string
	for _, c := range r.blocks {
		lines := append(append([]string{}, c.remarks...), c.lines...)
		if c.verdict != "" {
			lines = append(lines, c.verdict)
		}
		for _, l := range c.log {
			lines = append(lines, "\t"+l)
		}
		blocks = append(blocks, strings.Join(lines, "\n"))
	}
	if err := os.WriteFile(r.path, []byte(strings.Join(blocks, "\n\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}
