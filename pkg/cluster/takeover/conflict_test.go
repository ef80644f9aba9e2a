package takeover

import (
	"testing"

	"github.com/systole-ha/systole/pkg/hamsg"
)

// TestBuried: in legacy mode an original that says that it has declared us dead holds what we hold. If it
// does not give in we restart; if it does, and leaves, what both had is ours alone.
func TestBuried(t *testing.T) {
	const both = "ERROR Both machines own our resources!"
	for name, c := range map[string]struct {
		then func(*recorder)
		want string
	}{
		"stays":   {func(*recorder) {}, both + "\nERROR Both machines still own our resources. Restarting.\n* restart"},
		"answers": {func(r *recorder) { r.m.Heard() }, both},
		"leaves": {
			func(r *recorder) { r.hear("peer", hamsg.New(hamsg.TShutDone)) },
			both + "\nReceived shutdown notice from 'peer'.\nResources being acquired from peer.\n* notify dead peer\n* request ours",
		},
	} {
		r := newRecorder(Legacy)
		r.m.CommUp(true, false)
		r.take()
		r.m.Buried()
		c.then(r)
		r.pass(conflictWait)
		if got := r.take(); got != c.want {
			t.Errorf("%s: says\n%s\nwant\n%s", name, got, c.want)
		}
	}
}
