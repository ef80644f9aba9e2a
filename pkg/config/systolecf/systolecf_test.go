package systolecf

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	c, problems := Parse("systole.cf", []byte("# mine\nlogdialect debian12\nstopfailure standby # no reboots\n"))
	if len(problems) != 0 || c != (Config{LogDialect: "debian12", StopFailure: "standby", IPVS: "kernel", AddressLost: "repair"}) {
		t.Errorf("%+v %v", c, problems)
	}
	_, problems = Parse("systole.cf", []byte("ipvs magic\nfoo\nlogdialect\n"))
	want := `systole.cf:1:6: ipvs: bad value "magic" (want kernel or userspace)
systole.cf:2:1: "foo" is not a directive (want addresslost, ipvs, logdialect, stopfailure)
systole.cf:3:1: logdialect: 0 values (want centos6 or debian12)`
	if got := problems.Err().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"logdialect debian12\nstopfailure standby\nipvs userspace\n", "ipvs magic\nfoo\nlogdialect\n", "# \x00\r\n \tipvs\tkernel #x", "ipvs",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		given := string(text)
		c, problems := Parse("systole.cf", text)
		if string(text) != given {
			t.Error("the text was changed")
		}
		lines := strings.Count(given, "\n") + 1
		for _, p := range problems {
			if p.Pos.Line < 1 || p.Pos.Line > lines || p.Pos.Col < 1 {
				t.Errorf("%v is not a place in %q", p.Pos, given)
			}
		}
		if again, _ := Parse("systole.cf", text); again != c {
			t.Errorf("%q: %+v, and again %+v", given, c, again)
		}
	})
}
