package applet

import (
	"bytes"
	"strings"
	"testing"
)

// runAdm runs a program of ours on a table that lasts as long as it does.
func runAdm(name, stdin string, args ...string) (stdout, stderr string, status int) {
	var out, complaints bytes.Buffer
	env := Env{Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &complaints, Getenv: func(key string) string {
		return map[string]string{ipvsEnv: "model"}[key]
	}}
	status = Main(append([]string{name}, args...), env)
	return out.String(), complaints.String(), status
}

func TestIpvsadm(t *testing.T) {
	const pointer = "Try `ipvsadm -h' or 'ipvsadm --help' for more information.\n"
	for _, test := range []struct {
		name           string
		program        string
		stdin          string
		args           string
		stdout, stderr string
		status         int
	}{
		{name: "list", program: "ipvsadm", stdout: `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
`},
		{name: "unknown option", program: "ipvsadm", args: "-L -q", stderr: "-q: unknown option\n", status: 255},
		{name: "no command", program: "/sbin/ipvsadm", args: "-q", stderr: strings.ReplaceAll(pointer, "ipvsadm", "/sbin/ipvsadm"), status: 255},
		{name: "mistake", program: "ipvsadm", args: "-A", stderr: "You need to supply the 'service-address' option for the 'add-service' command\n", status: 2},
		{name: "refused", program: "ipvsadm", args: "-D -f 1", stderr: "No such service\n", status: 255},
		{name: "nothing to list", program: "ipvsadm", args: "-L -n -f 1", stderr: "No such service\n", status: 1},
		{name: "no sync daemons", program: "ipvsadm", args: "--start-daemon master", stderr: "Function not implemented\n", status: 255},
		{
			name: "timeouts", program: "ipvsadm", args: "-R", stdin: "-L --timeout\n--set 1 2 0\n-L --timeout\n",
			stdout: "Timeout (tcp tcpfin udp): 900 120 300\nTimeout (tcp tcpfin udp): 1 2 300\n",
		},
		{
			name: "restore goes on after a refusal", program: "ipvsadm", args: "-R",
			stdin:  "-D -f 1\n\n-A -f 1 -q\n-A -f 2\n-a -f 2 -r 10.0.0.1 -m -w 3\n-S -n\n",
			stdout: "-A -f 2 -s wlc\n-a -f 2 -r 10.0.0.1:0 -m -w 3\n", stderr: "No such service\n-q: unknown option\n",
		},
		{name: "its status is the last one's", program: "ipvsadm", args: "-R", stdin: "-A -f 1\n-A -f 1\n", stderr: "Service already exists\n", status: 255},
		{
			name: "restore ends at a mistake", program: "ipvsadm", args: "-R", stdin: "-A -f 1\n-A -f 2 -w 1\n-S -n\n",
			stderr: "Illegal 'weight' option with the 'add-service' command\n", status: 2,
		},
		{name: "restore ends at no command", program: "ipvsadm", args: "-R", stdin: "GW=1\n-S -n\n", stderr: pointer, status: 255},
		{name: "restore ends at a missing service", program: "ipvsadm", args: "-R", stdin: "-L -f 9\n-v\n", stderr: "No such service\n", status: 1},
		{name: "restore in restore", program: "ipvsadm", args: "-R", stdin: "-R\n-v\n", stderr: pointer, status: 255},
		{name: "restore ends at version", program: "ipvsadm", args: "-R", stdin: "-v\n-v\n", stdout: ipvsadmVersion},
		{name: "save", program: "ipvsadm-save", args: "foo -n"},
		{
			name: "save's usage", program: "ipvsadm-save", args: "-x", status: 1,
			stderr: "ipvsadm-save: Script to save the IPVS table to stdout.\n   With the -n option, prints out the table in numeric format.\n",
		},
		{name: "ipvsadm-restore", program: "ipvsadm-restore", args: "--whatever", stdin: "# comment\n-A -f 1\n#\n-S -n\n -x\n", stdout: "-A -f 1 -s wlc\n", stderr: pointer, status: 255},
	} {
		t.Run(test.name, func(t *testing.T) {
			stdout, stderr, status := runAdm(test.program, test.stdin, strings.Fields(test.args)...)
			if stdout != test.stdout || stderr != test.stderr || status != test.status {
				t.Errorf("status %d\nstdout:\n%s\nstderr:\n%s\nwant %d\n%s\n%s", status, stdout, stderr, test.status, test.stdout, test.stderr)
			}
		})
	}
}

// Help needs no table.
func TestIpvsadmHelp(t *testing.T) {
	var out, complaints bytes.Buffer
	env := Env{Stdout: &out, Stderr: &complaints, Stdin: strings.NewReader(""), Getenv: func(string) string { return "nosuch" }}
	if status := Main([]string{"ipvsadm", "-h"}, env); status != 0 || !strings.HasPrefix(out.String(), ipvsadmVersion) || complaints.Len() > 0 {
		t.Errorf("status %d, %q, %q", status, out.String(), complaints.String())
	}
	if status := Main([]string{"ipvsadm", "-L"}, env); status != 2 || !strings.Contains(complaints.String(), `unknown table "nosuch"`) {
		t.Errorf("status %d, %q", status, complaints.String())
	}
}
