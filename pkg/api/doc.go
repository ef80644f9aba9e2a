// Package api is heartbeat's client API over its local socket: the daemon's end ([Server]), which
// carries out what package broker decides, and the client's ([Client]), which is what the
// original's library libhbclient is to its programs (spec: hb_api.h, client_lib.c, ipcsocket.c).
package api
