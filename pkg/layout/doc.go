// Package layout says what is installed where: the program with the names that it answers to, scripts, units,
// samples and manual pages, for the two families of distributions that had heartbeat. One table serves "make install",
// the packages, "systole install" and "systole adopt".
//
// The files are in files/, all of them our own. The places are those of the originals' packages
// (spec/heartbeat-config.md 11, spec/heartbeat-api.md 17), so that init scripts, resource scripts, monitoring and cron
// jobs find what they call.
package layout
