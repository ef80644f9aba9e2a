package ipvsadm

import (
	"github.com/systole-ha/systole/pkg/agent"
	"github.com/systole-ha/systole/pkg/ipvs"
)

// source is the init script that "make install" of ipvsadm installs. Whatever it does succeeds.
func (r *run) source(op agent.Op) int {
	file := sourceRules(r.o.Root)
	switch op {
	case agent.Start, Restart, Reload, ReloadForce:
		ok := r.load(file, op != agent.Start).clean
		r.print("Clearing the current IPVS table:%s", outcome(ok))
		r.print("Applying IPVS configuration: %s", outcome(ok))
	case agent.Stop, Panic:
		r.print("Clearing the current IPVS table:%s", outcome(r.clear()))
	case agent.Status:
		text, _ := r.list(ipvs.Format{}, ipvs.Names{})
		r.output.WriteString(text)
	case Save:
		r.print("Saving IPVS table to %s: %s", file, outcome(r.save(file, "")))
	default:
		return noSuchOperation
	}
	return 0
}

func outcome(ok bool) string {
	if ok {
		return " [  OK  ]"
	}
	return " [FAILED]"
}
