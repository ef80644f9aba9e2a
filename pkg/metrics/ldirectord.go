package metrics

import (
	"fmt"
	"path/filepath"

	"github.com/systole-ha/systole/pkg/director"
	"github.com/systole-ha/systole/pkg/ldirectord"
)

func (s sink) ldirectord(r *ldirectord.Report) {
	p := pairs{{"config", filepath.Base(r.Config)}}
	s.gauge("ldirectord_up", "Constant 1 for each ldirectord that runs.", 1, p)
	s.gauge("ldirectord_start_time_seconds", "When ldirectord was started, since the epoch.", float64(r.Since.Unix()), p)
	s.gauge("ldirectord_config_last_reload_successful", "Whether the file was taken when it was read last.", truth(len(r.Rejected) == 0), p)
	s.gauge("ldirectord_config_last_reload_success_timestamp_seconds", "When the configuration in force was read, since the epoch.", float64(r.Loaded.Unix()), p)
	for _, v := range r.Virtuals {
		s.virtual(p.with("virtual", v.ID), v)
	}
}

func (s sink) virtual(p pairs, v director.VirtualStatus) {
	s.gauge("ldirectord_fallback_active", "Whether the fallback serves the virtual service.", truth(v.Fallback), p)
	s.counter("ldirectord_table_repairs_total", "Entries of IPVS that somebody else had deleted or changed and that were set right.", float64(v.Repairs), p)
	s.gauge("ldirectord_table_refused", "Whether IPVS has refused the last change to the virtual service.", truth(v.Error != ""), p)
	seen := map[string]int{}
	for _, r := range v.Reals {
		name := r.Addr
		if seen[r.Addr]++; seen[r.Addr] > 1 { // twice in one service
			name = fmt.Sprintf("%s#%d", r.Addr, seen[r.Addr])
		}
		q := p.with("real", name)
		s.gauge("ldirectord_real_up", "Whether the real server passes its check.", truth(r.Health == director.Up), q)
		s.gauge("ldirectord_real_drained", "Whether the real server is drained.", truth(r.Drained), q)
		s.gauge("ldirectord_real_weight", "Weight of the real server in the table; 0 also when it is not there.", float64(r.Weight), q)
		s.counter("ldirectord_check_failures_total", "Checks of the real server that failed.", float64(r.Failed), q)
		s.durations("ldirectord_check_duration_seconds", "Checks of the real server that were answered.", r.Checks, r.Spent, q)
	}
}
