package applet

import (
	"fmt"
	"strings"
)

// The programs of this file change the cluster's list of nodes while it runs. All nodes follow;
// ha.cf is not written.

var addNodeProgram = program{
	name:    "hb_addnode",
	summary: "add nodes to the running cluster",
	run: func(env Env, args []string) int {
		return nodeList(env, "hb_addnode", "addnode", args)
	},
}

var delNodeProgram = program{
	name:    "hb_delnode",
	summary: "remove dead nodes from the running cluster",
	run: func(env Env, args []string) int {
		return nodeList(env, "hb_delnode", "delnode", args)
	},
}

var setWeightProgram = program{
	name:    "hb_setweight",
	summary: "set a node's weight, for clients that ask for it",
	run: func(env Env, args []string) int {
		return nodeValue(env, "hb_setweight", "setweight", "weight", 2, args)
	},
}

var setSiteProgram = program{
	name:    "hb_setsite",
	summary: "set a node's site, for clients that ask for it",
	run: func(env Env, args []string) int {
		return nodeValue(env, "hb_setsite", "setsite", "site", 1, args) // without a site there is none
	},
}

func nodeList(env Env, name, kind string, args []string) int {
	if len(args) == 0 || args[0] == "--help" {
		fmt.Fprintf(env.Stdout, "usage: %s <node> <node> ...\n", name)
		return exitFailed
	}
	return clusterMessage(env, name, "t="+kind, "nodelist="+strings.Join(args, " "))
}

func nodeValue(env Env, name, kind, value string, least int, args []string) int {
	if len(args) < least || len(args) > 2 || args[0] == "--help" {
		fmt.Fprintf(env.Stdout, "usage: %s <node> <%s>\n", name, value)
		return exitFailed
	}
	return clusterMessage(env, name, "t="+kind, "node="+args[0], value+"="+word(args, 1))
}

// clusterMessage has the daemon send a message.
func clusterMessage(env Env, name string, fields ...string) int {
	for _, f := range fields {
		if strings.ContainsAny(f, "\n\x00") {
			fmt.Fprintf(env.Stderr, "%s: %q: a name has no line end\n", name, f)
			return exitFailed
		}
	}
	text := ">>>\n" + strings.Join(fields, "\n") + "\n<<<\n"
	return withScripts(env, name, func(s *scripts) int { return s.say([][]byte{[]byte(text)}) })
}
