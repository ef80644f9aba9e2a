package ldirectordcf

// services is the services of service= in the order of the original's message, each with the
// port that stands for it: a virtual of that port has that service, a check of that service
// goes to that port, unless the file says otherwise.
var services = []struct {
	name string
	port uint16
}{
	{"dns", 53},
	{"ftp", 21},
	{"http", 80},
	{"https", 443},
	{"http_proxy", 3128},
	{"imap", 143},
	{"imaps", 993},
	{"ldap", 389},
	{"ldaps", 636},
	{"mysql", 3306},
	{"nntp", 119},
	{"none", 0},
	{"oracle", 1521},
	{"pop", 110},
	{"pops", 995},
	{"radius", 1812},
	{"pgsql", 5432},
	{"simpletcp", 0},
	{"sip", 5060},
	{"smtp", 25},
	{"submission", 587},
}

func serviceNames() []string {
	names := make([]string, len(services))
	for i, s := range services {
		names[i] = s.name
	}
	return names
}

func isService(name string) bool {
	for _, s := range services {
		if s.name == name {
			return true
		}
	}
	return false
}

// serviceOf is the service that a virtual's port stands for; "none" for all others, 8080 among them.
func serviceOf(port uint16) string {
	for _, s := range services {
		if s.port == port && port != 0 {
			return s.name
		}
	}
	return "none"
}

// portOf is the port of a service; 0 if it has none.
func portOf(service string) uint16 {
	for _, s := range services {
		if s.name == service {
			return s.port
		}
	}
	return 0
}

// matchesReceive tells the services whose check looks for receive=.
func matchesReceive(service string) bool {
	switch service {
	case "http", "https", "http_proxy", "ftp", "dns", "ldap", "ldaps", "simpletcp":
		return true
	}
	return false
}

// isHTTP tells the services that ask for a URL.
func isHTTP(service string) bool {
	return service == "http" || service == "https" || service == "http_proxy"
}
