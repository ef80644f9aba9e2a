package media_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain demands that no goroutine outlives its medium.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
