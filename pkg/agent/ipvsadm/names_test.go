package ipvsadm

import (
	"context"
	"errors"
	"net"
	"testing"
)

// TestNameIsAskedForOnce: a rule file has a service's name in each line, and a name server that does not
// answer is not to be waited for each time.
func TestNameIsAskedForOnce(t *testing.T) {
	asked := 0
	was := net.DefaultResolver
	defer func() { net.DefaultResolver = was }()
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		asked++
		return nil, errors.New("no name server")
	}}
	names := SystemNames(t.Context())
	if a, ok := names.Addr("no-such-host.example.org"); ok {
		t.Fatal(a)
	}
	before := asked
	if _, ok := names.Addr("no-such-host.example.org"); ok || before == 0 || asked != before {
		t.Errorf("asked %d times, and then %d", before, asked-before)
	}
	for range 2 {
		if a, ok := names.Addr("localhost"); !ok || a.String() != "127.0.0.1" {
			t.Errorf("localhost: %v %v", a, ok)
		}
	}
}
