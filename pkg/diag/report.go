package diag

import "fmt"

// MaxProblems is how many problems of one text are kept: more has a file that is something else altogether.
const MaxProblems = 1000

// Report gathers the problems of one text.
type Report struct {
	kept List
	errs int // errors, those that are not kept too
	more int // problems that are not kept
}

// Add adds a problem, in the order found.
func (r *Report) Add(p Problem) {
	if p.Sev == Error {
		r.errs++
	}
	if len(r.kept) >= MaxProblems {
		r.more++
		return
	}
	r.kept = append(r.kept, p)
}

// Errors is how many errors have been added.
func (r *Report) Errors() int { return r.errs }

// Sort orders what there is as [List.Sort] does.
func (r *Report) Sort() { r.kept.Sort() }

// List is all problems, and at its end how many there are beyond MaxProblems: an error if any problem is one.
func (r *Report) List(file string) List {
	if r.more == 0 {
		return r.kept
	}
	sev := Warning
	if r.errs > 0 {
		sev = Error
	}
	return append(r.kept, Problem{Pos: Pos{File: file}, Sev: sev, Msg: fmt.Sprintf("%d more problems", r.more)})
}
