package layout

import (
	"bytes"
	"compress/gzip"
)

// compress packs a manual page as packages have them: as small as it goes, and without a date, so that the same
// text gives the same file.
func compress(text []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // nothing is written but memory
	}
	return b.Bytes()
}
