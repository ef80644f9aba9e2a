package director_test

import (
	"strings"
	"testing"
	"time"

	"github.com/systole-ha/systole/pkg/config/ldirectordcf"
	"github.com/systole-ha/systole/pkg/director"
)

// TestWarning has checks that succeed and warn: a line at once, and one a day.
func TestWarning(t *testing.T) {
	config, problems := ldirectordcf.Parse("cf", []byte("checkinterval=3600\nvirtual=10.0.0.1:80\n\treal=10.0.0.2:80 gate\n"), ldirectordcf.Options{})
	if err := problems.Err(); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	d := director.New(now)
	var lines int
	warning := "ends soon"
	step := func(in director.Input) {
		for queue := []director.Input{in}; len(queue) > 0; queue = queue[1:] {
			for _, a := range d.Step(now, queue[0]) {
				switch a := a.(type) {
				case director.ReadTable:
					queue = append(queue, director.TableRead{})
				case director.Change:
					queue = append(queue, director.Changed{})
				case director.Log:
					if strings.Contains(a.Text, "Warning of real server 10.0.0.2:80 (tcp:10.0.0.1:80): ends soon") {
						lines++
					}
				case director.StartCheck:
					queue = append(queue, director.Checked{ID: a.ID, Up: true, Warning: warning})
				}
			}
		}
	}
	run := func(hours, want int) {
		t.Helper()
		lines = 0
		for end := now.Add(time.Duration(hours) * time.Hour); now.Before(end); {
			at, ok := d.Deadline()
			if !ok {
				t.Fatal("nothing is due")
			}
			now = at
			step(director.Tick{})
		}
		if lines != want {
			t.Errorf("%d lines in %d hours, want %d", lines, hours, want)
		}
	}
	if step(director.ConfigRead{Config: config}); lines != 1 {
		t.Errorf("%d lines at first", lines)
	}
	run(22, 0)
	run(24, 1)
	if s := d.Status().Virtuals[0].Reals[0]; s.Warning != warning || s.Health != director.Up {
		t.Errorf("%+v", s)
	}
	warning = ""
	run(2, 0)
	if s := d.Status().Virtuals[0].Reals[0]; s.Warning != "" {
		t.Errorf("%+v", s)
	}
	warning = "ends soon"
	run(2, 1)
}
