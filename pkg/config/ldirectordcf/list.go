package ldirectordcf

import (
	"maps"
	"slices"
)

// Directives are the names of the directives outside and inside of sections, in alphabetical order.
func Directives() (global, section []string) {
	global = slices.AppendSeq([]string{"supervised", "virtual", "virtual6"}, maps.Keys(globalDirectives))
	slices.Sort(global)
	return global, slices.Sorted(maps.Keys(sectionDirectives))
}
