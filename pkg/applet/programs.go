package applet

// programs lists every program, in the order of the help text. Each is defined in a file of its own.
func programs() []program {
	list := []program{
		demoProgram,
		statusProgram,
		metricsProgram,
		checkProgram,
		showProgram,
		realserverProgram,
		installProgram,
		adoptProgram,
		helpProgram,
		heartbeatProgram,
		ldirectordProgram,
		ipvsadmProgram,
		ipvsadmSaveProgram,
		ipvsadmRestoreProgram,
		clStatusProgram,
		ipfailProgram,
		ipvsadmServiceProgram,
		dopdProgram,
		outdaterProgram,
		apphbdProgram,
		clRespawnProgram,
		findifProgram,
		sendARPProgram,
		standbyProgram,
		takeoverProgram,
		addNodeProgram,
		delNodeProgram,
		propagateProgram,
		setWeightProgram,
		setSiteProgram,
		resourceManagerProgram,
		reqResourceProgram,
		machDownProgram,
	}
	return append(list, ipaddrPrograms...)
}
