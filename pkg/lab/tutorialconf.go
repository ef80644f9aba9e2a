package lab

import (
	_ "embed" // the stand-in
	"io/fs"
	"strings"
)

// standinIPVSAdm is an ipvsadm for originals on a kernel without ip_vs.
//
//go:embed standin-ipvsadm
var standinIPVSAdm string

// TutorialConfig returns the tutorial's configuration of a director, path → text: the same on both
// but for the peer's address in ha.cf.
func TutorialConfig(master bool) map[string]string {
	peer := slaveAddr
	if !master {
		peer = masterAddr
	}
	return map[string]string{
		"/etc/hosts":              "127.0.0.1 localhost\n172.16.60.206 ha-master\n172.16.60.207 ha-slave\n",
		"/etc/hostname":           map[bool]string{true: "ha-master\n", false: "ha-slave\n"}[master],
		"/etc/ha.d/ha.cf":         strings.ReplaceAll(tutorialHaCf, "PEER", peer.String()),
		"/etc/ha.d/authkeys":      "auth 3\n#1 crc\n#2 sha1 HI!\n3 md5 Hello!\n",
		"/etc/ha.d/haresources":   "ha-master IPaddr::172.16.60.111 ipvsadm ldirectord\n",
		"/etc/ha.d/ldirectord.cf": tutorialLdirectordCf,
		"/etc/ipvsadm.rules":      tutorialRules,
		"/etc/default/ipvsadm":    "AUTO=\"true\"\nDAEMON=\"none\"\nIFACE=\"eth0\"\n",
	}
}

// ConfigMode is the mode that a configuration file has to have.
func ConfigMode(path string) fs.FileMode {
	switch {
	case strings.HasSuffix(path, "/authkeys"):
		return 0o600
	case strings.HasPrefix(path, "/etc/init.d/"), strings.HasPrefix(path, "/etc/ha.d/resource.d/"):
		return 0o755
	}
	return 0o644
}

const tutorialHaCf = `debugfile /var/log/ha-debug
logfile /var/log/ha-log
#crm yes
logfacility local0
keepalive 2
deadtime 5
warntime 3
initdead 10
udpport 694
bcast eth0
ucast eth0 PEER
auto_failback on
#stonith_host * baytech 10.0.0.3 mylogin mysecretpassword
#watchdog /dev/watchdog
node ha-master
node ha-slave
#ping 172.16.60.207
ping_group group1 172.16.60.204 172.16.60.205
respawn root /usr/lib64/heartbeat/ipfail
apiauth ipfail gid=root uid=root
`

const tutorialLdirectordCf = `checktimeout=3
checkinterval=1
autoreload=yes
logfile="/var/log/ldirectord.log"
quiescent=no
virtual=172.16.60.111:80
	real=172.16.60.204:80 gate
	real=172.16.60.205:80 gate
	fallback=127.0.0.1:80 gate
	service=http
	scheduler=wlc
	persistent=600
	protocol=tcp
	checktype=negotiate
	checkport=80
	request="lvs_testpage.html"
	receive="Test HA Page"
`

const tutorialRules = `-A -t 172.16.60.111:80 -s wlc -p 600
-a -t 172.16.60.111:80 -r 172.16.60.204:80 -g
-a -t 172.16.60.111:80 -r 172.16.60.205:80 -g
`
