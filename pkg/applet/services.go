package applet

import (
	"context"
	"maps"
	"os"

	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/agent/ipaddr"
	ipvsadmagent "github.com/systole-ha/systole/pkg/agent/ipvsadm"
	ldirectordagent "github.com/systole-ha/systole/pkg/agent/ldirectord"
	"github.com/systole-ha/systole/pkg/agent/script"
	"github.com/systole-ha/systole/pkg/agent/syncdaemon"
	"github.com/systole-ha/systole/pkg/announce"
	"github.com/systole-ha/systole/pkg/daemon"
	"github.com/systole-ha/systole/pkg/halog"
	"github.com/systole-ha/systole/pkg/ldirectord"
	"github.com/systole-ha/systole/pkg/netif"
)

// builtin are the agents that run inside heartbeat, by the names of their resources.
func builtin(ipvsadm, ldirectord, sync, addresses agent.Agent) map[string]agent.Agent {
	agents := map[string]agent.Agent{"ipvsadm": ipvsadm, "ldirectord": ldirectord, syncdaemon.Name: sync}
	for _, name := range ipaddr.Names {
		agents[name] = addresses
	}
	return agents
}

// services makes the agents that run inside heartbeat, and what they work with.
func services(env Env, files *daemon.Files) func(*halog.Log) *daemon.Services {
	return func(log *halog.Log) *daemon.Services {
		s := &daemon.Services{
			Script: script.New(script.Options{Output: log.OpenDebug, Dir: daemon.WorkDir(daemon.DefaultPaths(), files.HA.CoreRoot)}),
		}
		kind := env.Getenv(ipvsEnv)
		if kind == "" {
			kind = files.Systole.IPVS
		}
		table := &tables{kind: kind}
		surround := kind != "userspace" // a forwarder listens on the addresses

		o := ipvsadmOptions("", kind, table)
		o.Surround = surround
		rules := ipvsadmagent.New(o)
		ld := ldirectordagent.New(ldirectordagent.Options{
			Paths:     ldirectord.PathsUnder("/"),
			Load:      ldirectord.LoadOptions{Getenv: env.Getenv},
			OpenTable: table.open,
			Surround:  surround,
		})
		s.Run = append(s.Run, ld.Serve)
		s.Resume = func(ctx context.Context) {
			ld.Resume(ctx, "/etc/ha.d/resource.d/ldirectord", files.LdirectordNames(), log, func(err error) {
				log.Logger("heartbeat", os.Getpid()).Logf(halog.Error, "resume: %v", err)
			})
		}
		s.Resumable = ld.Resumable

		sync := syncdaemon.New(syncdaemon.Options{OpenTable: table.open, Iface: files.FirstInterface()})
		s.Connections = sync
		s.Run = append(s.Run, func(ctx context.Context) {
			for _, args := range files.Arguments(syncdaemon.Name) {
				if err := sync.StandBy(ctx, args); err != nil {
					log.Logger("heartbeat", 0).Logf(halog.Error, "%v", err)
				}
			}
		})

		if at := files.Systole.Metrics; at.IsValid() {
			s.Run = append(s.Run, metricsService(at, log.Logger("heartbeat", 0)))
		}

		host, err := netif.Open()
		if err != nil {
			log.Logger("heartbeat", 0).Logf(halog.Error, "addresses: %v", err)
			s.Agents = builtin(rules, ld, sync, nil)
			maps.DeleteFunc(s.Agents, func(_ string, a agent.Agent) bool { return a == nil })
			return s
		}
		announcer := announce.New(announce.Options{})
		s.Run = append(s.Run, announcer.Run)
		addresses := ipaddr.New(ipaddr.Options{Host: host, Announcer: announcer, Dialect: log.Dialect()})
		s.Guard = guard(addresses, files.Systole.AddressLost, log.Logger("heartbeat", 0))
		resume := s.Resume
		s.Resume = func(ctx context.Context) {
			for _, name := range []string{"IPaddr", "IPaddr2", "IPv6addr"} {
				for _, args := range files.Arguments(name) {
					addresses.Resume(append(args, "")[0])
				}
			}
			resume(ctx)
		}
		s.Agents = builtin(rules, ld, sync, addresses)
		return s
	}
}

// guard watches the addresses that are held, by the rule of systole.cf's addresslost.
func guard(addresses *ipaddr.Agent, rule string, log *halog.Logger) func(context.Context, func(string)) {
	return func(ctx context.Context, handOver func(why string)) {
		o := ipaddr.GuardOptions{Log: log.Log, OnlyLog: rule == "log"}
		if rule == "standby" {
			o.Lost = func() { handOver("an address is out of reach (addresslost standby)") }
		}
		addresses.Guard(ctx, o)
	}
}
