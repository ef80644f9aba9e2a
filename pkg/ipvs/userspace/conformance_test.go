package userspace

import (
	"testing"

	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/ipvstest"
)

func TestConformance(t *testing.T) {
	ipvstest.Run(t, func(t *testing.T) ipvs.Table { return newForwarder(t) })
}
