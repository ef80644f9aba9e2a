package applet

// programs lists every program, in the order of the help text. Each is defined in a file of its own.
func programs() []program {
	return []program{
		heartbeatProgram,
		ldirectordProgram,
		// newcomers' commands first: demo, check, show; then the originals' names
	}
}
