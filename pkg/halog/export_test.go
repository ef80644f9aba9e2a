package halog

// isRunning reports whether lines are queued.
func (l *Log) isRunning() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.running
}
