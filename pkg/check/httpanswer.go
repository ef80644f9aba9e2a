package check

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// maxHead bounds the bytes of an answer's head.
const maxHead = 64 << 10

// head is what a check needs of an answer's head.
type head struct {
	status   int
	reason   string
	length   int64 // Content-Length; -1 if unknown
	chunked  bool
	location string
}

// statusLine is "404 Not Found".
func (h head) statusLine() string { return strings.TrimRight(strconv.Itoa(h.status)+" "+h.reason, " ") }

func (h head) redirects() bool {
	switch h.status {
	case 301, 302, 303, 307, 308:
		return h.location != ""
	}
	return false
}

var errClosed = errors.New("connection closed without an answer")

// readHead reads the head of an answer, skipping interim ones (1xx). As for the original, a head
// also ends where the peer closes: many a script says no more than "HTTP/1.0 200 OK".
func readHead(br *bufio.Reader) (head, error) {
	left := maxHead
	for {
		text, err := readLine(br, &left)
		if err == nil && len(text) == 0 {
			text, err = readLine(br, &left) // an empty line too many before an answer is harmless
		}
		switch {
		case errors.Is(err, io.EOF) && len(text) == 0:
			return head{}, errClosed
		case err != nil && !errors.Is(err, io.EOF):
			return head{}, err
		}
		line := string(text)
		h, ok := parseStatus(line)
		if !ok {
			return head{}, fmt.Errorf("not HTTP: %q", clip(line))
		}
		if err := h.readFields(br, &left); err != nil {
			return head{}, err
		}
		if h.status >= 200 {
			return h, nil
		}
	}
}

// clip keeps an answer short that a reason quotes.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "..."
	}
	return s
}

// parseStatus reads "HTTP/1.1 200 OK"; the minor version and the reason may be missing.
func parseStatus(line string) (head, bool) {
	version, rest := cutBlanks(line)
	number, ok := strings.CutPrefix(version, "HTTP/")
	major, minor, dotted := strings.Cut(number, ".")
	if !ok || !isNumber(major) || dotted && !isNumber(minor) {
		return head{}, false
	}
	code, reason := cutBlanks(rest)
	status, err := strconv.Atoi(code)
	if err != nil || len(code) != 3 || status < 100 {
		return head{}, false
	}
	return head{status: status, reason: strings.TrimSpace(reason), length: -1}, true
}

// cutBlanks cuts a line at its first blanks.
func cutBlanks(s string) (word, rest string) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimLeft(s[i:], " \t")
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// readFields reads the header fields up to the empty line.
func (h *head) readFields(br *bufio.Reader, left *int) error {
	for {
		line, err := readLine(br, left)
		if len(line) == 0 && (err == nil || errors.Is(err, io.EOF)) {
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if n, err := strconv.ParseInt(string(value), 10, 64); err == nil && n >= 0 {
				h.length = n
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			h.chunked = strings.HasSuffix(strings.ToLower(string(value)), "chunked")
		case bytes.EqualFold(name, []byte("Location")):
			h.location = string(value)
		}
	}
}

// readLine reads a line without its end, which is good until the next read. What does not fit br's
// buffer is read and dropped.
func readLine(br *bufio.Reader, left *int) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	if *left -= len(line); *left < 0 {
		return nil, errLongHead
	}
	if errors.Is(err, bufio.ErrBufferFull) {
		line = bytes.Clone(line)
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		var more []byte
		more, err = br.ReadSlice('\n')
		if *left -= len(more); *left < 0 {
			return nil, errLongHead
		}
	}
	return bytes.TrimRight(line, "\r\n"), err
}

var errLongHead = errors.New("answer's head is too long")

// body reads the body of an answer, decoded.
type body struct {
	br      *bufio.Reader
	left    int64 // bytes to the end of the body or the chunk; -1 for all until the peer closes
	chunked bool
	inside  bool // of a chunk
}

func newBody(br *bufio.Reader, h head, method string) body {
	switch {
	case method == "HEAD" || h.status == 204 || h.status == 304:
		return body{br: br}
	case h.chunked:
		return body{br: br, chunked: true}
	}
	return body{br: br, left: h.length}
}

// Read fills p with the next bytes of the body; io.EOF is its regular end.
func (b *body) Read(p []byte) (int, error) {
	if b.chunked {
		if err := b.nextChunk(); err != nil {
			return 0, err
		}
	}
	if b.left == 0 {
		return 0, io.EOF
	}
	if b.left > 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.br.Read(p)
	if b.left > 0 {
		b.left -= int64(n)
	}
	return n, err
}

// nextChunk reads the head of the next chunk if the last one is used up. After the last chunk,
// left stays 0.
func (b *body) nextChunk() error {
	if b.left > 0 {
		return nil
	}
	budget := maxHead
	if b.inside {
		if _, err := readLine(b.br, &budget); err != nil {
			return err
		}
	}
	line, err := readLine(b.br, &budget)
	if err != nil {
		return err
	}
	size, _, _ := bytes.Cut(line, []byte(";"))
	b.left, err = strconv.ParseInt(string(bytes.TrimSpace(size)), 16, 64)
	if err != nil || b.left < 0 {
		b.left = 0
		return fmt.Errorf("bad chunk %q", clip(string(line)))
	}
	b.inside = true
	if b.left == 0 {
		b.chunked = false
	}
	return nil
}
