package compat

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/systole-ha/systole/pkg/hbauth"
)

// wireFile holds the packets of original heartbeat 3.0.6 clusters, as testdata/wire/README.md
// tells. It is lines of text, gzipped; the bytes of a packet follow its line:
//
//	scenario NAME
//	key NODE NUMBER METHOD [TEXT]
//	packet NODE MEDIUM TIMES LENGTH
const wireFile = "../testdata/wire/packets.gz"

// scenario is one recorded run.
type scenario struct {
	name    string
	keys    map[string]map[int]hbauth.Key // by node
	packets []*packet
}

// packet is one payload, however often it was seen.
type packet struct {
	node   string // who made it
	medium string // udp, icmp, serial
	times  int
	bytes  []byte
}

// readWireFile reads what packWire wrote.
func readWireFile(path string) ([]*scenario, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	var all []*scenario
	for r := bufio.NewReader(z); ; {
		line, err := r.ReadString('\n')
		if err == io.EOF && line == "" {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		w := strings.Fields(line)
		switch {
		case len(w) == 2 && w[0] == "scenario":
			all = append(all, &scenario{name: w[1], keys: map[string]map[int]hbauth.Key{}})
		case len(w) >= 4 && w[0] == "key" && len(all) > 0:
			if err := all[len(all)-1].addKey(w[1], strings.Join(w[2:], " ")); err != nil {
				return nil, err
			}
		case len(w) == 5 && w[0] == "packet" && len(all) > 0:
			times, err1 := strconv.Atoi(w[3])
			n, err2 := strconv.Atoi(w[4])
			if err1 != nil || err2 != nil {
				return nil, fmt.Errorf("bad line %q", line)
			}
			b := make([]byte, n)
			if _, err := io.ReadFull(r, b); err != nil {
				return nil, err
			}
			s := all[len(all)-1]
			s.packets = append(s.packets, &packet{w[1], w[2], times, b})
		default:
			return nil, fmt.Errorf("bad line %q", line)
		}
	}
}

// addKey takes "NUMBER METHOD [TEXT]".
func (s *scenario) addKey(node, line string) error {
	w := append(strings.Fields(line), "")
	number, err := strconv.Atoi(w[0])
	method, ok := hbauth.ParseMethod(w[1])
	if err != nil || !ok {
		return fmt.Errorf("bad key %q", line)
	}
	if s.keys[node] == nil {
		s.keys[node] = map[int]hbauth.Key{}
	}
	s.keys[node][number] = hbauth.Key{Method: method, Text: w[2]}
	return nil
}

// packWire makes wireFile from a folder of recorded scenarios, each with wire.pcap.gz,
// serial-socat-v.txt or both, and NODE/authkeys.
func packWire(dir, path string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*", "wire.pcap.gz"))
	if err != nil {
		return err
	}
	sort.Strings(names)
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return err
	}
	for _, name := range names {
		s := &scenario{name: filepath.Base(filepath.Dir(name)), keys: map[string]map[int]hbauth.Key{}}
		if err := s.record(filepath.Dir(name)); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		if len(s.packets) > 0 {
			s.write(z)
		}
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}

func (s *scenario) write(w io.Writer) {
	fmt.Fprintf(w, "scenario %s\n", s.name)
	for _, node := range nodeNames {
		for n := range hbauth.MaxKeys {
			if k, ok := s.keys[node][n]; ok {
				fmt.Fprintf(w, "key %s %d %s %s\n", node, n, k.Method, k.Text)
			}
		}
	}
	for _, p := range s.packets {
		fmt.Fprintf(w, "packet %s %s %d %d\n%s", p.node, p.medium, p.times, len(p.bytes), p.bytes)
	}
}

var nodeNames = []string{"ha-master", "ha-slave"}

// record reads one scenario's folder.
func (s *scenario) record(dir string) error {
	for _, node := range nodeNames {
		text, err := os.ReadFile(filepath.Join(dir, node, "authkeys"))
		if err != nil {
			return err
		}
		for _, line := range strings.Split(string(text), "\n") {
			if line != "" && strings.IndexByte("0123456789", line[0]) >= 0 {
				if err := s.addKey(node, line); err != nil && s.name != "S9-badmethod" {
					return err
				}
			}
		}
	}
	seen := map[string]*packet{}
	add := func(node, medium string, b []byte) {
		key := node + medium + string(b)
		if p := seen[key]; p != nil {
			p.times++
			return
		}
		seen[key] = &packet{node, medium, 1, bytes.Clone(b)}
		s.packets = append(s.packets, seen[key])
	}
	if err := readCapture(filepath.Join(dir, "wire.pcap.gz"), add); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, "serial-socat-v.txt"))
	if os.IsNotExist(err) {
		return nil
	} else if err != nil {
		return err
	}
	return readSerial(text, add)
}

// nodeByAddress are the two nodes of the recorded network.
var nodeByAddress = map[string]string{"\xac\x10\x3c\xce": "ha-master", "\xac\x10\x3c\xcf": "ha-slave"}

// readCapture reads a little-endian pcap file of Ethernet frames and adds the payload of each
// heartbeat datagram, echo request and echo reply; a reply counts for the node that it goes to.
func readCapture(path string, add func(node, medium string, b []byte)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(z)
	if err != nil || len(b) < 24 {
		return err
	}
	for b = b[24:]; len(b) >= 16; {
		n := int(binary.LittleEndian.Uint32(b[8:]))
		if len(b) < 16+n {
			return fmt.Errorf("%s: frame cut short", path)
		}
		frame := b[16 : 16+n]
		b = b[16+n:]
		if len(frame) < 14+20 || binary.BigEndian.Uint16(frame[12:]) != 0x800 {
			continue
		}
		ip := frame[14:]
		from, to, proto := nodeByAddress[string(ip[12:16])], nodeByAddress[string(ip[16:20])], ip[9]
		payload := ip[int(ip[0]&15)*4 : binary.BigEndian.Uint16(ip[2:])]
		switch {
		case proto == 17 && binary.BigEndian.Uint16(payload[2:]) == 694 && from != "":
			add(from, "udp", payload[8:])
		case proto == 1 && payload[0] == 8 && from != "":
			add(from, "icmp", payload[8:])
		case proto == 1 && payload[0] == 0 && to != "":
			add(to, "icmp", payload[8:])
		}
	}
	return nil
}

// socatHead precedes each piece in the output of socat -v: direction and length.
var socatHead = regexp.MustCompile(`([<>]) \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d+  length=(\d+) from=\d+ to=\d+\n`)

// readSerial adds the text messages of a serial line between the nodes, ha-master's being the
// direction '>'. What follows the last whole message of a direction is left out.
func readSerial(text []byte, add func(node, medium string, b []byte)) error {
	streams := map[byte][]byte{}
	for len(text) > 0 {
		at := socatHead.FindSubmatchIndex(text)
		if at == nil || at[0] != 0 {
			return fmt.Errorf("serial record: no head at %.40q", text)
		}
		n, err := strconv.Atoi(string(text[at[4]:at[5]]))
		if err != nil || len(text) < at[1]+n {
			break
		}
		streams[text[0]] = append(streams[text[0]], text[at[1]:at[1]+n]...)
		text = text[at[1]+n:]
	}
	for direction, node := range map[byte]string{'>': nodeNames[0], '<': nodeNames[1]} {
		for _, m := range bytes.SplitAfter(streams[direction], []byte("<<<\n")) {
			if bytes.HasSuffix(m, []byte("<<<\n")) {
				add(node, "serial", m)
			}
		}
	}
	return nil
}
