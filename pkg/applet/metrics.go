package applet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/getopt"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/ldirectord"
	"github.com/systole-ha/systole/pkg/metrics"
)

var metricsProgram = program{
	name:    "metrics",
	summary: "what heartbeat and ldirectord count, for Prometheus",
	run:     runMetrics,
}

const metricsUsage = `Usage: systole metrics [--listen ADDRESS:PORT]

Prints the metrics of the heartbeat and of each ldirectord that runs here in Prometheus's text format, as for
node_exporter's textfile collector. With --listen they are served at /metrics until a signal comes: for an ldirectord
without heartbeat. heartbeat serves them itself with "metrics ADDRESS:PORT" in /etc/ha.d/systole.cf.

Exit status: 0; 1 failed; 2 usage. Metric systole_heartbeat_up tells whether heartbeat runs.
`

var metricsGrammar = getopt.Grammar{Opts: []getopt.Opt{{Long: "listen", Short: 'l', Value: getopt.Required}, {Long: "help", Short: 'h'}}}

func runMetrics(env Env, args []string) int {
	r, err := metricsGrammar.Parse(args)
	switch {
	case err != nil:
		fmt.Fprintf(env.Stderr, "systole metrics: %v (systole metrics --help)\n", err)
		return exitMisuse
	case r.Has("help"):
		fmt.Fprint(env.Stdout, metricsUsage)
		return exitSound
	case len(r.Operands) > 0:
		fmt.Fprint(env.Stderr, metricsUsage)
		return exitMisuse
	}
	paths, places := clientPaths(env), ldirectord.PathsUnder("/"+env.Getenv(rootEnv))
	if at, ok := r.Value("listen"); ok {
		address, err := netip.ParseAddrPort(at)
		if err != nil {
			fmt.Fprintf(env.Stderr, "systole metrics: %q is no ADDRESS:PORT\n", at)
			return exitMisuse
		}
		ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
		defer stop()
		err = serveMetrics(ctx, address, paths, places)
		if err == nil {
			return exitSound
		}
		fmt.Fprintf(env.Stderr, "systole metrics: %v\n", err)
		return exitErrors
	}
	if err := metrics.Write(env.Stdout, snapshot(paths, places)); err != nil {
		fmt.Fprintf(env.Stderr, "systole metrics: %v\n", err)
		return exitErrors
	}
	return exitSound
}

func snapshot(paths daemon.Paths, places ldirectord.Paths) metrics.Snapshot {
	o, _ := look(paths, places, false) // that heartbeat cannot be asked is a metric
	if o.Heartbeat != nil && o.Heartbeat.Since.IsZero() {
		o.Heartbeat = nil // an original: it does not tell enough
	}
	return metrics.Snapshot{Heartbeat: o.Heartbeat, Ldirectord: o.Ldirectord}
}

// scrapers is how many connections there may be: heartbeat needs its memory and descriptors itself.
const scrapers = 32

// serveMetrics serves until ctx ends. Slow readers are cut off.
func serveMetrics(ctx context.Context, at netip.AddrPort, paths daemon.Paths, places ldirectord.Paths) error {
	var one sync.Mutex // to heartbeat a process is one client
	h, err := metrics.Handler(func() metrics.Snapshot {
		one.Lock()
		defer one.Unlock()
		return snapshot(paths, places)
	})
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at.String())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/metrics", h)
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(netutil.LimitListener(l, scrapers)); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// metricsAgain is how long heartbeat waits before it tries an address again.
const metricsAgain = 10 * time.Second

// metricsService serves inside heartbeat. An address that is not there, as a virtual one on the other node, may come.
func metricsService(at netip.AddrPort, log *halog.Logger) func(context.Context) {
	return func(ctx context.Context) {
		for told := false; ; {
			err := serveMetrics(ctx, at, daemon.DefaultPaths(), ldirectord.PathsUnder("/"))
			if err == nil || ctx.Err() != nil {
				return
			}
			if !told {
				log.Logf(halog.Warn, "metrics: %v; trying again every %v", err, metricsAgain)
				told = true
			}
			select {
			case <-time.After(metricsAgain):
			case <-ctx.Done():
				return
			}
		}
	}
}
