package systolecf

import "testing"

func TestParse(t *testing.T) {
	c, problems := Parse("systole.cf", []byte("# mine\nlogdialect debian12\nstopfailure standby # no reboots\n"))
	if len(problems) != 0 || c != (Config{LogDialect: "debian12", StopFailure: "standby", IPVS: "kernel"}) {
		t.Errorf("%+v %v", c, problems)
	}
	_, problems = Parse("systole.cf", []byte("ipvs magic\nfoo\nlogdialect\n"))
	want := `systole.cf:1:6: ipvs: bad value "magic" (want kernel or userspace)
systole.cf:2:1: "foo" is not a directive (want logdialect, stopfailure or ipvs)
systole.cf:3:1: logdialect: 0 values (want centos6 or debian12)`
	if got := problems.Err().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
