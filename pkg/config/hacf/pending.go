package hacf

// The reasons that several rows of pending share.
const (
	noLogd = "lines go to the files and to syslog directly"
)

// pending is every directive that is understood and kept in the Config but does nothing yet, with
// what happens instead. A row "directive=value" is for that value alone; booleans are on or off
// there. When an effect is built its row goes; when the table is empty the table and
// Config.Pending go.
var pending = map[string]string{
	"conn_logd_time": noLogd,
	"use_apphbd=on":  "the daemon does not register with apphbd",
	"use_logd=on":    noLogd,
}

// pend notes once that a directive, or this value of it, has no effect yet.
func (p *parser) pend(d *directive, w word) {
	value := w.text
	if on, ok := parseBool(value); ok {
		value = "off"
		if on {
			value = "on"
		}
	}
	effect, ok := pending[d.name]
	if !ok {
		if effect, ok = pending[d.name+"="+value]; !ok {
			return
		}
	}
	for _, had := range p.cfg.Pending {
		if had.Directive == d.name {
			return
		}
	}
	p.cfg.Pending.Warnf(w.pos, d.name, "", "not yet in effect: %s", effect)
}
