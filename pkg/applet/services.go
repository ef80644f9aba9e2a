package applet

import (
	"context"

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

// services makes the agents that run inside heartbeat, and what they work with.
func services(env Env, files *daemon.Files) func(*halog.Log) *daemon.Services {
	return func(log *halog.Log) *daemon.Services {
		s := &daemon.Services{
			Agents: map[string]agent.Agent{},
			Script: script.New(script.Options{Output: log.OpenDebug, Dir: daemon.WorkDir(daemon.DefaultPaths())}),
		}
		kind := env.Getenv(ipvsEnv)
		if kind == "" {
			kind = files.Systole.IPVS
		}
		table := &tables{kind: kind}

		s.Agents["ipvsadm"] = ipvsadmagent.New(ipvsadmagent.Options{OpenTable: table.open})

		ld := ldirectordagent.New(ldirectordagent.Options{
			Paths:     ldirectord.PathsUnder("/"),
			Load:      ldirectord.LoadOptions{Getenv: env.Getenv},
			OpenTable: table.open,
		})
		s.Agents["ldirectord"] = ld
		s.Run = append(s.Run, ld.Serve)
		s.Resume = func(ctx context.Context) error {
			return ld.Resume(ctx, "/etc/ha.d/resource.d/ldirectord", files.LdirectordNames(), log)
		}

		sync := syncdaemon.New(syncdaemon.Options{OpenTable: table.open, Iface: files.FirstInterface()})
		s.Agents[syncdaemon.Name] = sync
		s.Run = append(s.Run, func(ctx context.Context) {
			for _, args := range files.Arguments(syncdaemon.Name) {
				if err := sync.StandBy(ctx, args); err != nil {
					log.Logger("heartbeat", 0).Logf(halog.Error, "%v", err)
				}
			}
		})

		host, err := netif.Open()
		if err != nil {
			log.Logger("heartbeat", 0).Logf(halog.Error, "addresses: %v", err)
			return s
		}
		announcer := announce.New(announce.Options{})
		s.Run = append(s.Run, announcer.Run)
		addresses := ipaddr.New(ipaddr.Options{Host: host, Announcer: announcer, Dialect: log.Dialect()})
		for _, name := range []string{"IPaddr", "IPaddr2", "IPv6addr"} {
			s.Agents[name] = addresses
		}
		return s
	}
}
