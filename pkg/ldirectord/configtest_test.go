package ldirectord

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConfigtest(t *testing.T) {
	b := newBench(t, twoReals)
	if err := os.Remove(filepath.Join(b.dir, "var/log")); err != nil { // the test makes no log file either
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(b.dir, "var/log"), 0o755); err != nil {
		t.Fatal(err)
	}
	b.run("configtest").expect(t, 0, "/etc/ha.d/ldirectord.cf: ok, 1 virtual services, 2 real servers\n", "", "")
	b.run("ldirectord.cf", "configtest").expect(t, 0, "/etc/ha.d/ldirectord.cf: ok, 1 virtual services, 2 real servers\n", "", "")
	if left, _ := filepath.Glob(filepath.Join(b.dir, "var/*/*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	b.run("configtest", "nope.cf").expect(t, 1, "", "Config file nope.cf not found\n", "")
	b.run("configtest", "ldirectord.cf").expect(t, 0, "/etc/ha.d/ldirectord.cf: ok, 1 virtual services, 2 real servers\n", "", "")
	b.run("nope.cf", "configtest").expect(t, 1, "", "Config file nope.cf not found\n", "")

	// Everything that is wrong, here and in what is executed; warnings are no failure.
	b.write("autoreload=maybe\nexecute=ldirectord.cf\nvirtual=10.0.0.1:80\n    real=10.0.0.2:80\n    frobnicate=1\n# end\n")
	third := filepath.Join(b.dir, "etc/ha.d/conf/third.cf")
	if err := os.Mkdir(filepath.Dir(third), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(third, []byte("callback=\"/no/such/program\"\nvirtual=7\n    checktype=external\n    checkcommand=\"/etc/passwd\"\n    checkcount=2\n# end\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := b.run("configtest")
	want := []string{
		`/etc/ha.d/ldirectord.cf:2:12: autoreload: bad value "maybe" (want yes or no)`,
		`/etc/ha.d/ldirectord.cf:5:21: real: no forwarding method after "10.0.0.2:80" (want gate, masq or ipip after the address)`,
		`/etc/ha.d/ldirectord.cf:6:5: frobnicate: unknown directive "frobnicate" (want a directive of a section)`,
	}
	if got := strings.Split(strings.TrimSpace(c.stderr), "\n"); c.code != 2 || c.stdout != "" || strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("status %d, stdout %q, stderr:\n%s\nwant:\n%s", c.code, c.stdout, c.stderr, strings.Join(want, "\n"))
	}
	b.write("execute=other.cf\nexecute=ldirectord.cf\nexecute=third.cf\n")
	c = b.run("configtest")
	wantOut := "/etc/ha.d/ldirectord.cf: ok, 0 virtual services, 0 real servers\n/etc/ha.d/conf/third.cf: ok, 1 virtual services, 0 real servers\n"
	wantErr := "Config file other.cf not found\n" +
		"/etc/ha.d/conf/third.cf:5:5: warning: checkcount: deprecated; it only counts the attempts of ping checks (want failurecount)\n" +
		"/etc/ha.d/conf/third.cf: warning: callback: no program \"/no/such/program\"\n" +
		"/etc/ha.d/conf/third.cf: warning: checkcommand: \"/etc/passwd\" is not executable\n"
	c.expect(t, 1, wantOut, wantErr, "")
}
