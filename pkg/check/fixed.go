package check

import "context"

func init() {
	checkers["on"] = fixedChecker{Up: true}
	checkers["none"] = fixedChecker{Up: true}
	checkers["off"] = fixedChecker{Reason: "checktype off"}
}

// fixedChecker asks nobody: checktype on and off, service none.
type fixedChecker Result

func (f fixedChecker) Check(context.Context, Spec) Result { return Result(f) }
