package daemon

import (
	"context"

	"github.com/systole-ha/systole/pkg/cluster"
	"github.com/systole-ha/systole/pkg/halog"
)

// rereads rereads the files whenever that is asked for, until ctx ends. It may take time, for names in
// them: no other signal waits for it.
func (d *service) rereads(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.asked:
			d.reread(ctx)
		}
	}
}

// reread is what SIGHUP asks for. Files with errors change nothing: what is wrong with them is
// logged, and the running configuration stays. So it does when another ha.cf or systole.cf would restart the
// daemon in place and something that runs in it could not come back.
func (d *service) reread(ctx context.Context) {
	const refused = "Configuration not reread: the running one stays in force"
	fresh, problems := Load(d.Paths)
	if problems.Err() != nil {
		LogProblems(d.core, problems)
		d.core.Log(halog.Error, refused)
		return
	}
	// Both are compared with what this run was made from: a restart may still be waiting for its time.
	restart := fresh.kept.changed(d.Files.kept, haPath(d.Paths)) || fresh.kept.changed(d.Files.kept, systolePath(d.Paths))
	if restart && d.services.Resumable != nil {
		if err := d.services.Resumable(ctx); err != nil {
			d.core.Logf(halog.Error, "restart in place: %v", err)
			d.core.Log(halog.Error, refused)
			return
		}
	}
	d.links.use(fresh.Ring, fresh.Systole.ReplayWindow)
	in := cluster.Reread{ConfigChanged: restart, Regroup: d.lines.change(fresh.Groups, fresh.nodeNames())}
	if fresh.kept.changed(d.sound, keysPath(d.Paths)) {
		in.Ring = fresh.Ring
	}
	d.sound = fresh.kept
	d.loop.post(ctx, in)
}
