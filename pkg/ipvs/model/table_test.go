package model_test

import (
	"testing"

	"github.com/systole-ha/systole/pkg/ipvs"
	"github.com/systole-ha/systole/pkg/ipvs/ipvstest"
	"github.com/systole-ha/systole/pkg/ipvs/model"
)

func TestConformance(t *testing.T) {
	ipvstest.Run(t, func(*testing.T) ipvs.Table { return model.New() })
}
