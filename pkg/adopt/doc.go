// Package adopt takes the place of the originals' programs on a machine of a running pair, and puts them back.
//
// What is replaced is their programs alone, each by a link; the files are kept beside their places, by dpkg-divert where
// dpkg owns them, so that an upgrade of the originals leaves ours in place. Configuration, scripts, init scripts and
// units stay as they are: they work with either. A running heartbeat is restarted only while the other node has the
// resources; what would interrupt them is refused.
package adopt
