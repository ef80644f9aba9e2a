package applet

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be every program, by its name.
func TestMain(m *testing.M) {
	if os.Getenv(restartTest) != "" {
		os.Exit(restarted())
	}
	commands := map[string]func(){"systole": runAsProgram}
	for _, p := range programs() {
		for _, name := range append([]string{p.name}, p.aliases...) {
			commands[name] = runAsProgram
		}
	}
	testscript.Main(m, commands)
}

func runAsProgram() { os.Exit(Main(os.Args, OS())) }

// TestScripts runs testdata/script/*.txtar. A program finds its files below $WORK instead of "/"
// as far as it knows SYSTOLE_ROOT; the IPVS table is a model.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv(rootEnv, env.WorkDir)
			env.Setenv(ipvsEnv, "model")
			for _, d := range []string{"etc/ha.d/conf", "var/run", "var/log"} {
				if err := os.MkdirAll(filepath.Join(env.WorkDir, d), 0o755); err != nil {
					return err
				}
			}
			env.Defer(func() { endDaemons(env.WorkDir) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waitlog": waitLog,
			"signal":  signalDaemon,
		},
	})
}

// waitLog waits until a file matches a regular expression.
func waitLog(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitlog file regexp")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	path := ts.MkAbs(args[0])
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(path)
		if err == nil && re.Match(text) {
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s does not match %s:\n%s%v", path, args[1], text, err)
		}
	}
}

var scriptSignals = map[string]syscall.Signal{
	"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT, "KILL": syscall.SIGKILL,
}

// signalDaemon sends a signal to the process that a pid file of this script names, and after
// KILL waits until it is gone.
func signalDaemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || scriptSignals[args[0]] == 0 {
		ts.Fatalf("usage: signal HUP|TERM|INT|QUIT|KILL pidfile")
	}
	pid := ours(ts.MkAbs(args[1]))
	if pid == 0 {
		ts.Fatalf("%s names no process of this test", args[1])
	}
	ts.Check(syscall.Kill(pid, scriptSignals[args[0]]))
	for args[0] == "KILL" && !ended(pid) {
		time.Sleep(time.Millisecond)
	}
}

// ended says that a process is gone, or that nothing is left but its exit status: its last thread
// has let go of its files.
func ended(pid int) bool {
	proc := "/proc/" + strconv.Itoa(pid)
	stat, err := os.ReadFile(proc + "/stat")
	_, state, _ := strings.Cut(string(stat), ") ")
	threads, _ := os.ReadDir(proc + "/task")
	return err != nil || strings.HasPrefix(state, "Z") && len(threads) <= 1
}

// ours is the pid in a file if it is a process of this test binary, else 0.
func ours(pidFile string) int {
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 || pid == os.Getpid() {
		return 0
	}
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return 0
	}
	exe, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/exe")
	if err != nil || !os.SameFile(self, exe) {
		return 0
	}
	return pid
}

// endDaemons ends what a failed script has left.
func endDaemons(root string) {
	files, _ := filepath.Glob(filepath.Join(root, "var/run/*.pid"))
	for _, f := range files {
		if pid := ours(f); pid != 0 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}
