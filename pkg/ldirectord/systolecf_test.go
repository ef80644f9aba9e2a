package ldirectord

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/check"
	"github.com/systole-ha/systole/pkg/config/systolecf"
)

// TestSystoleCf loads a configuration that systole.cf says something of.
func TestSystoleCf(t *testing.T) {
	b := newBench(t, "virtual=10.0.0.1:443\n    real=10.0.0.2:443 gate\nvirtual=7\n    real=10.0.0.2 gate\n")
	write := func(text string) File {
		t.Helper()
		if err := os.WriteFile(filepath.Join(b.dir, "etc/ha.d/systole.cf"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return Load(t.Context(), b.in, LoadOptions{})
	}
	f := write("service 10.0.0.1:443 verify chain certwarn 14\nservice * rise 2\nlogdialect debian12\n")
	if f.Err != nil {
		t.Fatal(f.Err)
	}
	want := systolecf.Options{Rise: 2, Verify: systolecf.VerifyChain, CertWarn: 14 * 24 * time.Hour}
	if got := f.Config.Virtuals[0].Options; got != want {
		t.Errorf("%+v", got)
	}
	if got := f.Config.Virtuals[1].Options; got != (systolecf.Options{Rise: 2}) {
		t.Errorf("%+v", got)
	}
	f = write("service * verify maybe\nservice * cafile /nothing\n")
	path := filepath.Join(b.dir, "etc/ha.d/systole.cf")
	for _, line := range []string{
		path + `:1:18: service verify: bad value "maybe" (want no, chain or name)`,
		path + ":2:11: service cafile: stat /nothing: no such file or directory (want a PEM file with certificates of authorities)",
	} {
		if f.Err == nil || !strings.Contains(f.Err.Error(), line) {
			t.Errorf("%v does not say %s", f.Err, line)
		}
	}
}

// TestAgentWeights has a real web server with an agent that says one thing after the other.
func TestAgentWeights(t *testing.T) {
	b := newBench(t, "")
	w := newWeb(t, "127.0.7.90:0")
	agent, err := net.Listen("tcp", "127.0.7.90:0")
	if err != nil {
		t.Fatal(err)
	}
	defer agent.Close()
	var says atomic.Value
	says.Store("75%")
	go func() { // ends with Close
		for {
			c, err := agent.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "%s\n", says.Load())
			c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(agent.Addr().String())
	if err := os.WriteFile(filepath.Join(b.dir, "etc/ha.d/systole.cf"), []byte("service 10.0.0.1:80 agentport "+port+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.write("checkinterval=1\nvirtual=10.0.0.1:80\n    real=" + w.address() + " masq 200\n    service=http\n")
	b.change = func(o *Options) {
		o.Checker = func(service string) check.Checker {
			c, _ := check.For(service)
			return c
		}
	}
	b.start()
	want := func(rules string) {
		t.Helper()
		for begin := time.Now(); b.rules() != rules; time.Sleep(5 * time.Millisecond) {
			if time.Since(begin) > 10*time.Second {
				t.Fatalf("the table is\n%s\nwant\n%s\nlog:\n%s", b.rules(), rules, b.out)
			}
		}
	}
	for _, step := range []struct{ says, weight string }{{"75%", "*150"}, {"drain", "*0"}, {"ready 10%", "*20"}, {"maint", ""}, {"ready,up,100%", "*200"}} {
		says.Store(step.says)
		if step.weight == "" {
			want("tcp:10.0.0.1:80")
			continue
		}
		want("tcp:10.0.0.1:80 " + w.address() + step.weight)
	}
	b.stop()
}
