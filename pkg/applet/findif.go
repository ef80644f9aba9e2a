package applet

import (
	"errors"
	"fmt"
	"strings"

	"github.com/systole-ha/systole/pkg/agent/ipaddr"
	"github.com/systole-ha/systole/pkg/netif"
)

var findifProgram = program{
	name:    "findif",
	summary: "where an address belongs: interface, netmask, broadcast address (for resource agents)",
	run:     runFindif,
}

func runFindif(env Env, args []string) int {
	usage := func(code int, why string) int {
		fmt.Fprintf(env.Stderr, "%s\nUsage: %s [-C]\nOptions:\n    -C: Output netmask as the number of bits rather than as 4 octets.\n"+
			"Environment variables:\nOCF_RESKEY_ip\t\t ip address (mandatory!)\nOCF_RESKEY_cidr_netmask netmask of interface\n"+
			"OCF_RESKEY_broadcast\t broadcast address for interface\nOCF_RESKEY_nic\t\t interface to assign to\n", why, env.Arg0)
		return code
	}
	bits := len(args) == 1 && args[0] == "-C"
	if len(args) > 0 && !bits {
		return usage(exitUsage, "")
	}
	ip, mask := env.Getenv("OCF_RESKEY_ip"), env.Getenv("OCF_RESKEY_cidr_netmask")
	if ip == "" {
		return usage(exitConfig, "ERROR: IP address parameter is mandatory.")
	}
	host, err := netif.Open()
	if err != nil {
		fmt.Fprintf(env.Stderr, "%s: %v\n", env.Arg0, err)
		return exitFailed
	}
	defer host.Close()
	p, err := ipaddr.Findif(host, ip, mask, env.Getenv("OCF_RESKEY_nic"), env.Getenv("OCF_RESKEY_broadcast"))
	var no *ipaddr.FindifError
	switch {
	case errors.As(err, &no) && no.Code == exitConfig:
		return usage(no.Code, no.Text)
	case err != nil:
		fmt.Fprintln(env.Stderr, err)
		return exitFailed
	}
	if strings.Contains(mask, ".") {
		fmt.Fprintf(env.Stderr, "Converted dotted-quad netmask to CIDR as: %d\n", p.Prefix.Bits())
	}
	netmask := fmt.Sprint(p.Prefix.Bits())
	if !bits {
		netmask = ipaddr.Quad(p.Prefix.Bits())
	}
	fmt.Fprintf(env.Stdout, "%s\tnetmask %s\tbroadcast %s\n", p.Link, netmask, p.Broadcast)
	return exitOK
}
