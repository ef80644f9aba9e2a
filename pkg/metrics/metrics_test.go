package metrics_test

import (
	"bytes"
	"io"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/director"
	"github.com/systole-ha/systole/pkg/ldirectord"
	"github.com/systole-ha/systole/pkg/metrics"
)

func sample() metrics.Snapshot {
	at := time.Unix(1_800_000_000, 0)
	return metrics.Snapshot{
		Heartbeat: &daemon.Report{
			Node: "paul", Since: at, Stable: true, Held: "all", HeldSince: at.Add(time.Minute), Sent: 70, Unconfirmed: 2, Takeovers: 1,
			Nodes: []daemon.NodeReport{
				{Name: "paul", Status: "active", Links: []daemon.LinkReport{{Name: "eth0", Status: "up"}}},
				{Name: "silas", Status: "dead", Heard: at.Add(30 * time.Second), Deaths: 1, Late: 2, Lost: 3, Links: []daemon.LinkReport{{Name: "eth0", Status: "dead"}}},
				{Name: "10.0.0.254", Ping: true, Status: "ping", Links: []daemon.LinkReport{{Name: "10.0.0.254", Status: "up"}}},
			},
			Groups:     []daemon.GroupState{{Key: "IPaddr::10.0.0.1", Preferred: "silas", Holders: []string{"paul"}}},
			Moves:      []daemon.Move{{At: at, From: "local", To: "all", Why: "node silas is dead", Took: 0.012}},
			Operations: []daemon.Operation{{Group: "IPaddr::10.0.0.1", Verb: "takegroup", Count: 2, Failed: 1, Last: 0.01, Total: 0.025}},
			Dropped:    daemon.Dropped{Malformed: 1, Unsigned: 2, Fields: 3, Unknown: 4, Replayed: 5, Repeated: 6},
		},
		Ldirectord: []ldirectord.Report{{
			Config: "/etc/ha.d/ldirectord.cf", Since: at, Loaded: at, Rejected: []string{"no"},
			Status: director.Status{State: director.Running, Virtuals: []director.VirtualStatus{{
				ID: "tcp:10.0.0.1:80", Repairs: 3, Fallback: true, Reals: []director.RealStatus{
					{Addr: "10.0.0.2:80", Health: director.Up, Weight: 5, InTable: true, Checks: 9, Failed: 1, Took: 0.1, Spent: 1.5},
					{Addr: "10.0.0.2:80", Health: director.Down, Checks: 1, Failed: 1},
					{Addr: "ba\xffd:80", Drained: true},
				},
			}}},
		}},
	}
}

// The whole text, which Prometheus's own linter finds nothing wrong with. (UPDATE=1 writes it anew.)
func TestText(t *testing.T) {
	s := sample()
	s.Ldirectord[0].Virtuals[0].Reals = s.Ldirectord[0].Virtuals[0].Reals[:2]
	var out bytes.Buffer
	if err := metrics.Write(&out, s); err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(bytes.NewReader(out.Bytes())).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile("testdata/metrics.txt", out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("got\n%s", out.Bytes())
	}
}

// A scrape asks anew; names that are no UTF-8 do no harm.
func TestHandler(t *testing.T) {
	asked := 0
	h, err := metrics.Handler(func() metrics.Snapshot {
		if asked++; asked == 1 {
			return metrics.Snapshot{}
		}
		return sample()
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"systole_heartbeat_up 0\n", `real="ba?d:80"`} {
		r := httptest.NewRecorder()
		h.ServeHTTP(r, httptest.NewRequest("GET", "/metrics", nil))
		body, err := io.ReadAll(r.Result().Body)
		if err != nil || r.Code != 200 || !strings.Contains(string(body), want) {
			t.Errorf("%d %v\n%s", r.Code, err, body)
		}
	}
}
