package applet

import (
	"context"
	"fmt"

	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/kernel"
	"github.com/systole-ha/systole/pkg/ipvs/model"
	"github.com/systole-ha/systole/pkg/ipvs/userspace"
)

// openTable opens the IPVS table that SYSTOLE_IPVS names: the kernel's by default.
func openTable(getenv func(string) string) (ipvs.Table, error) {
	switch kind := getenv("SYSTOLE_IPVS"); kind {
	case "", "kernel":
		t, err := kernel.Open(context.Background())
		if err != nil {
			return nil, err
		}
		return t, nil
	case "userspace":
		return userspace.New(), nil
	case "model":
		return model.New(), nil
	default:
		return nil, fmt.Errorf("SYSTOLE_IPVS: unknown table %q (want kernel, userspace or model)", kind)
	}
}
