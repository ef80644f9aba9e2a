package applet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/systole-ha/systole/pkg/announce"
	"github.com/systole-ha/systole/pkg/halog"
)

var sendARPProgram = program{
	name:    "send_arp",
	summary: "announce an address by gratuitous ARP (for resource agents)",
	run:     runSendARP,
}

const sendARPUsage = `send_arp: sends out custom ARP packet.
  usage: send_arp [-i repeatinterval-ms] [-r repeatcount] [-p pidfile] \
              device src_ip_addr src_hw_addr broadcast_ip_addr netmask

  -r: how many pairs of packets, each a request and a reply (default 1): some
      systems take notice of the one only, some of the other
  -i: time from one pair to the next, in milliseconds (default 1000); request
      and reply are half of that apart
  -p: file for the process id; a send_arp that it names is ended first
  src_hw_addr: "auto" is the device's own address
  The last two are ignored.

`

func runSendARP(env Env, args []string) int {
	r, err := grammarOf("i:r:p:").Parse(args)
	if err != nil {
		fmt.Fprintf(env.Stderr, "%s: %v\n", env.Arg0, err)
	}
	if err != nil || len(r.Operands) != 5 {
		fmt.Fprint(env.Stderr, sendARPUsage)
		return exitFailed
	}
	log := clientLog(env, clientPaths(env), "send_arp", "user")
	defer log.Close()
	out := log.Logger("send_arp", os.Getpid())
	number := func(opt string, otherwise int) int {
		v, ok := r.Value(opt)
		n, err := strconv.Atoi(v)
		if !ok || err != nil || n < 0 {
			return otherwise
		}
		return n
	}
	plan := announce.Schedule{Frames: 2 * number("r", 1), Every: time.Duration(number("i", 1000)) * time.Millisecond / 2}
	device, address, hardware := r.Operands[0], r.Operands[1], r.Operands[2]
	// An alias (eth0:0) is a label of the device in front of the colon.
	device, _, _ = strings.Cut(device, ":")
	ip, err := netip.ParseAddr(address)
	if err != nil || !ip.Is4() {
		out.Logf(halog.Error, "Cannot resolve IP address [%s]", address)
		return exitFailed
	}
	if _, err := net.InterfaceByName(device); err != nil {
		out.Logf(halog.Error, "Cannot find mac address for %s", device)
		return exitFailed
	}
	hw, err := hardwareAddr(hardware)
	if err != nil {
		out.Logf(halog.Error, "bad hardware address [%s] (want auto, or twelve hexadecimal digits)", hardware)
		return exitFailed
	}
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer cancel()
	if file, ok := r.Value("p"); ok {
		if pid := runningAs(file, "send_arp"); pid != 0 {
			if unix.Kill(pid, unix.SIGKILL) == nil {
				out.Logf(halog.Info, "Killed old send_arp process [%d]", pid)
			}
		}
		if err := os.WriteFile(file, []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
			out.Logf(halog.Error, "%v", err)
			return exitFailed
		}
		defer func() {
			if ctx.Err() == nil { // who ends us removes it
				_ = os.Remove(file)
			}
		}()
	}
	if err := announce.Burst(ctx, device, ip, hw, plan); err != nil && !errors.Is(err, context.Canceled) {
		out.Logf(halog.Error, "%v", err)
		return exitFailed
	}
	return exitOK
}

// hardwareAddr reads twelve hexadecimal digits, with or without colons; nil is "auto".
func hardwareAddr(s string) (net.HardwareAddr, error) {
	if s == "auto" {
		return nil, nil
	}
	if len(s) == 12 {
		s = fmt.Sprintf("%s:%s:%s:%s:%s:%s", s[:2], s[2:4], s[4:6], s[6:8], s[8:10], s[10:])
	}
	hw, err := net.ParseMAC(s)
	if err == nil && len(hw) != 6 {
		err = fmt.Errorf("%d bytes", len(hw))
	}
	return hw, err
}
