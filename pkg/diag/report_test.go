package diag

import "testing"

// An error that is not kept is an error of the list all the same.
func TestReport(t *testing.T) {
	for _, last := range []Severity{Warning, Error} {
		var r Report
		for range MaxProblems + 2 {
			r.Add(Problem{Pos: Pos{"f", 1, 1}, Msg: "odd"})
		}
		r.Add(Problem{Pos: Pos{"f", 2, 1}, Sev: last, Msg: "wrong"})
		l := r.List("f")
		if len(l) != MaxProblems+1 || l[MaxProblems].Msg != "3 more problems" || l[MaxProblems].Sev != last || (l.Err() != nil) != (last == Error) || r.Errors() != int(last) {
			t.Errorf("%d problems, the last %+v; %d errors", len(l), l[len(l)-1], r.Errors())
		}
	}
}
