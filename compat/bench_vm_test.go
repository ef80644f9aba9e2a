package compat

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/systole-ha/systole/pkg/lab"
)

// guestFigures names the file in which a benchmark in a virtual machine leaves its figures.
const guestFigures = "SYSTOLE_BENCH_FIGURES"

// guestFigure is a figure on its way to the machine.
type guestFigure struct {
	Name, Unit, How string
	Runs            map[contender][]float64
}

// benchInVM is lab.InVM for a benchmark, whose figures come into the machine's table.
func benchInVM(t *testing.T, with ...func(*lab.Spec)) bool {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "figures")
	share := func(s *lab.Spec) {
		s.Share = append(s.Share, dir)
		if s.Env == nil {
			s.Env = os.Environ()
		}
		s.Env = append(s.Env, guestFigures+"="+file)
	}
	if lab.InVM(t, append(with, share)...) {
		return true
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var figures []guestFigure
	if err := json.Unmarshal(text, &figures); err != nil {
		t.Fatal(err)
	}
	for _, f := range figures {
		for who, runs := range f.Runs {
			for _, value := range runs {
				bench.add(f.Name, f.Unit, f.How, who, value)
			}
		}
	}
	return false
}

// leave writes the figures for the machine; false if this is no virtual machine.
func (fs *figures) leave() (bool, error) {
	file := os.Getenv(guestFigures)
	if file == "" || !lab.InGuest() {
		return false, nil
	}
	var out []guestFigure
	for _, f := range fs.all {
		out = append(out, guestFigure{f.name, f.unit, f.how, f.runs})
	}
	text, err := json.Marshal(out)
	if err == nil {
		err = os.WriteFile(file, text, 0o644)
	}
	if err != nil {
		return true, fmt.Errorf("figures of a virtual machine: %w", err)
	}
	return true, nil
}
