package applet

import (
	"fmt"
	"os"
	"strings"

	"github.com/systole-ha/systole/pkg/getopt"
	"github.com/systole-ha/systole/pkg/layout"
)

var installProgram = program{
	name:    "install",
	summary: "put this program, its names, scripts, units and manual pages where heartbeat's and ldirectord's are",
	run:     install,
}

const installUsage = `Usage: systole install [--destdir DIR] [--layout debian|rhel] [--ipvsadm] [--dry-run]

Puts the program at /usr/sbin/systole, its names where heartbeat and ldirectord have theirs, and scripts, units, samples
and manual pages beside them. Files of /etc that are there already are left as they are. What belongs to the originals is
not touched: with any of it in the way nothing is done (see: systole adopt).

  --destdir DIR   install below DIR, for a package
  --layout NAME   debian or rhel; by default that of DIR or of this machine
  --ipvsadm       the names of ipvsadm, too
  --dry-run       list what would be done

Exit status: 0 done, 1 failed or refused, 2 usage.
`

var installGrammar = getopt.Grammar{Opts: []getopt.Opt{
	{Long: "destdir", Value: getopt.Required},
	{Long: "layout", Value: getopt.Required},
	{Long: "ipvsadm"},
	{Long: "dry-run", Short: 'n'},
	{Long: "help", Short: 'h'},
}}

func install(env Env, args []string) int {
	r, err := installGrammar.Parse(args)
	switch {
	case err != nil:
		fmt.Fprintf(env.Stderr, "systole install: %v (systole install --help)\n", err)
		return exitMisuse
	case r.Has("help"):
		fmt.Fprint(env.Stdout, installUsage)
		return exitSound
	case len(r.Operands) > 0:
		fmt.Fprint(env.Stderr, installUsage)
		return exitMisuse
	}
	dest, _ := r.Value("destdir")
	dest = strings.TrimRight(dest, "/")
	l := layout.Detect(os.DirFS(dest + "/"))
	if name, ok := r.Value("layout"); ok {
		if l, err = layout.ByName(name); err != nil {
			fmt.Fprintf(env.Stderr, "systole install: %v\n", err)
			return exitMisuse
		}
	}
	steps, err := layout.Plan(dest, l.Files(layout.Options{Programs: env.names, IPVSAdm: r.Has("ipvsadm"), Manual: manualPages(env.names)}))
	if err != nil {
		fmt.Fprintf(env.Stderr, "systole install: %v\n", err)
		return exitErrors
	}
	if r.Has("dry-run") {
		for _, s := range steps {
			fmt.Fprintf(env.Stdout, "%-9s%s\n", s.What, dest+s.Path)
		}
		return exitSound
	}
	return carryOut(env, dest, steps)
}

func carryOut(env Env, dest string, steps []layout.Step) int {
	foreign := 0
	for _, s := range steps {
		if s.What == layout.Foreign {
			fmt.Fprintf(env.Stderr, "systole install: %s is there and not ours\n", dest+s.Path)
			foreign++
		}
	}
	if foreign > 0 {
		fmt.Fprintln(env.Stderr, "systole install: nothing was done. To take the originals' place, and be able to go back: systole adopt")
		return exitErrors
	}
	self, err := os.Executable()
	if err == nil {
		err = layout.Install(dest, self, steps)
	}
	if err != nil {
		fmt.Fprintf(env.Stderr, "systole install: %v\n", err)
		return exitErrors
	}
	for _, s := range steps {
		if s.What == layout.Kept {
			fmt.Fprintf(env.Stdout, "left as it is: %s\n", dest+s.Path)
		}
	}
	return exitSound
}

// programNames are all names that this program answers to.
func programNames() []string {
	var names []string
	for _, p := range programs() {
		names = append(names, append([]string{p.name}, p.aliases...)...)
	}
	return names
}
