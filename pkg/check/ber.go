package check

import (
	"bufio"
	"errors"
	"io"
)

// What LDAP needs of BER, the encoding of its messages. They are read as a stream, so that a
// message of any size takes no memory.

// berTLV encodes one element: tag, length, contents.
func berTLV(tag byte, parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	out := append(make([]byte, 0, n+6), tag)
	switch {
	case n < 0x80:
		out = append(out, byte(n))
	case n < 0x100:
		out = append(out, 0x81, byte(n))
	default:
		out = append(out, 0x83, byte(n>>16), byte(n>>8), byte(n))
	}
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func berString(tag byte, s string) []byte { return berTLV(tag, []byte(s)) }

var errBER = errors.New("bad encoding")

// berReader reads elements of a stream, of which it takes no more than left bytes.
type berReader struct {
	in    *bufio.Reader
	left  int
	after int // bytes behind them that skip reads as well
}

func (r *berReader) byte() (byte, error) {
	if r.left <= 0 {
		return 0, errBER
	}
	r.left--
	return r.in.ReadByte()
}

// head reads an element's tag and length.
func (r *berReader) head() (tag byte, length int, err error) {
	if tag, err = r.byte(); err != nil {
		return 0, 0, err
	}
	first, err := r.byte()
	if err != nil {
		return 0, 0, err
	}
	length = int(first)
	if first >= 0x80 {
		n := int(first & 0x7f)
		if n == 0 || n > 8 {
			return 0, 0, errBER
		}
		length = 0
		for range n {
			b, err := r.byte()
			if err != nil {
				return 0, 0, err
			}
			if length >= 1<<23 {
				return 0, 0, errBER
			}
			length = length<<8 | int(b)
		}
	}
	if length > r.left {
		return 0, 0, errBER
	}
	return tag, length, nil
}

// enter reads the head of an element with that tag, or any if tag is 0, and returns what is inside.
func (r *berReader) enter(tag byte) (got byte, inside berReader, err error) {
	got, length, err := r.head()
	if err == nil && tag != 0 && got != tag {
		err = errBER
	}
	if err != nil {
		return got, berReader{}, err
	}
	r.left -= length
	return got, berReader{in: r.in, left: length}, nil
}

// skip reads past what is left.
func (r *berReader) skip() error {
	_, err := io.CopyN(io.Discard, r.in, int64(r.left+r.after))
	r.left, r.after = 0, 0
	return err
}

// number reads an integer, or an enumerated value, of at most 4 bytes.
func (r *berReader) number(tag byte) (int, error) {
	_, inside, err := r.enter(tag)
	if err != nil {
		return 0, err
	}
	if inside.left > 4 {
		return 0, errBER
	}
	n := 0
	for inside.left > 0 {
		b, err := inside.byte()
		if err != nil {
			return 0, err
		}
		n = n<<8 | int(b)
	}
	return n, nil
}

// text reads a string, of which it keeps most bytes.
func (r *berReader) text(most int) (string, error) {
	_, inside, err := r.enter(0x04)
	if err != nil {
		return "", err
	}
	out := make([]byte, min(inside.left, most))
	if _, err := io.ReadFull(r.in, out); err != nil {
		return "", err
	}
	inside.left -= len(out)
	return string(out), inside.skip()
}
