package metrics

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"

	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/ldirectord"
)

// Snapshot is what is shown.
type Snapshot struct {
	Heartbeat  *daemon.Report // nil: it does not run, or is an original
	Ldirectord []ldirectord.Report
}

// collector asks anew for each scrape.
type collector func() Snapshot

// Handler serves what ask returns, at any path.
func Handler(ask func() Snapshot) (http.Handler, error) {
	r, err := registry(ask)
	if err != nil {
		return nil, err
	}
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4}), nil
}

// Write writes a snapshot.
func Write(w io.Writer, s Snapshot) error {
	r, err := registry(func() Snapshot { return s })
	if err != nil {
		return err
	}
	families, err := r.Gather()
	if err != nil {
		return err
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return err
		}
	}
	return nil
}

func registry(ask func() Snapshot) (*prometheus.Registry, error) {
	r := prometheus.NewRegistry()
	if err := r.Register(collector(ask)); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	return r, nil
}

// Describe is prometheus.Collector: what there is depends on the configuration.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect is prometheus.Collector.
func (ask collector) Collect(ch chan<- prometheus.Metric) {
	s := ask()
	put := sink(ch)
	put.gauge("build_info", "Constant 1, with the version of heartbeat whose behaviour this is.", 1, pairs{{"version", daemon.Version}})
	put.gauge("heartbeat_up", "Whether heartbeat runs and answers.", truth(s.Heartbeat != nil), nil)
	if s.Heartbeat != nil {
		put.heartbeat(s.Heartbeat)
	}
	for i := range s.Ldirectord {
		put.ldirectord(&s.Ldirectord[i])
	}
}

// sink takes metrics.
type sink chan<- prometheus.Metric

// pairs are labels with their values, in order.
type pairs [][2]string

func (p pairs) split() (names, values []string) {
	for _, x := range p {
		names, values = append(names, x[0]), append(values, strings.ToValidUTF8(x[1], "?"))
	}
	return names, values
}

func (p pairs) with(name, value string) pairs {
	return append(p[:len(p):len(p)], [2]string{name, value})
}

func (s sink) gauge(name, help string, v float64, p pairs) {
	s.put(prometheus.GaugeValue, name, help, v, p)
}

func (s sink) counter(name, help string, v float64, p pairs) {
	s.put(prometheus.CounterValue, name, help, v, p)
}

func (s sink) put(kind prometheus.ValueType, name, help string, v float64, p pairs) {
	names, values := p.split()
	m, err := prometheus.NewConstMetric(prometheus.NewDesc("systole_"+name, help, names, nil), kind, v, values...)
	s.send(name, m, err)
}

// durations is a summary without quantiles.
func (s sink) durations(name, help string, count uint64, sum float64, p pairs) {
	names, values := p.split()
	m, err := prometheus.NewConstSummary(prometheus.NewDesc("systole_"+name, help, names, nil), count, sum, nil, values...)
	s.send(name, m, err)
}

func (s sink) send(name string, m prometheus.Metric, err error) {
	if err != nil { // a bug: labels and values do not match
		m = prometheus.NewInvalidMetric(prometheus.NewDesc("systole_"+name, "", nil, nil), err)
	}
	s <- m
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
