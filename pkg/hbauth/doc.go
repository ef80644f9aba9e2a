// Package hbauth signs heartbeat messages and checks their signatures.
//
// A signature is "KEYNUMBER MAC". A packet in netstring form carries one over its bytes after
// the message; a message made under msgfmt classic, or sent as text, carries one over its text
// lines in the field "auth". It stands for the auth plugins crc, md5 and sha1, and for the
// signing parts of ha_msg_internal.c and heartbeat.c (spec/heartbeat-wire.md section 4).
package hbauth
