package ldirectord

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"

	"github.com/systole-ha/systole/pkg/getopt"
)

var statusOptions = getopt.Grammar{Opts: []getopt.Opt{{Long: "verbose"}, {Long: "json"}}}

// status tells whether the instance runs and, beyond the original, how its servers are.
func (c *Command) status(ctx context.Context, call Call, t target) int {
	o, err := statusOptions.Parse(call.Args)
	if err != nil {
		fmt.Fprintln(c.Stderr, "status:", err)
		return ExitUsage
	}
	if t.pid == 0 {
		return c.stopped(t)
	}
	for _, name := range t.file.Config.Global.Execute {
		if c.Execute == nil || filepath.Base(name) == t.Name {
			continue
		}
		if status := c.Execute(ctx, name, "status"); status != exitOK {
			t.log.Printf("system(%s %s status) failed: exit status %d", c.Program, name, status)
		}
	}
	text := fmt.Sprintf("ldirectord for %s is running with pid: %d", t.Config, t.pid)
	fmt.Fprintln(c.Stderr, text)
	t.log.Print(text)
	t.log.Print("Exiting from ldirectord status")
	if !o.Has("verbose") && !o.Has("json") {
		return exitOK
	}
	r, err := c.report(ctx, t.Instance)
	if err == nil && o.Has("json") {
		e := json.NewEncoder(c.Stdout)
		e.SetIndent("", "  ")
		err = e.Encode(r)
	} else if err == nil {
		err = r.Write(c.Stdout, time.Now())
	}
	if err != nil {
		return c.failed(err)
	}
	return exitOK
}

func (c *Command) report(ctx context.Context, in Instance) (Report, error) {
	s := c.local(in)
	if s == nil {
		return in.Report(true)
	}
	r, ok := s.Report(ctx, true)
	if !ok {
		return r, errEnding
	}
	return r, nil
}

// stopped is the status of an instance that does not run.
func (c *Command) stopped(t target) int {
	status := exitStopped
	if t.stale {
		text := fmt.Sprintf("ldirectord stale pid file %s for %s", t.PIDFile, t.Config)
		fmt.Fprintln(c.Stderr, text)
		t.log.Print(text)
		status = exitFailed
	}
	fmt.Fprintf(c.Stdout, "ldirectord is stopped for %s\n", t.Config)
	return status
}
