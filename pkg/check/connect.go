package check

import (
	"context"
	"fmt"
)

func init() { checkers["connect"] = connectChecker{} }

// connectChecker is up if a TCP connection to the check port can be made.
type connectChecker struct{}

func (connectChecker) Check(ctx context.Context, s Spec) Result {
	if s.Addr.Port() == 0 {
		return Result{Reason: "no port to connect to", Trace: []string{"connect " + s.Addr.String()}}
	}
	c, err := dial(ctx, s.Addr.String())
	if err != nil {
		return Result{Reason: "connect: " + cause(err), Trace: []string{fmt.Sprintf("connect %s: %v", s.Addr, err)}}
	}
	_ = c.Close() // it was open, which is all that counts
	return Result{Up: true}
}
