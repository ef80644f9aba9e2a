package ldirectord

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
)

func logTo(sink string) *ldirectordcf.Config {
	return &ldirectordcf.Config{Global: ldirectordcf.Global{LogFile: sink}}
}

func TestLogFile(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "second")
	l := NewLog(Instance{Name: "www.cf", LogFile: first}, nil, nil)
	l.Print("one\n")
	l.Use(logTo(defaultLogFile)) // what says nothing of its own
	l.Print("two\nthree")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { l.Run(ctx); close(done) }()
	l.Use(logTo(second))
	l.Printf("%d", 4)
	if err := os.Rename(second, second+".1"); err != nil && !os.IsNotExist(err) { // it may not be written yet
		t.Fatal(err)
	}
	cancel()
	<-done
	l.Print("five")
	l.Close()
	line := func(text string) string {
		return fmt.Sprintf(`\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ 123]\d \d\d:\d\d:\d\d \d{4}\|www\.cf\|%d\] %s\n`, os.Getpid(), text)
	}
	var got string
	for _, path := range []string{first, second + ".1", second} {
		text, err := os.ReadFile(path)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		got += string(text)
	}
	want := "^" + line("one") + line("two") + line("three") + line("4") + line("five") + "$"
	if !regexp.MustCompile(want).MatchString(got) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLogSyslog(t *testing.T) {
	address := filepath.Join(t.TempDir(), "log")
	conn, err := net.ListenPacket("unixgram", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for sink, priority := range map[string]int{"local3": 19<<3 | 6, "LOCAL3": 19<<3 | 6, "daemon": 3<<3 | 6, "": 1<<3 | 6, "nonsense": 1<<3 | 6} {
		l := NewLog(Instance{Name: "www.cf", LogFile: "/nowhere/at/all"}, nil, nil)
		l.local = address
		l.Use(logTo(sink))
		l.Print("hello")
		buf := make([]byte, 1000)
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		got := string(buf[:n])
		if !strings.HasPrefix(got, fmt.Sprintf("<%d>", priority)) || !strings.HasSuffix(strings.TrimRight(got, "\x00\n"), fmt.Sprintf(" ldirectord[%d]: hello", os.Getpid())) {
			t.Errorf("logfile=%q: %q", sink, got)
		}
		l.Close()
	}
}
