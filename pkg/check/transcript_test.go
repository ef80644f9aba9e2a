package check

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestTranscript(t *testing.T) {
	tr := transcript{start: time.Now(), secrets: []string{"hunter2"}}
	for i := range 100 {
		tr.sent(fmt.Sprintf("line %d", i))
	}
	tr.received("\x00 binary \xff é \x1b[2J " + strings.Repeat("x", 300))
	tr.received(strings.Repeat("y", maxEventText-3) + "hunter2")
	lines := tr.lines()
	text := strings.Join(lines, "\n")
	if len(lines) != maxEvents+1 || !strings.HasSuffix(lines[0], "> line 0") || !strings.Contains(text, "(62 lines left out)") || !strings.Contains(text, "> line 99") {
		t.Errorf("%d lines:\n%s", len(lines), text)
	}
	if !strings.Contains(text, `< \x00 binary \xff é \x1b[2J xxx`) {
		t.Errorf("not printable:\n%s", text)
	}
	if strings.Contains(text, "hunt") {
		t.Errorf("a part of the password:\n%s", text)
	}
}

func TestHide(t *testing.T) {
	s := Spec{URL: "http://joe:p%40ss.w@www.x.y/", Password: `a"b`, Secret: "shared"}
	for _, text := range []string{s.URL, `http\:\/\/joe\:p\%40ss\.w\@www`, "p@ss.w", `LOGIN joe "a\"b"`, `a"b`, "shared"} {
		if got := s.Hide(text); got == text || strings.Contains(got, "ss") || strings.Contains(got, "b") {
			t.Errorf("%q became %q", text, got)
		}
	}
	if got := (&Spec{}).Hide("x@y"); got != "x@y" {
		t.Error(got)
	}
}
