// Package perlre matches bytes against Perl 5 regular expressions as ldirectord's receive= uses
// them: no flags, byte semantics, `.` not matching a newline, `$` also before a final one.
//
// The engine is regexp2, a backtracking one with lookaround and backreferences. What Perl
// writes differently is rewritten before compiling; what cannot be expressed is an error when
// compiling, never a wrong answer when matching. Every match has a time limit.
package perlre
