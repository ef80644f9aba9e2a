package check

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// transcript is what was said in a check. It costs next to nothing until it is asked for, which
// is when the check has failed.
type transcript struct {
	start   time.Time
	secrets []string // which are not to be in it
	events  []event  // in first, as long as they fit
	first   [8]event // so that a check that is well needs no more
	dropped int
}

type event struct {
	at   time.Duration
	kind byte // '>' sent, '<' received, '*' happened
	text string
}

// Bounds of a transcript. What is too much is left out in the middle.
const (
	maxEvents    = 40
	maxEventText = 200
)

// note adds an event.
func (t *transcript) note(kind byte, text string) {
	text = hide(text, t.secrets)
	if len(text) > maxEventText {
		text = text[:maxEventText] + "..."
	}
	if len(t.events) == maxEvents {
		copy(t.events[maxEvents/2:], t.events[maxEvents/2+1:])
		t.events = t.events[:maxEvents-1]
		t.dropped++
	}
	if t.events == nil {
		t.events = t.first[:0]
	}
	t.events = append(t.events, event{time.Since(t.start), kind, text})
}

func (t *transcript) sent(text string)     { t.note('>', text) }
func (t *transcript) received(text string) { t.note('<', text) }
func (t *transcript) happened(format string, args ...any) {
	t.note('*', fmt.Sprintf(format, args...))
}

// lines is the transcript as text, one event a line: "0.004 > EHLO localhost.localdomain", the
// seconds since the check began, who spoke, and what. Bytes that are not text are escaped.
func (t *transcript) lines() []string {
	var out []string
	for i, e := range t.events {
		if i == maxEvents/2 && t.dropped > 0 {
			out = append(out, fmt.Sprintf("(%d lines left out)", t.dropped))
		}
		out = append(out, fmt.Sprintf("%.3f %c %s", e.at.Seconds(), e.kind, printable(e.text)))
	}
	return out
}

// printable escapes what would disturb a terminal or a log.
func printable(s string) string {
	if strings.IndexFunc(s, odd) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case odd(r):
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		default:
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

func odd(r rune) bool { return r == utf8.RuneError || !strconv.IsPrint(r) }

// hidden stands for a password in transcripts and reasons.
const hidden = "***"

// secretsOf is the passwords of a Spec in the forms that a protocol may have given them.
func secretsOf(s *Spec) []string {
	var out []string
	for _, secret := range []string{s.Password, s.Secret} {
		if secret == "" {
			continue
		}
		out = append(out, secret)
		if quoted := quoteIMAP(secret); quoted != secret {
			out = append(out, quoted)
		}
	}
	if strings.Contains(s.URL, "@") {
		if a, err := parseURL(s.URL); err == nil {
			if _, password, _ := strings.Cut(a.userinfo, ":"); password != "" {
				// As it is, as it is meant, and as a real server's identity has it.
				out = append(out, password, unescape(password), quoteMeta(password))
			}
		}
	}
	return out
}

// Hide removes the passwords of a check from a text that is for a log.
func (s *Spec) Hide(text string) string { return hide(text, secretsOf(s)) }

// hide removes passwords from a text.
func hide(text string, secrets []string) string {
	for _, secret := range secrets {
		text = strings.ReplaceAll(text, secret, hidden)
	}
	return text
}

// quoteMeta is Perl's quotemeta, as [ldirectordcf.Real.ID] has requests.
func quoteMeta(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			b.WriteByte('\\')
		}
		b.WriteByte(text[i])
	}
	return b.String()
}
