// Package view is a configuration file as it was understood: as text in the grammar of the file,
// with defaults filled in, and as an object for programs ("systole show --json"). The names of an
// object's members are the directives' own; once released none changes its meaning. Keys,
// passwords and the parameters of stonith devices are in neither.
package view
