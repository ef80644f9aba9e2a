package hamsg

import (
	"bytes"
	"compress/bzip2"
	"compress/zlib"
	"fmt"
	"io"
	"strings"
)

// Inflate undoes whole-message compression: a message with a binary "_compressed_payload" is
// replaced by the message packed in it, any other is returned as it is. The original does this
// after it has verified the packet, and so must the caller: an honest sender is assumed, and up
// to MaxUncompressed bytes are spent. The inner message is not signed.
func (m *Msg) Inflate() (*Msg, error) {
	payload, ok := m.Lookup(FCompressedPayload)
	if !ok || payload.Kind != Binary {
		return m, nil
	}
	var r io.Reader
	switch name := m.Get(FCompressionAlgorithm); name {
	case "zlib":
		z, err := zlib.NewReader(strings.NewReader(payload.Value))
		if err != nil {
			return nil, fmt.Errorf("inflate message: %w", err)
		}
		r = z
	case "bz2":
		r = bzip2.NewReader(strings.NewReader(payload.Value))
	default:
		return nil, fmt.Errorf("inflate message: compression %q is neither zlib nor bz2", name)
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(r, MaxUncompressed)); err != nil {
		return nil, fmt.Errorf("inflate message: %w", err)
	}
	p, err := decode(b.Bytes(), MaxUncompressed)
	if err != nil {
		return nil, fmt.Errorf("inflate message: %w", err)
	}
	return &p.Msg, nil
}
