package applet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/api/frame"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/hamsg"
)

var outdaterProgram = program{
	name:    "drbd-peer-outdater",
	summary: "DRBD's fence-peer handler: have the peer outdate a resource",
	run:     runOutdater,
}

// outdaterLimit is how long dopd's answer is waited for.
const outdaterLimit = 60

func runOutdater(env Env, args []string) int {
	name := filepath.Base(env.Arg0)
	usage := fmt.Sprintf("usage: %s -r <string> -p <string> [-t <int>]\n\t-p <string>\tdrbd peer\n\t-r <string>\tdrbd resource\n"+
		"\t-t <int>\ttimeout in seconds; default: %d\n\n"+
		"Where -p or -r is not given, $DRBD_PEER or $DRBD_RESOURCE is taken: DRBD sets them for\n"+
		"its fence-peer handler. Exit status: 3 the peer's disk was inconsistent, 4 it is outdated,\n"+
		"5 the peer cannot be reached, 6 it is primary, 20 something else went wrong.\n", name, outdaterLimit)
	r, err := grammarOf("hVt:p:r:").Parse(args)
	if err != nil {
		fmt.Fprintf(env.Stderr, "%s: %v\n", env.Arg0, err)
	}
	if r.Has("h") {
		fmt.Fprint(env.Stdout, usage)
		return 0
	}
	value := func(opt, variable string) string {
		if v, ok := r.Value(opt); ok {
			return v
		}
		return env.Getenv(variable)
	}
	peer, res := strings.ToLower(value("p", "DRBD_PEER")), value("r", "DRBD_RESOURCE")
	limit := outdaterLimit
	if v, ok := r.Value("t"); ok {
		limit, _ = strconv.Atoi(v) // no number is 0
	}
	if err != nil || peer == "" || res == "" {
		fmt.Fprint(env.Stderr, usage)
		return 1
	}
	paths := clientPaths(env)
	log := clientLog(env, paths, name, "daemon")
	defer log.Close()
	code, err := outdatePeer(filepath.Join(filepath.Dir(paths.Socket), dopSocket), peer, res, time.Duration(limit)*time.Second)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		log.Logger(name, os.Getpid()).Logf(halog.Warn, "error: could not connect to dopd after %d seconds: timeout reached", limit)
	case err != nil:
		log.Logger(name, os.Getpid()).Logf(halog.Warn, "%v", err)
	}
	return code
}

// outdatePeer asks dopd and returns the exit status.
func outdatePeer(socket, peer, res string, limit time.Duration) (int, error) {
	deadline := time.Now().Add(limit)
	unreachable, _ := strconv.Atoi(dopUnreachable)
	d := net.Dialer{Deadline: deadline}
	c, err := d.Dial("unix", socket)
	if err != nil {
		return unreachable, fmt.Errorf("could not connect to outdater channel: %w", err)
	}
	defer c.Close()
	if err := writeMessage(c, hamsg.New(dopAsk).Add(hamsg.FOrig, "drbd-peer-outdater").Add(dopPeer, peer).Add(dopResource, res)); err != nil {
		return unreachable, fmt.Errorf("could not send message: %w", err)
	}
	if err := c.SetReadDeadline(deadline); err != nil {
		return unreachable, err
	}
	for {
		body, err := frame.Read(c)
		if err != nil {
			return unreachable, fmt.Errorf("no answer from dopd: %w", err)
		}
		p, err := hamsg.Decode(body)
		if err != nil || p.Type() != dopAnswer {
			continue
		}
		n, err := strconv.Atoi(p.Get(dopValue))
		if err != nil {
			bad, _ := strconv.Atoi(dopError)
			return bad, fmt.Errorf("dopd answers %q", p.Get(dopValue))
		}
		return n, nil
	}
}
