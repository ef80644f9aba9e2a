package compat

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/lab"
)

// Addresses of the host with the real services, and what they know.
var (
	goodServer  = netip.MustParseAddr("10.20.0.11")
	goodServer6 = netip.MustParseAddr("fd20::11")
)

const (
	serviceLogin    = "joe"
	servicePassword = "s3 cr\"et"
	serviceSecret   = "testing123"
	serviceName     = "www.systole.test"
)

// service is a real server of Debian's: files to be written, a shell script that prepares, and a
// program that stays in the foreground. Everything is below /tmp, which is the node's own.
type service struct {
	name    string
	files   map[string]string
	prepare string
	command string   // of the shell
	ready   []string // addresses that are connected to until they answer
	udp     bool     // it has no TCP port: ready when its log says so
}

var services = []service{
	{
		name: "nginx",
		files: map[string]string{
			"www/index.html": "<html>Test HA Page</html>\n",
			"www/big.html":   strings.Repeat("nothing to see here\n", 20000) + "Test HA Page\n",
			"conf": `daemon off; master_process off; pid /tmp/nginx/pid; error_log /tmp/nginx/error;
events {}
http {
	access_log off;
	client_body_temp_path /tmp/nginx/t; proxy_temp_path /tmp/nginx/t; fastcgi_temp_path /tmp/nginx/t; uwsgi_temp_path /tmp/nginx/t; scgi_temp_path /tmp/nginx/t;
	ssl_certificate /tmp/tls/cert; ssl_certificate_key /tmp/tls/key;
	root /tmp/nginx/www;
	server {
		listen 80; listen [::]:80; listen 443 ssl; listen [::]:443 ssl;
		location /moved { return 302 /index.html; }
		location /down { return 503; }
	}
	server { listen 8443 ssl default_server; listen [::]:8443 ssl default_server; ssl_reject_handshake on; }
	server { listen 8443 ssl; listen [::]:8443 ssl; server_name sni.systole.test; }
}`,
		},
		command: "exec nginx -c /tmp/nginx/conf",
		ready:   []string{"80", "443", "8443"},
	},
	{
		name: "tinyproxy",
		files: map[string]string{"conf": `Port 3128
Listen 10.20.0.11
Listen fd20::11
Timeout 30
MaxClients 200
LogFile "/tmp/tinyproxy/log"
`},
		command: "exec tinyproxy -d -c /tmp/tinyproxy/conf",
		ready:   []string{"3128"},
	},
	{
		name: "vsftpd",
		files: map[string]string{
			"root/index": "Test HA Page\nsecond line\n",
			"conf": `listen_ipv6=YES
background=NO
anonymous_enable=YES
local_enable=YES
anon_root=/tmp/vsftpd/root
local_root=/tmp/vsftpd/root
no_anon_password=NO
seccomp_sandbox=NO
secure_chroot_dir=/tmp/vsftpd/empty
pam_service_name=vsftpd-lab
`,
		},
		prepare: `mkdir /tmp/vsftpd/empty && useradd -M -d /tmp/vsftpd/root joe && echo 'joe:s3 cr"et' | chpasswd &&
printf 'auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_permit.so\n' >/etc/pam.d/vsftpd-lab`,
		command: "exec vsftpd /tmp/vsftpd/conf",
		ready:   []string{"21"},
	},
	{
		name: "exim",
		files: map[string]string{"conf": `exim_path = /usr/sbin/exim4
spool_directory = /tmp/exim/spool
log_file_path = /tmp/exim/logs/%s
primary_hostname = mail.systole.test
daemon_smtp_ports = 25 : 587
local_interfaces = <; 0.0.0.0 ; ::0
host_lookup =
rfc1413_hosts =
keep_environment =
smtp_accept_max = 0
begin acl
begin routers
begin transports
`},
		prepare: "mkdir /tmp/exim/spool /tmp/exim/logs && chown Debian-exim /tmp/exim/spool /tmp/exim/logs",
		command: "exec exim4 -C /tmp/exim/conf -bdf",
		ready:   []string{"25", "587"},
	},
	{
		name: "dovecot",
		files: map[string]string{"conf": `protocols = imap pop3
listen = *, ::
base_dir = /run/dovecot
log_path = /tmp/dovecot/log
ssl = yes
ssl_cert = </tmp/tls/cert
ssl_key = </tmp/tls/key
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0 secs
first_valid_uid = 1
mail_location = maildir:/tmp/dovecot/mail/%u
passdb {
	driver = passwd-file
	args = /tmp/dovecot/users
}
userdb {
	driver = static
	args = uid=8 gid=8 home=/tmp/dovecot/home/%u
}
service imap-login {
	process_min_avail = 2
	process_limit = 500
}
service pop3-login {
	process_min_avail = 2
	process_limit = 500
}
service anvil {
	# Otherwise wrong logins delay all later ones from the address, by 4 s here and up to 15 s.
	unix_listener anvil-auth-penalty {
		mode = 0
	}
}
`, "users": "joe:{PLAIN}s3 cr\"et\n"},
		prepare: "mkdir -p /run/dovecot /tmp/dovecot/mail /tmp/dovecot/home && chown 8:8 /tmp/dovecot/mail /tmp/dovecot/home && chmod 755 /tmp/dovecot",
		command: "exec dovecot -F -c /tmp/dovecot/conf",
		ready:   []string{"110", "143", "993", "995"},
	},
	{
		name: "slapd",
		files: map[string]string{"conf": `include /etc/ldap/schema/core.schema
pidfile /tmp/slapd/pid
TLSCertificateFile /tmp/tls/cert
TLSCertificateKeyFile /tmp/tls/key
database ldif
directory /tmp/slapd/db
suffix "dc=systole,dc=test"
rootdn "cn=joe,dc=systole,dc=test"
rootpw "s3 cr\"et"
`, "entries": `dn: dc=systole,dc=test
objectClass: dcObject
objectClass: organization
dc: systole
o: Systole

dn: ou=lab,dc=systole,dc=test
objectClass: organizationalUnit
ou: lab
`},
		prepare: "mkdir /tmp/slapd/db && slapadd -f /tmp/slapd/conf -l /tmp/slapd/entries",
		command: "exec slapd -d 0 -f /tmp/slapd/conf -h 'ldap:/// ldaps:///'",
		ready:   []string{"389", "636"},
	},
	{
		name: "bind",
		files: map[string]string{
			"conf": `options {
	directory "/tmp/bind"; pid-file none; session-keyfile none; listen-on { any; }; listen-on-v6 { any; }; recursion no; dnssec-validation no; managed-keys-directory "/tmp/bind";
};
controls {};
zone "systole.test" { type master; file "forward"; };
zone "0.20.10.in-addr.arpa" { type master; file "reverse"; };
zone "0.0.0.0.0.0.0.0.0.0.0.0.0.2.d.f.ip6.arpa" { type master; file "reverse6"; };
zone "." { type master; file "root"; };
`,
			"forward":  "$TTL 60\n@ SOA ns root 1 60 60 60 60\n@ NS ns\nns A 10.20.0.11\nwww A 10.20.0.80\nwww A 10.20.0.81\nonly6 AAAA fd20::80\nalias CNAME www\nbig A 10.20.9.1\n$GENERATE 1-90 big A 10.20.1.$\n",
			"reverse":  "$TTL 60\n@ SOA ns root 1 60 60 60 60\n@ NS ns.systole.test.\n80 PTR www.systole.test.\n",
			"reverse6": "$TTL 60\n@ SOA ns root 1 60 60 60 60\n@ NS ns.systole.test.\n0.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR www6.systole.test.\n",
			"root":     "$TTL 60\n@ SOA ns.systole.test. root.systole.test. 1 60 60 60 60\n@ NS ns.systole.test.\nns.systole.test. A 10.20.0.11\n",
		},
		command: "exec named -f -c /tmp/bind/conf",
		ready:   []string{"53"},
	},
	{
		name: "mariadb",
		files: map[string]string{"init": `CREATE DATABASE shop;
CREATE USER 'joe'@'%' IDENTIFIED BY 's3 cr"et';
GRANT ALL ON shop.* TO 'joe'@'%';
CREATE TABLE shop.t (x INT);
CREATE TABLE shop.full (x INT, y LONGBLOB);
INSERT INTO shop.full VALUES (1, REPEAT('x', 1000)), (2, ''), (3, REPEAT('y', 10000000));
`},
		prepare: "mariadb-install-db --no-defaults --user=root --datadir=/tmp/mariadb/db --auth-root-authentication-method=normal --skip-test-db --innodb-log-file-size=4M >/tmp/mariadb/log 2>&1",
		command: "exec mariadbd --no-defaults --user=root --datadir=/tmp/mariadb/db --socket=/tmp/mariadb/socket --bind-address=* --skip-name-resolve" +
			" --max-connect-errors=1000000 --innodb-buffer-pool-size=8M --innodb-log-file-size=4M --max-allowed-packet=64M --init-file=/tmp/mariadb/init --log-error=/tmp/mariadb/log",
		ready: []string{"3306"},
	},
	{
		name: "postgres",
		files: map[string]string{
			"hba": `local all all trust
host all md5 all md5
hostssl all tlsonly all scram-sha-256
hostnossl all plainonly all scram-sha-256
host all joe all scram-sha-256
`,
			"init": `CREATE ROLE joe LOGIN PASSWORD 's3 cr"et';
CREATE ROLE tlsonly LOGIN PASSWORD 's3 cr"et';
CREATE ROLE plainonly LOGIN PASSWORD 's3 cr"et';
SET password_encryption = md5;
CREATE ROLE md5 LOGIN PASSWORD 's3 cr"et';
CREATE TABLE empty (x INT);
CREATE TABLE filled AS SELECT g AS x, repeat('x', 100) AS y FROM generate_series(1, 50000) g;
GRANT ALL ON ALL TABLES IN SCHEMA public TO joe;
`,
		},
		prepare: `cp /tmp/tls/cert /tmp/tls/key /tmp/postgres/ && chown -R postgres /tmp/postgres && chmod 700 /tmp/postgres && chmod 600 /tmp/postgres/key &&
P=$(echo /usr/lib/postgresql/*/bin) && setpriv --reuid=postgres --regid=postgres --clear-groups $P/initdb -N -D /tmp/postgres/db -U postgres -E UTF8 --no-locale >/tmp/postgres/log &&
setpriv --reuid=postgres --regid=postgres --clear-groups $P/postgres --single -D /tmp/postgres/db postgres </tmp/postgres/init >>/tmp/postgres/log 2>&1`,
		command: `exec setpriv --reuid=postgres --regid=postgres --clear-groups /usr/lib/postgresql/*/bin/postgres -D /tmp/postgres/db -c listen_addresses='*' -c max_connections=200 ` +
			`-c unix_socket_directories= -c fsync=off -c shared_buffers=4MB -c ssl=on -c ssl_cert_file=/tmp/postgres/cert -c ssl_key_file=/tmp/postgres/key -c hba_file=/tmp/postgres/hba >>/tmp/postgres/log 2>&1`,
		ready: []string{"5432"},
	},
	{
		name: "freeradius",
		files: map[string]string{
			"dictionary": "$INCLUDE /usr/share/freeradius/dictionary\n",
			"users":      "joe Cleartext-Password := \"s3 cr\\\"et\"\n\tReply-Message = \"welcome\"\n",
			"radiusd.conf": `prefix = /usr
libdir = /usr/lib/freeradius
logdir = /tmp/freeradius
run_dir = /tmp/freeradius
hostname_lookups = no
log {
	destination = files
	file = /tmp/freeradius/log
}
security {
	allow_core_dumps = no
	max_attributes = 200
	reject_delay = 0
	status_server = yes
}
client four {
	ipaddr = 0.0.0.0/0
	secret = testing123
}
client six {
	ipv6addr = ::/0
	secret = testing123
}
thread pool {
	start_servers = 2
	max_servers = 4
	min_spare_servers = 1
	max_spare_servers = 2
	max_requests_per_server = 0
}
modules {
	files {
		filename = /tmp/freeradius/users
	}
	pap {
	}
}
server default {
	listen {
		type = auth
		ipaddr = *
		port = 1812
	}
	listen {
		type = auth
		ipv6addr = ::
		port = 1812
	}
	authorize {
		files
		pap
	}
	authenticate {
		Auth-Type PAP {
			pap
		}
	}
}
`,
		},
		command: "exec freeradius -f -d /tmp/freeradius",
		udp:     true,
	},
	{
		name: "leafnode",
		files: map[string]string{
			"conf": "server = news.systole.test\nexpire = 20\nallowSTRANGERS = 42\nhostname = node.systole-lab.org\n",
			"serve": `#!/bin/sh
for l in TCP4-LISTEN:119 TCP6-LISTEN:119,ipv6only=1; do
	socat $l,fork,reuseaddr,backlog=100 EXEC:/usr/sbin/leafnode,su=news &
done
wait
`,
		},
		prepare: "echo '10.20.0.11 node.systole-lab.org real' >>/etc/hosts && echo 'nameserver 127.0.0.1' >/etc/resolv.conf && cat /tmp/leafnode/conf >/etc/news/leafnode/config",
		command: "exec sh /tmp/leafnode/serve",
		ready:   []string{"119"},
	},
}

// servicePrograms are what the tests with real services need.
var servicePrograms = []string{
	"nginx", "tinyproxy", "vsftpd", "exim4", "dovecot", "slapd", "named", "mariadbd", "pg_lsclusters", "freeradius", "leafnode", "socat",
}

// farmland is three nodes: a director, the host of the servers that it checks, and the host of bad
// ones.
type farmland struct {
	t        *testing.T
	director *lab.Node
	real     *lab.Node
	bad      *lab.Node
	ca       []byte // PEM
}

// newFarmland starts every service and waits until all answer.
func newFarmland(t *testing.T) *farmland {
	t.Helper()
	lab.NeedPrograms(t, servicePrograms...)
	n := lab.Net(t)
	f := &farmland{t: t}
	node := func(name string, addrs ...netip.Addr) *lab.Node {
		var l lab.Link
		for _, a := range addrs {
			bits := 16
			if a.Is6() {
				bits = 64
			}
			l.Addrs = append(l.Addrs, netip.PrefixFrom(a, bits))
		}
		nd, err := n.AddNode(lab.NodeSpec{Name: name, Links: []lab.Link{l}})
		if err != nil {
			t.Fatal(err)
		}
		return nd
	}
	f.real = node("real", goodServer, goodServer6)
	f.bad = node("bad", badAddresses()...)
	for _, limit := range []string{"net.ipv4.icmp_ratelimit", "net.ipv6.icmp.ratelimit"} {
		if err := f.bad.Sysctl(limit, "0"); err != nil { // each refusal is to be told
			t.Fatal(err)
		}
	}
	f.director = node("director", netip.MustParseAddr("10.20.0.1"), netip.MustParseAddr("fd20::1"))
	f.certificates()
	began := time.Now()
	var starts sync.WaitGroup
	for _, s := range services {
		starts.Go(func() {
			begun := time.Now()
			if err := f.start(s); err != nil {
				t.Errorf("%s: %v", s.name, err)
			}
			t.Logf("%s answers after %v", s.name, time.Since(begun).Round(time.Millisecond))
		})
	}
	starts.Wait()
	f.serveSIP()
	t.Logf("all services answer after %v", time.Since(began).Round(time.Millisecond))
	if t.Failed() {
		t.FailNow()
	}
	return f
}

// certificates makes an authority and a certificate for the services.
func (f *farmland) certificates() {
	f.t.Helper()
	must := func(err error) {
		f.t.Helper()
		if err != nil {
			f.t.Fatal(err)
		}
	}
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(err)
		return k
	}
	now := time.Now()
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "systole lab"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(100 * 24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	server := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: serviceName}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(10 * 24 * time.Hour),
		DNSNames: []string{serviceName}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	authorityKey, serverKey := key(), key()
	root, err := x509.CreateCertificate(rand.Reader, authority, authority, authorityKey.Public(), authorityKey)
	must(err)
	leaf, err := x509.CreateCertificate(rand.Reader, server, authority, serverKey.Public(), authorityKey)
	must(err)
	private, err := x509.MarshalPKCS8PrivateKey(serverKey)
	must(err)
	f.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})
	must(f.real.WriteFile("/tmp/tls/cert", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}), 0o644))
	must(f.real.WriteFile("/tmp/tls/key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o644))
}

// start brings a service up and returns when it answers. It ends with the node.
func (f *farmland) start(s service) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for name, text := range s.files {
		if err := f.real.WriteFile("/tmp/"+s.name+"/"+name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if s.prepare != "" {
		if r, err := f.real.Exec(ctx, "sh", "-c", s.prepare); err != nil || r.Code != 0 {
			return fmt.Errorf("prepare: %v, exit status %d\n%s%s", err, r.Code, r.Stdout, r.Stderr)
		}
	}
	var out bytes.Buffer
	var mu sync.Mutex
	c := f.real.Command(context.Background(), "sh", "-c", s.command)
	c.Stdout = locked{&mu, &out}
	c.Stderr = c.Stdout
	if err := c.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }() // ends with the node at the latest
	for {
		ready := f.answers(ctx, s)
		select {
		case err := <-ended:
			mu.Lock()
			defer mu.Unlock()
			return fmt.Errorf("ended: %v\n%s", err, out.Bytes())
		default:
		}
		if ready {
			return nil
		}
		if ctx.Err() != nil {
			mu.Lock()
			defer mu.Unlock()
			return fmt.Errorf("does not answer\n%s", out.Bytes())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

type locked struct {
	mu *sync.Mutex
	*bytes.Buffer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(p)
}

// answers tells whether a service can be connected to at all its addresses.
func (f *farmland) answers(ctx context.Context, s service) bool {
	if s.udp {
		log, _ := f.real.ReadFile("/tmp/" + s.name + "/log") // there may be none yet
		return bytes.Contains(log, []byte("Ready to process requests"))
	}
	for _, port := range s.ready {
		for _, a := range []netip.Addr{goodServer, goodServer6} {
			c, err := f.director.Dial(ctx, "tcp", net.JoinHostPort(a.String(), port))
			if err != nil {
				return false
			}
			_ = c.Close()
		}
	}
	return true
}

// serveSIP is a SIP server, over TCP and UDP, that knows only joe. Debian has none that is small.
func (f *farmland) serveSIP() {
	f.t.Helper()
	answer := func(request string) string {
		status := "404 Not Found"
		if strings.HasPrefix(request, "OPTIONS sip:joe SIP/2.0\r\n") {
			status = "200 OK"
		}
		return "SIP/2.0 " + status + "\r\nCSeq: 63104 OPTIONS\r\nContent-Length: 0\r\n\r\n"
	}
	for _, a := range []netip.Addr{goodServer, goodServer6} {
		at := netip.AddrPortFrom(a, 5060).String()
		l, err := f.real.Listen("tcp", at)
		if err != nil {
			f.t.Fatal(err)
		}
		f.t.Cleanup(func() { _ = l.Close() })
		go acceptAll(l, func(c net.Conn, _ uint16) { // ends with the listener
			in := bufio.NewReader(c)
			var request strings.Builder
			for line := ""; line != "\r\n"; {
				var err error
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
				request.WriteString(line)
			}
			_, _ = c.Write([]byte(answer(request.String())))
		}, 0)
		c, err := f.real.ListenPacket("udp", at)
		if err != nil {
			f.t.Fatal(err)
		}
		f.t.Cleanup(func() { _ = c.Close() })
		go answerAll(c, func(request []byte, _ uint16) []byte { return []byte(answer(string(request))) }, 0)
	}
}
