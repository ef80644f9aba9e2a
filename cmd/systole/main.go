// Command systole is every program of the project: argv[0] picks one (heartbeat, ldirectord,
// ipvsadm, ...), and "systole PROGRAM args" is the same.
package main

import (
	"os"

	"github.com/systole-ha/systole/pkg/applet"
)

func main() { os.Exit(applet.Main(os.Args, applet.OS())) }
