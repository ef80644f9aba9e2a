package hamsg

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// EachMessage reads the FIFO's stream to its end and hands each message to say: what is between lines
// ">>>" and "<<<" (text) or "###" and "%%%" (netstrings). Text outside of messages is skipped; so
// is, with a warning, a message that a new beginning cuts short, since two writers were mixed, and
// one of more than limit bytes. What say gets belongs to it.
func EachMessage(r io.Reader, limit int, warn func(text string), say func([]byte)) error {
	in := bufio.NewReaderSize(r, 16<<10)
	var msg []byte
	var end string // of the message that we are in; "" is none
	tooLong := false
	inLine := false // the last piece was not the end of its line
	for {
		line, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		text := bytes.TrimRight(line, "\r\n")
		whole := !inLine && err == nil
		inLine = err != nil
		switch {
		case whole && (string(text) == ">>>" || string(text) == "###"):
			if end != "" {
				warn(fmt.Sprintf("message of %d bytes is incomplete: dropped", len(msg)))
			}
			msg, tooLong = append(append(msg[:0], text...), '\n'), false
			end = map[byte]string{'>': "<<<", '#': "%%%"}[text[0]]
		case end == "":
		case whole && string(text) == end || end == "%%%" && err == nil && bytes.HasSuffix(text, []byte(end)):
			end = ""
			if tooLong || len(msg)+len(text) >= limit {
				warn(fmt.Sprintf("message of more than %d bytes: dropped", limit))
				continue
			}
			say(append(append(bytes.Clone(msg), text...), '\n'))
		case len(msg)+len(line) > limit:
			tooLong = true
		default:
			msg = append(msg, line...)
		}
	}
}
