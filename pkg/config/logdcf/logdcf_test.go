package logdcf_test

import (
	"testing"

	"github.com/systole-ha/systole/pkg/config/logdcf"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]logdcf.Config{
		"": {Facility: "daemon"},
		"#logfile /var/log/no\nlogfile\t/var/log/ha-log # here\ndebugfile /var/log/ha-debug\nlogfacility local7\nsyslogmsgfmt no\n": {
			LogFile: "/var/log/ha-log", DebugFile: "/var/log/ha-debug", Facility: "local7", Plain: true,
		},
		"logfile\nlogfacility none\nentity logd\nsendqlen 256\nsyslogmsgfmt yes": {Facility: "none"},
	} {
		if got := logdcf.Parse([]byte(text)); got != want {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
}
