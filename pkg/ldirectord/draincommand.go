package ldirectord

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/systole-ha/systole/pkg/director"
	"github.com/systole-ha/systole/pkg/getopt"
)

// exitTimeout is drain --wait's when the time is over and the servers are not drained.
const exitTimeout = 4

// How often drain --wait looks, and tells.
const (
	drainLook = 500 * time.Millisecond
	drainTell = 5 * time.Second
)

var drainOptions = getopt.Grammar{
	Opts: []getopt.Opt{
		{Long: "wait"}, {Long: "timeout", Value: getopt.Required}, {Long: "virtual", Value: getopt.Required},
	},
}

// drainCall is what follows the word drain or undrain.
type drainCall struct {
	DrainRequest
	wait    bool
	timeout time.Duration // 0 is none
}

// errUsage is a call that cannot be understood.
type errUsage struct{ text string }

func (e errUsage) Error() string { return e.text }

func parseDrain(ctx context.Context, call Call, resolver *net.Resolver) (d drainCall, err error) {
	bad := func(format string, args ...any) (drainCall, error) {
		return d, errUsage{call.Action + ": " + fmt.Sprintf(format, args...)}
	}
	o, err := drainOptions.Parse(call.Args)
	if err != nil {
		return bad("%v", err)
	}
	if len(o.Operands) != 1 {
		return bad("%d real servers (want one: host or host:port)", len(o.Operands))
	}
	d.Undrain = call.Action == "undrain"
	d.wait = o.Has("wait")
	d.Virtual, _ = o.Value("virtual")
	if text, ok := o.Value("timeout"); ok {
		if d.timeout, err = parseSeconds(text); err != nil {
			return bad("bad --timeout %q (want seconds, or a number with s, m or h)", text)
		}
		if !d.wait {
			return bad("--timeout without --wait")
		}
	}
	if d.Undrain && d.wait {
		return bad("there is nothing to --wait for")
	}
	host := o.Operands[0]
	if name, port, err := net.SplitHostPort(host); err == nil {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return bad("bad port %q", port)
		}
		host, d.Port = name, uint16(n)
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if addr, err := netip.ParseAddr(host); err == nil {
		d.Addrs = []netip.Addr{addr}
		return d, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	addrs, err := resolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return d, fmt.Errorf("%s: %w", call.Action, err)
	}
	for _, a := range addrs {
		d.Addrs = append(d.Addrs, a.Unmap())
	}
	return d, nil
}

// parseSeconds reads "90", "90s", "1m30s".
func parseSeconds(text string) (time.Duration, error) {
	if n, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && d <= 0 {
		err = errors.New("not positive")
	}
	return d, err
}

// drain carries out "drain" and "undrain". noConfig is why there is no configuration, or nil: what runs goes
// on without it.
func (c *Command) drain(ctx context.Context, call Call, in Instance, noConfig error) int {
	d, err := parseDrain(ctx, call, c.Load.Resolver)
	if usage := (errUsage{}); errors.As(err, &usage) {
		fmt.Fprintln(c.Stderr, err)
		return ExitUsage
	}
	if err != nil {
		return c.failed(err)
	}
	pid, _ := in.Running()
	if pid == 0 && noConfig != nil {
		return c.failed(noConfig)
	}
	if pid == 0 {
		return c.failed(fmt.Errorf("%s: ldirectord is stopped for %s", call.Action, in.Config))
	}
	answer, err := in.Drain(d.DrainRequest)
	if err != nil {
		return c.failed(fmt.Errorf("%s: %w", call.Action, err))
	}
	for _, w := range answer.Warnings {
		fmt.Fprintln(c.Stderr, call.Action+": "+w)
	}
	word := map[bool]string{false: "draining", true: "no longer drained:"}[d.Undrain]
	for _, s := range answer.Servers {
		fmt.Fprintf(c.Stdout, "%s %s (%s)\n", word, s.Real, s.Virtual)
	}
	if !d.wait {
		return exitOK
	}
	return c.waitDrained(ctx, d, in, answer.Servers)
}

// waitDrained waits until the servers have no active connections.
func (c *Command) waitDrained(ctx context.Context, d drainCall, in Instance, servers []director.Server) int {
	if d.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.timeout)
		defer cancel()
	}
	var told time.Time
	for {
		r, err := in.Report(true)
		if err != nil {
			return c.failed(fmt.Errorf("drain: %w", err))
		}
		text := waitsFor(r, servers)
		if text == "" {
			fmt.Fprintln(c.Stdout, "drained")
			return exitOK
		}
		if time.Since(told) >= drainTell {
			told = time.Now()
			fmt.Fprintln(c.Stderr, text)
		}
		select {
		case <-time.After(drainLook):
		case <-ctx.Done():
			fmt.Fprintf(c.Stderr, "drain: not done within %v: %s\n", d.timeout, text)
			return exitTimeout
		}
	}
}

// waitsFor says why the servers are not drained, or not known to be; empty if they are.
func waitsFor(r Report, servers []director.Server) string {
	if r.Unread != "" {
		return "the table cannot be read: " + r.Unread
	}
	busy, left := "", uint32(0)
	for _, v := range r.Virtuals {
		for _, real := range v.Reals {
			switch {
			case !slices.Contains(servers, director.Server{Virtual: v.ID, Real: real.Addr}):
			case v.Error != "":
				return "the table refuses: " + v.Error
			case real.Active > 0:
				busy += fmt.Sprintf(", %s (%s) %d", real.Addr, v.ID, real.Active)
				left += real.Active
			}
		}
	}
	if left == 0 {
		return ""
	}
	return fmt.Sprintf("%d active connections: %s", left, strings.TrimPrefix(busy, ", "))
}
