package ldirectordcf

// connectOnly is what stands in for a service without a checker.
const connectOnly = "checked by connecting, a udp service by a ping"

// pending is every directive, or value of one, that is understood and kept in the Config but
// does nothing yet, with what happens instead. When an effect is built its row goes; when the
// table is empty the table and Config.Pending go.
var pending = map[string]string{
	"service=dns":    connectOnly,
	"service=ldap":   connectOnly,
	"service=ldaps":  connectOnly,
	"service=mysql":  connectOnly,
	"service=oracle": connectOnly,
	"service=pgsql":  connectOnly,
	"service=radius": connectOnly,
}
