package takeover

// Failback is the auto_failback directive.
type Failback uint8

// Its values. Legacy is what a ha.cf without the directive means.
const (
	Legacy Failback = iota
	On
	Off
)
