package frame_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/systole-ha/systole/pkg/api/frame"
)

// captured is the head of a sign-on of Debian's cl_status (89 bytes with its body).
var captured = []byte{0x51, 0, 0, 0, 0xcd, 0xab, 0, 0}

func TestAppend(t *testing.T) {
	body := bytes.Repeat([]byte{'x'}, 0x51)
	got := frame.Append([]byte("before"), body)
	if want := append(append([]byte("before"), captured...), body...); !bytes.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestRead(t *testing.T) {
	var stream []byte
	bodies := [][]byte{[]byte("one"), {}, bytes.Repeat([]byte{7}, frame.Max), []byte("four")}
	for _, b := range bodies {
		stream = frame.Append(stream, b)
	}
	for name, r := range map[string]io.Reader{
		"whole":         bytes.NewReader(stream),
		"byte for byte": iotest.OneByteReader(bytes.NewReader(stream)),
	} {
		for i, want := range bodies {
			if got, err := frame.Read(r); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: frame %d has %d bytes, %v; want %d", name, i, len(got), err, len(want))
			}
		}
		if _, err := frame.Read(r); err != io.EOF {
			t.Errorf("%s: at the end: %v, want EOF", name, err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		stream []byte
		want   error
	}{
		{"half a head", captured[:5], io.ErrUnexpectedEOF},
		{"half a body", append(bytes.Clone(captured), "half"...), io.ErrUnexpectedEOF},
		{"no body", captured, io.ErrUnexpectedEOF},
		{"text", []byte("GET / HTTP/1.0\r\n\r\n"), frame.ErrMagic},
		{"too long", []byte{1, 0, 4, 0, 0xcd, 0xab, 0, 0}, frame.ErrLength},
		{"negative", []byte{0xff, 0xff, 0xff, 0xff, 0xcd, 0xab, 0, 0}, frame.ErrLength},
	} {
		if _, err := frame.Read(bytes.NewReader(c.stream)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// A head that promises much costs nothing.
func TestReadTakesMemoryAsItComes(t *testing.T) {
	head := frame.Append(nil, make([]byte, frame.Max))[:8]
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 1000 {
		if _, err := frame.Read(bytes.NewReader(head)); err == nil {
			t.Fatal("half a frame was taken")
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 10<<20 {
		t.Errorf("1000 heads cost %d bytes", n)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(frame.Append(nil, []byte("x")))
	f.Fuzz(func(t *testing.T, stream []byte) {
		r := bytes.NewReader(stream)
		body, err := frame.Read(r)
		if err != nil {
			return
		}
		if again := frame.Append(nil, body); !bytes.Equal(again, stream[:len(stream)-r.Len()]) {
			t.Errorf("%q is read as %q", stream, body)
		}
	})
}

func TestBuffer(t *testing.T) {
	stream := frame.Append(frame.Append(frame.Append(nil, []byte("one")), nil), []byte("three"))
	for size := 1; size <= len(stream); size++ {
		var b frame.Buffer
		var got []string
		for at := 0; at < len(stream); at += size {
			b.Append(stream[at:min(at+size, len(stream))])
			for {
				body, ok, err := b.Next()
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					break
				}
				got = append(got, string(body))
			}
		}
		if strings.Join(got, "|") != "one||three" {
			t.Errorf("in pieces of %d: %q", size, got)
		}
	}
	var b frame.Buffer
	b.Append([]byte("no frame at all"))
	if _, _, err := b.Next(); !errors.Is(err, frame.ErrMagic) {
		t.Errorf("%v, want ErrMagic", err)
	}
}
