// Package applet holds the programs, one file each, and picks one by name. It is the only
// package that turns an argv into calls and errors into exit codes.
package applet

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
)

// Env is what a program gets from the process it runs in.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	Arg0           string   // the path by which the program was called
	names          []string // all names that the program answers to
}

// OS is the real process's Env.
func OS() Env {
	return Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv}
}

// version is the package's, which its build sets; the originals' programs have their own.
var version = "built from source"

const firstSteps = `A first try, which touches nothing:        systole demo
Your files, if you have a pair already:    systole check
Then, node by node:                        systole adopt --dry-run
The manual:                                systole help, or man systole
More about a command: COMMAND --help for the first six, which are new; man COMMAND for the others.`

// program is one program: its names as argv[0] may have them, and what it does. args excludes
// the name. run returns the exit status and parses its own arguments: the old programs with
// pkg/getopt, because urfave/cli has another grammar.
type program struct {
	name    string
	aliases []string
	summary string
	// usage is what --help alone prints, before the summary, for programs whose original takes that for a node, a
	// resource, or nothing: asking must not act.
	usage string
	run   func(env Env, args []string) int
}

// start runs the program, or tells how it is used.
func (p *program) start(env Env, args []string) int {
	if p.usage != "" && len(args) == 1 && args[0] == "--help" {
		fmt.Fprintf(env.Stdout, "Usage: %s\n\n%s\n", p.usage, p.summary)
		return exitOK
	}
	return p.run(env, args)
}

// Main runs the program that argv names and returns its exit status. When argv[0] is not a
// program's name (it is "systole" then), the first argument is.
func Main(argv []string, env Env) int {
	if len(argv) == 0 {
		argv = []string{"systole"}
	}
	env.Arg0, env.names = argv[0], programNames()
	// A daemon's argv[0] is a title: "heartbeat: master control process".
	name, _, _ := strings.Cut(filepath.Base(argv[0]), ":")
	if p := find(name); p != nil {
		return p.start(env, argv[1:])
	}
	status := 0
	app := &cli.App{
		Name:            "systole",
		Usage:           "heartbeat 3.0 and ldirectord, reimplemented",
		UsageText:       "systole COMMAND [ARGUMENT...]\n" + "COMMAND [ARGUMENT...]   where it is installed under its own name",
		Description:     firstSteps,
		Version:         version,
		Flags:           []cli.Flag{cli.HelpFlag, cli.VersionFlag}, // not by themselves: there is a command "help"
		HideHelpCommand: true,
		Writer:          env.Stdout,
		ErrWriter:       env.Stderr,
		ExitErrHandler:  func(*cli.Context, error) {},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				status = 2
				_, err := fmt.Fprintf(env.Stderr, "systole: %q is not a program of mine (systole --help lists them)\n", c.Args().First())
				return err
			}
			return cli.ShowAppHelp(c)
		},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			status = 2
			_, werr := fmt.Fprintf(env.Stderr, "systole: %v (systole --help lists what there is)\n", err)
			return werr
		},
	}
	for _, p := range programs() {
		app.Commands = append(app.Commands, &cli.Command{
			Name: p.name, Aliases: p.aliases, Usage: p.summary,
			SkipFlagParsing: true, HideHelp: true,
			Action: func(c *cli.Context) error {
				env.Arg0 = p.name
				status = p.start(env, c.Args().Slice())
				return nil
			},
		})
	}
	app.Commands = append(app.Commands, &cli.Command{
		Name: "programs", Usage: "list the programs' names, one a line", Hidden: true,
		Action: func(*cli.Context) error {
			for _, p := range programs() {
				for _, name := range append([]string{p.name}, p.aliases...) {
					if _, err := fmt.Fprintln(env.Stdout, name); err != nil {
						return err
					}
				}
			}
			return nil
		},
	})
	if err := app.Run(argv); err != nil && status == 0 {
		fmt.Fprintf(env.Stderr, "systole: %v\n", err)
		status = 1
	}
	return status
}

func find(name string) *program {
	for _, p := range programs() {
		if p.name == name {
			return &p
		}
		for _, a := range p.aliases {
			if a == name {
				return &p
			}
		}
	}
	return nil
}
