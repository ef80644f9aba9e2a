package hamsg

import (
	"bytes"
	"compress/bzip2"
	"compress/zlib"
	"fmt"
	"io"
	"strings"
)

// Deflate is the message packed whole, as traditional_compression sends it: a binary
// "_compressed_payload" and the name of the algorithm. It is not signed, and its content is not
// either. The algorithm is zlib, which every heartbeat understands.
func (m *Msg) Deflate() *Msg {
	return new(Msg).AddField(Field{Name: FCompressedPayload, Kind: Binary, Value: deflate(m.AppendNetstring(nil))}).
		Add(FCompressionAlgorithm, "zlib")
}

// DeflateFields is the message with each Uncompressed field as a Compressed one, and the name of the
// algorithm: what an encoder makes of such fields. A message that has none is returned as it is.
func (m *Msg) DeflateFields() *Msg {
	packed := m
	for i, f := range m.fields {
		if f.Kind != Uncompressed || f.Sub == nil {
			continue
		}
		if packed == m {
			packed = m.Clone()
		}
		packed.fields[i] = Field{Name: f.Name, Kind: Compressed, Value: deflate(f.Sub.AppendNetstring(nil))}
	}
	if packed != m {
		packed.Set(FCompressionAlgorithm, "zlib")
	}
	return packed
}

func deflate(data []byte) string {
	var b strings.Builder
	z := zlib.NewWriter(&b)
	_, _ = z.Write(data) // a Builder takes everything
	_ = z.Close()
	return b.String()
}

// Inflate undoes whole-message compression: a message with a binary "_compressed_payload" is
// replaced by the message packed in it, any other is returned as it is. The original does this
// after it has verified the packet, and so must the caller: an honest sender is assumed, and up
// to MaxUncompressed bytes are spent. The inner message is not signed.
func (m *Msg) Inflate() (*Msg, error) {
	payload, ok := m.Lookup(FCompressedPayload)
	if !ok || payload.Kind != Binary {
		return m, nil
	}
	inner, err := inflate(payload.Value, m.Get(FCompressionAlgorithm))
	if err != nil {
		return nil, fmt.Errorf("inflate message: %w", err)
	}
	return inner, nil
}

// InflateField is the nested message of a Compressed field of that name.
func (m *Msg) InflateField(name string) (*Msg, error) {
	f, ok := m.Lookup(name)
	if !ok || f.Kind != Compressed {
		return nil, fmt.Errorf("inflate field %s: there is none", name)
	}
	inner, err := inflate(f.Value, m.Get(FCompressionAlgorithm))
	if err != nil {
		return nil, fmt.Errorf("inflate field %s: %w", name, err)
	}
	return inner, nil
}

func inflate(data, algorithm string) (*Msg, error) {
	var r io.Reader
	switch algorithm {
	case "zlib":
		z, err := zlib.NewReader(strings.NewReader(data))
		if err != nil {
			return nil, err
		}
		r = z
	case "bz2":
		r = bzip2.NewReader(strings.NewReader(data))
	default:
		return nil, fmt.Errorf("compression %q is neither zlib nor bz2", algorithm)
	}
	var b bytes.Buffer
	if _, err := io.Copy(&b, io.LimitReader(r, MaxUncompressed)); err != nil {
		return nil, err
	}
	p, err := decode(b.Bytes(), MaxUncompressed)
	if err != nil {
		return nil, err
	}
	return &p.Msg, nil
}
