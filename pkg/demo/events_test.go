package demo

import "testing"

func TestTelling(t *testing.T) {
	for line, want := range map[string]string{
		"Nov 22 13:14:43 ha-slave heartbeat: [111]: WARN: node ha-master: is dead":                                                    "heartbeat: WARN: node ha-master: is dead",
		"ResourceManager(default)[209]:\t2018/12/25_13:14:43 info: Acquiring resource group: ha-master IPaddr::172.16.60.111 ipvsadm": "ResourceManager: info: Acquiring resource group: ha-master IPaddr::172.16.60.111 ipvsadm",
		"2026/11/22_13:14:43  ResourceManager(default)[209]:    info: Running /etc/init.d/ipvsadm  start":                             "ResourceManager: info: Running /etc/init.d/ipvsadm  start",
		"[Sun Nov 22 13:00:11 2026|ldirectord|42] Deleted real server: 172.16.60.204:80 (172.16.60.111:80)":                           "ldirectord: Deleted real server: 172.16.60.204:80 (172.16.60.111:80)",
		"Nov 22 13:14:18 ha-slave heartbeat: [111]: info: Link ha-slave:eth0 up.":                                                     "",
		"2026/11/22_13:14:43  /usr/lib/ocf/resource.d//heartbeat/IPaddr(IPaddr_172.16.60.111)[236]:    INFO:  Resource is stopped":    "",
		"Nov 22 13:14:18 ha-slave heartbeat: [111]: info: Status update for node group1: status ping":                                 "",
		"Nov 22 13:14:18 ha-slave heartbeat: [111]: info: Status update for node ha-master: status active":                            "heartbeat: info: Status update for node ha-master: status active",
		"not a line of a log": "",
	} {
		got, ok := telling(line)
		if !ok {
			got = ""
		}
		if got != want {
			t.Errorf("%s\ntold as %q, want %q", line, got, want)
		}
	}
}
