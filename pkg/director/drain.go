package director

// Server names a real server of a service.
type Server struct {
	Virtual string // "tcp:10.0.0.1:80", as [VirtualStatus.ID]
	Real    string // "10.0.0.2:80", as configured
}

// drain takes new connections from the servers of the list, which stay in the table without
// weight, and gives them back to all others.
func (d *Director) drain(servers []Server) {
	d.drained = serverSet(servers)
	if d.next != nil {
		d.next.Drained = servers
	}
	if d.stopping != "" {
		return
	}
	for _, v := range d.virtuals {
		for _, m := range v.members {
			if now := d.isDrained(m); now != m.drained {
				d.setDrained(m, now)
				if m.health == Up {
					d.restore(m)
				}
			}
		}
		d.balance(v)
	}
}

func serverSet(servers []Server) map[Server]bool {
	set := map[Server]bool{}
	for _, s := range servers {
		set[s] = true
	}
	return set
}

func (m *member) server() Server { return Server{m.v.id, m.name} }
