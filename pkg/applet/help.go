package applet

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/systole-ha/systole/pkg/layout"
	"github.com/systole-ha/systole/pkg/manual"
)

var helpProgram = program{
	name:    "help",
	summary: "the manual: the list of its topics, or one of them",
	run:     help,
}

func help(env Env, args []string) int {
	switch {
	case len(args) == 1 && args[0] == "--topics":
		for _, p := range manual.Pages() {
			fmt.Fprintln(env.Stdout, strings.Join(p.Names(), "\n"))
		}
		return exitSound
	case len(args) > 1:
		fmt.Fprintln(env.Stderr, "systole help: one topic at a time (systole help lists them)")
		return exitMisuse
	case len(args) == 0 || strings.HasPrefix(args[0], "-"):
		fmt.Fprint(env.Stdout, "systole help TOPIC shows a page of the manual; man shows the same.\n\n")
		for _, p := range manual.Pages() {
			fmt.Fprintf(env.Stdout, "  %-40s %s\n", strings.Join(p.Names(), ", "), p.Summary())
		}
		fmt.Fprint(env.Stdout, "\nsystole --help lists the programs.\n")
		return exitSound
	}
	page, ok := manual.Find(args[0])
	if !ok {
		fmt.Fprintf(env.Stderr, "systole help: no page about %q (systole help lists them)\n", args[0])
		return exitErrors
	}
	f, file := env.Stdout.(*os.File)
	fmt.Fprint(env.Stdout, page.Text(file && term.IsTerminal(int(f.Fd()))))
	return exitSound
}

// manualPages are the pages to install, with one for each name that a page is about, if that is a file or a program of ours.
func manualPages(programs []string) []layout.Page {
	var list []layout.Page
	for _, p := range manual.Pages() {
		for i, name := range p.Names() {
			if p.Section != "5" && name != "systole" && !slices.Contains(programs, name) {
				continue
			}
			text := p.Roff()
			if i > 0 {
				text = fmt.Appendf(nil, ".so man%[2]s/%[1]s.%[2]s\n", p.Name, p.Section)
			}
			list = append(list, layout.Page{Name: name + "." + p.Section, Text: text})
		}
	}
	return list
}
