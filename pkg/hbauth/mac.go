package hbauth

import (
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
)

// blockSize is that of MD5, of SHA-1 and of SHA-256.
const blockSize = 64

// maxMAC is the length of the longest MAC as it is written.
const maxMAC = 64

// scratchSize holds a padded key and any message that the daemon makes: signing one needs no
// memory then.
const scratchSize = 2048

// padded is the key as RFC 2104 has it: a long one replaced by its digest, filled up with zeros.
func padded(text string, shorten func([]byte) []byte) (key [blockSize]byte) {
	if len(text) > blockSize {
		copy(key[:], shorten([]byte(text)))
	} else {
		copy(key[:], text)
	}
	return key
}

// appendPadded appends the key with every byte changed by pad, then data.
func appendPadded(dst []byte, key *[blockSize]byte, pad byte, data []byte) []byte {
	for _, b := range key {
		dst = append(dst, b^pad)
	}
	return append(dst, data...)
}

func hmacMD5(text string, data []byte) [md5.Size]byte {
	key := padded(text, func(b []byte) []byte { s := md5.Sum(b); return s[:] })
	var scratch [scratchSize]byte
	inner := md5.Sum(appendPadded(scratch[:0], &key, 0x36, data))
	return md5.Sum(appendPadded(scratch[:0], &key, 0x5c, inner[:]))
}

func hmacSHA1(text string, data []byte) [sha1.Size]byte {
	key := padded(text, func(b []byte) []byte { s := sha1.Sum(b); return s[:] })
	var scratch [scratchSize]byte
	inner := sha1.Sum(appendPadded(scratch[:0], &key, 0x36, data))
	return sha1.Sum(appendPadded(scratch[:0], &key, 0x5c, inner[:]))
}

func hmacSHA256(text string, data []byte) [sha256.Size]byte {
	key := padded(text, func(b []byte) []byte { s := sha256.Sum256(b); return s[:] })
	var scratch [scratchSize]byte
	inner := sha256.Sum256(appendPadded(scratch[:0], &key, 0x36, data))
	return sha256.Sum256(appendPadded(scratch[:0], &key, 0x5c, inner[:]))
}

var crcTable = makeCRCTable()

// makeCRCTable is for CRC-32 with polynomial 0x04C11DB7, most significant bit first.
func makeCRCTable() (table [256]uint32) {
	for i := range table {
		c := uint32(i) << 24
		for range 8 {
			if c&(1<<31) != 0 {
				c = c<<1 ^ 0x04C11DB7
			} else {
				c <<= 1
			}
		}
		table[i] = c
	}
	return table
}

// crc is what POSIX cksum computes, without the length that cksum appends.
func crc(data []byte) uint32 {
	var c uint32
	for _, b := range data {
		c = c<<8 ^ crcTable[byte(c>>24)^b]
	}
	return ^c
}
