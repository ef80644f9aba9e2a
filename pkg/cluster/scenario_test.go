package cluster_test

import (
	"path/filepath"
	"testing"

	"github.com/systole-ha/systole/pkg/cluster/clustertest"
)

// TestScenarios runs the stories of testdata/scenario: what each node logs and sends, to the letter.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenario/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata/scenario: %d files, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) { clustertest.RunFile(t, f) })
	}
}
