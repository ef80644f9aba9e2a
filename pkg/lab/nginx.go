package lab

import (
	"fmt"
	"path"
	"strings"
	"time"
)

// nginxConf runs nginx as the tutorial's hosts do: one master, one worker, port 80.
const nginxConf = `user %s;
worker_processes 1;
pid /run/nginx.pid;
error_log /var/log/nginx-error.log;
events { worker_connections 512; }
http {
	default_type text/html;
	access_log off;
	client_body_temp_path /tmp/nginx-body;
	proxy_temp_path /tmp/nginx-proxy;
	fastcgi_temp_path /tmp/nginx-fastcgi;
	uwsgi_temp_path /tmp/nginx-uwsgi;
	scgi_temp_path /tmp/nginx-scgi;
	server {
%s		root /var/lib/lab-www;
	}
}
`

func (w *WebHost) startNginx() error {
	for page, text := range w.pages {
		if strings.HasSuffix(page, "/") {
			page += "index.html"
		}
		if err := w.WriteFile(path.Join("/var/lib/lab-www", page), []byte(text), 0o644); err != nil {
			return err
		}
	}
	listen := "\t\tlisten 80;\n"
	if len(w.only) > 0 {
		listen = ""
		for _, a := range w.only {
			listen += fmt.Sprintf("\t\tlisten %s:80;\n", a)
		}
	}
	user := "www-data"
	if inUserNamespace() {
		user = "root" // there is no other
	}
	if err := w.WriteFile("/etc/lab-nginx.conf", fmt.Appendf(nil, nginxConf, user, listen), 0o644); err != nil {
		return err
	}
	return w.nginxDo()
}

// stopNginx returns when the port is free.
func (w *WebHost) stopNginx() error {
	if err := w.nginxDo("-s", "stop"); err != nil {
		return err
	}
	for range 500 {
		procs, err := w.Processes()
		if err != nil {
			return err
		}
		running := false
		for _, p := range procs {
			running = running || strings.HasPrefix(p.Args, "nginx:")
		}
		if !running {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("lab: nginx of %s does not stop", w.Name())
}

func (w *WebHost) nginxDo(arg ...string) error {
	r, err := w.Exec(w.net.ctx, "nginx", append([]string{"-c", "/etc/lab-nginx.conf"}, arg...)...)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("lab: nginx of %s: exit status %d: %s", w.Name(), r.Code, r.Stderr)
	}
	return err
}
