package applet

// ipvsadmHelp is our own text; the grammar that it describes is that of ipvsadm 1.31.
const ipvsadmHelp = `
Usage:
  ipvsadm                                      list the table
  ipvsadm -L|-l|--list [SERVICE] [HOW]         list it, or one service, in some way
  ipvsadm -A|--add-service SERVICE [LIKE]      add a virtual service
  ipvsadm -E|--edit-service SERVICE [LIKE]     replace what a service is like
  ipvsadm -D|--delete-service SERVICE          delete it, with its real servers
  ipvsadm -a|--add-server SERVICE -r SERVER [VIA]      add a real server to it
  ipvsadm -e|--edit-server SERVICE -r SERVER [VIA]     replace what that is like
  ipvsadm -d|--delete-server SERVICE -r SERVER         delete it
  ipvsadm -C|--clear                           delete everything
  ipvsadm -Z|--zero [SERVICE]                  set counters to zero
  ipvsadm -S|--save [-n]                       write the table as commands
  ipvsadm -R|--restore                         carry out commands from standard input
  ipvsadm --set TCP TCPFIN UDP                 idle times in seconds; 0 leaves one as it is
  ipvsadm --start-daemon master|backup [SYNC]  synchronise connections with another director
  ipvsadm --stop-daemon master|backup
  ipvsadm -h|--help, -v|--version

SERVICE
  -t|--tcp-service, -u|--udp-service, --sctp-service ADDRESS:PORT
                            an IPv6 ADDRESS in brackets; port 0 is all ports, with -p only
  -f|--fwmark-service MARK  packets with this firewall mark, of IPv4; -6|--ipv6: of IPv6

LIKE
  -s|--scheduler NAME       rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh; default wlc
  -p|--persistent [SECONDS] a client stays with its real server; default 360
  -M|--netmask MASK         ... and so does its network: 255.255.255.0; IPv6: 64
  --pe sip                  ... or its call
  -o|--ops                  each packet for itself (UDP and marks)
  -b|--sched-flags FLAG,... flag-1 flag-2 flag-3; of sh: sh-fallback sh-port; of mh: mh-fallback mh-port

SERVER and VIA
  -r|--real-server ADDRESS[:PORT]   PORT counts with -m and with firewall marks
  -g|--gatewaying           direct routing (default)
  -i|--ipip                 through a tunnel
  -m|--masquerading         address translation
  -w|--weight N             default 1; 0 takes no new connections
  -x|--u-threshold N        no new connections above so many; 0 is no limit
  -y|--l-threshold N        ... until there are fewer than that again
  --tun-type ipip|gue|gre   with -i; default ipip
  --tun-port PORT           with gue
  --tun-nocsum, --tun-csum, --tun-remcsum   checksums of gue and gre (not the last)

HOW
  -n|--numeric              numbers, no names
  --stats, --rate           counters, or what they gained per second
  --exact                   ... however long
  --thresholds, --persistent-conn, --tun-info   other columns
  --nosort                  in the kernel's order
  -c|--connection           connections
  --timeout, --daemon       idle times, sync daemons

SYNC
  --mcast-interface NAME    default eth0
  --syncid N                0 to 255; both sides the same
  --sync-maxlen BYTES, --mcast-group ADDRESS, --mcast-port PORT, --mcast-ttl N
`
