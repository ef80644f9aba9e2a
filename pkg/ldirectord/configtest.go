package ldirectord

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
)

// configtest reads a configuration, and those that it executes, tells everything that is wrong
// with them, and changes nothing. It returns exitConfig if a start or reload would refuse one.
func (c *Command) configtest(ctx context.Context, name string) int {
	status := exitOK
	seen := map[string]bool{}
	for queue := []string{name}; len(queue) > 0; queue = queue[1:] {
		in, err := c.Paths.Find(queue[0])
		if err != nil {
			fmt.Fprintln(c.Stderr, err)
			status = max(status, exitFailed)
			continue
		}
		if seen[in.Path] {
			continue
		}
		seen[in.Path] = true
		o := c.Load
		o.Test = true
		f := Load(ctx, in, o)
		queue = append(queue, f.Config.Global.Execute...)
		f.Problems.Sort()
		for _, p := range f.Problems {
			fmt.Fprintln(c.Stderr, p)
		}
		for _, w := range missingPrograms(f.Config) {
			fmt.Fprintf(c.Stderr, "%s: warning: %s\n", in.Config, w)
		}
		if f.Err != nil {
			if len(f.Problems) == 0 {
				fmt.Fprintln(c.Stderr, f.Err)
			}
			status = exitConfig
			continue
		}
		reals := 0
		for i := range f.Config.Virtuals {
			reals += len(f.Config.Virtuals[i].Reals)
		}
		fmt.Fprintf(c.Stdout, "%s: ok, %d virtual services, %d real servers\n", in.Config, len(f.Config.Virtuals), reals)
	}
	return status
}

// missingPrograms warns of programs of a configuration that are not there or cannot be run.
func missingPrograms(c *ldirectordcf.Config) (warnings []string) {
	look := func(directive, command string) {
		path, _, _ := strings.Cut(command, " ")
		if !strings.HasPrefix(path, "/") {
			return // the shell's to find
		}
		w := ""
		if _, err := os.Stat(path); err != nil {
			w = fmt.Sprintf("%s: no program %q", directive, path)
		} else if unix.Access(path, unix.X_OK) != nil && directive != "checkcommand of external-perl" {
			w = fmt.Sprintf("%s: %q is not executable", directive, path)
		}
		for _, other := range warnings {
			if other == w {
				return
			}
		}
		if w != "" {
			warnings = append(warnings, w)
		}
	}
	look("callback", c.Global.Callback)
	for i := range c.Virtuals {
		v := &c.Virtuals[i]
		look("fallbackcommand", v.FallbackCommand)
		switch v.CheckType {
		case ldirectordcf.External:
			look("checkcommand", v.CheckCommand)
		case ldirectordcf.ExternalPerl:
			look("checkcommand of external-perl", v.CheckCommand)
		}
	}
	return warnings
}
