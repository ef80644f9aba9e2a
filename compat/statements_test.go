package compat

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// ldirectordStatements is what somebody's files, scripts or habits may depend on, in the order of a
// reading, and the tests that show it: Go tests, stories of pkg/director/testdata, scripts of
// pkg/applet/testdata/script. What is different on purpose is in DEVIATIONS.md.
var ldirectordStatements = []struct{ what, tests string }{
	// The file.
	{"lines are bytes; two states; a section begins at `virtual` in column 0 and ends at a blank or less indented line", "TestAsOriginal TestCorpus"},
	{"`#` cuts a section's line even in quotes; tabs count four blanks; comment lines never end a section", "TestAsOriginal"},
	{"a `virtual` line at the very end is an empty service", "TestCorpus"},
	{"CRLF, blanks around `=`, trailing blanks, capitals, yes/no and nothing else (blanks are harmless)", "TestAsOriginal TestCorpus"},
	{"values: first run of digits, quoted strings up to the last quote, verbatim rests; what is refused with which text, at which line", "TestAsOriginal TestPositions"},
	{"errors and warnings: `Error [PID] reading file F at line N: TEXT`, to stderr at a start, to the log at a reload", "TestCommandBadConfig TestAutoreload ldirectord_usage.txtar"},
	{"all mistakes in one run, each with file:line:column and what would do", "TestConfigtest TestPositions FuzzParse"},
	{"each global directive", "TestCorpus TestAsOriginal TestSideConfigurations TestLdirectordBeside"},
	{"each directive of a section", "TestCorpus TestAsOriginal TestSideConfigurations TestLdirectordBeside"},
	{"emailalertstatus: words, `none`, errors", "TestAsOriginal"},
	{"a firewall mark is what begins with digits and has no port; `virtual6`", "TestAsOriginal marks_and_families.txt"},
	{"real lines: ranges, names, ports by name, `-w N`, pairs, thresholds in any order, junk", "TestAsOriginal TestHugeRange TestCorpus"},
	{"fallback: last two words, port of the virtual, global for all of its family, section over global", "TestAsOriginal TestLdirectordBeside"},
	{"names are resolved once, when the file is read; getservbyname; short forms of IPv4", "TestAsOriginal TestNoResolver TestLdirectordBeside"},
	{"the service by the virtual's port; 8080 is none; check port", "TestCorpus TestServiceOptions"},
	{"ftp and sip log in as somebody by default", "TestDefaultLogins"},
	{"timeouts stand in for each other, level by level; which check has which", "TestTimeouts TestTimeoutOfCheck"},
	{"the URL of a real server", "TestURL"},
	{"checkinterval in a section counts with fork=yes only, and warns otherwise", "TestAsOriginal TestLdirectordBeside"},
	// The command line.
	{"options come first, may be bundled, not shortened; usage on stdout, exit status 255; -v, -h, -?", "ldirectord_usage.txtar"},
	{"CONFIG is looked for in /etc/ha.d, /etc/ha.d/conf and as it is; its last component names pid file and log lines", "ldirectord_usage.txtar ldirectord_daemon.txtar"},
	{"start, stop, restart, try-restart, reload, force-reload, status: texts, streams, exit statuses, log lines, running and not", "TestCommandStopped TestCommandRunning TestCommandRestart ldirectord_daemon.txtar"},
	{"a stale pid file: exit status 1 and its line; an empty one counts as none", "TestCommandStale ldirectord_daemon.txtar"},
	{"stop and status work with a broken or missing file", "TestCommandRunning"},
	{"an original that runs is seen, stopped and told to reload; nobody else is sent a signal", "TestStopTellsAnOriginal"},
	{"the daemon: session, directory, descriptors, argv; pid file with its lock", "ldirectord_daemon.txtar TestCommandRunning"},
	{"deadly signals stop it in order, HUP reloads", "ldirectord_daemon.txtar ldirectord_foreground.txtar"},
	{"-d and supervised=yes: foreground, where lines go, no pid file", "ldirectord_foreground.txtar TestLdirectordBeside"},
	{"execute: start, stop, status, reload of other configurations; several instances at once", "TestExecute ldirectord_execute.txtar TestLdirectordBeside"},
	{"inside heartbeat: the same texts and statuses, no process", "TestLife TestNamed TestTwoAtOnce TestSupervised TestStoppedFromOutside TestResume"},
	{"configtest: all problems, exit status, nothing changed", "TestConfigtest ldirectord_execute.txtar"},
	{"drain, undrain: all services or one, --wait, --timeout; over reloads and restarts", "TestDrain TestDrainWaits TestDrainMistakes TestDrainedFile TestParseDrain drain.txt ldirectord_drain.txtar"},
	{"status --verbose and --json: servers, weights, connections, last failures with transcripts, why a file was not taken", "TestStatusJSON TestDrain"},
	// The engine.
	{"identities: servers of equal identity in several services are one check", "overlaps.txt failurecount.txt"},
	{"up, down, soft failures, failurecount, one success brings back", "failurecount.txt tutorial.txt TestServerDay"},
	{"gate and ipip servers stand under the service's port; `mapped from` in removals", "mapped.txt"},
	{"quiescent: weight 0, thresholds lost and back; readdquiescent", "quiescent.txt readdquiescent.txt"},
	{"start over a table that is filled: what has traffic keeps it, the rest is checked first, unknown servers are purged", "restart.txt restart_changed.txt restart_quiescent.txt TestRandomDays"},
	{"nothing gets traffic unchecked", "TestRandomDays"},
	{"services that the file does not name are never touched", "TestRandomDays TestReloads"},
	{"reload: additions, removals, changes; counters and health are kept; what did not change is not written", "reload.txt reload_hung.txt TestReloads TestReloadOfManyWritesNothing"},
	{"a file that is refused, gone or emptied leaves everything as it is, and autoreload in force", "TestAutoreload TestFileGone TestReloads"},
	{"stop: cleanstop yes and no, lines, order", "cleanstop.txt stop_early.txt stop_refused.txt TestLdirectordBeside"},
	{"fallback: in while nobody serves, after the removal, out after the addition, never quiesced", "tutorial.txt overlaps.txt TestServerDay"},
	{"fallbackcommand: arguments, when the word changes, again after a reload; not waited for", "fallbackcommand.txt TestFallbackCommand TestSlowProgramsDelayNobody TestLdirectordBeside"},
	{"autoreload by time and contents; callback in both cases", "TestAutoreload TestCallback TestLdirectordBeside"},
	{"checktype on, off, N", "on_and_off.txt combined.txt TestLdirectordBeside"},
	{"maintenancedir: six names, at once, with every checktype; names looked up in the background", "maintenance.txt maintenance_on.txt maintenance_off.txt TestMaintenanceNames TestMaintenanceDir TestLdirectordBeside"},
	{"checks run at the same time, on a grid, each under its deadline; a hung server delays nobody", "TestHungServersDelayNobody TestChecksSpread TestCheckLimit TestBadServers TestBenchScale"},
	{"rise counts, jitter, edits that are left alone, weights by agents", "rise.txt jitter.txt leave_edits.txt TestAgentWeights TestSystoleCf"},
	{"drift is repaired within an interval, told and counted", "drift.txt drift_again.txt TestRandomDays TestReloads TestVMLdirectordTable"},
	{"a table that refuses, cannot be read, lacks a scheduler, is unloaded: told once, tried again, caught up with", "refusals.txt leftovers.txt leftovers_late.txt refused_scheduler.txt unreadable.txt TestTableInMoods TestTableComesBack TestStopWithADeafTable TestVMLdirectordTable"},
	{"a director that is restarted, killed or reloaded under traffic loses no connection", "TestVMLdirectordTable"},
	{"our own failures end neither the service nor anybody's traffic", "TestOwnFailure TestCheckerPanics"},
	// Checks.
	{"every service and checktype against real servers, v4 and v6, beside the original", "TestCheckers TestCheckersOriginal"},
	{"the bytes of an http request, its verdicts, redirects, TLS", "TestHTTPRequest TestHTTPVerdicts TestHTTPRedirects TestHTTPHead TestHTTPS TestVerify"},
	{"the line protocols", "TestLineProtocols TestSimpleTCP TestFTPFile TestPackets"},
	{"external checks: arguments, verdicts, deadlines", "TestExternalArguments TestExternalVerdicts TestExternalPerl TestExternalTimeout"},
	{"ping and connect; udp services are pinged", "TestPing TestPingUnanswered TestConnect TestConnectUnanswered TestSpecOf"},
	// Output.
	{"log file: form of a line, opened anew after rotation; syslog facility; supervised; -d", "TestLogFile TestLogSyslog ldirectord_foreground.txtar"},
	{"the lines of servers that come and go are the original's", "TestLdirectordBeside tutorial.txt"},
	{"mails: when, subject, headers, body; emailalertstatus; reminders", "mail.txt TestMailBySMTP TestMailBySendmail TestMail TestLdirectordBeside"},
	{"mail servers that refuse, hang or are gone; floods", "TestMailRefused TestMailServersThatFail TestMailFlood"},
	{"monitorfile: form of a line, which results have one, rotation", "monitorfile.txt TestMonitorFile"},
}

// TestStatements: the tests that ldirectordStatements names exist.
func TestStatements(t *testing.T) {
	have := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir():
			return err
		case strings.HasSuffix(path, ".txtar") || filepath.Base(filepath.Dir(path)) == "testdata" && strings.HasSuffix(path, ".txt"):
			have[d.Name()] = true
		case strings.HasSuffix(path, "_test.go"):
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range function.FindAllStringSubmatch(string(source), -1) {
				have[m[1]] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range ldirectordStatements {
		for _, name := range strings.Fields(s.tests) {
			if !have[name] {
				t.Errorf("%q: there is no test %q", s.what, name)
			}
		}
	}
}
