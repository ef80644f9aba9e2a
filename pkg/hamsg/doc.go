// Package hamsg is the heartbeat message: an ordered list of named fields, and its two wire
// forms. It reads and writes bytes; it does no I/O and knows nothing of keys (see hbauth).
//
// The text form is what serial lines, the FIFO, local clients and heartbeat 2.x peers carry:
//
//	>>>
//	name=value
//	(1)name=BASE64
//	<<<
//
// The netstring form is what 3.0.6 puts into every datagram, whatever its msgfmt says:
//
//	###
//	8:(0)seq=1,27:(1)srcuuid=................,%%%
//	34:3 51d43dfab6160bef6991dae00b0154f0,
//
// where the last line, written without a line end, is the authenticator over all bytes before it.
//
// [Decode] reads either form, whatever it is given, in bounded memory. It stands for cl_msg.c,
// cl_msg_types.c, cl_netstring.c and cl_compress.c of the original's library (spec/heartbeat-wire.md).
package hamsg
