package bridge

import (
	"context"
	"errors"
	"time"
)

// Status is how a check came out.
type Status string

// The values of Status.
const (
	StatusOK   Status = "ok"
	StatusWarn Status = "warn" // it works, but not well or not for long
	StatusFail Status = "fail"
	StatusSkip Status = "skip" // it was not looked at
)

// Check is one probe of the doctor. Run changes nothing that a person would
// notice, posts nothing, and returns soon after ctx is done.
type Check struct {
	ID    string   // stable: "server-tls"
	Title Text     // for people: "Certificate"
	Needs []string // ids of checks that must not have failed, else this one is skipped
	Run   func(ctx context.Context) Result
	Takes time.Duration // how long Run may take; 0: as long as any check
}

// Result is what a check found.
type Result struct {
	Status Status `json:"status"`
	Seen   Text   `json:"seen,omitzero"`  // a fact, with its number: "valid until 2027-02-11"
	Why    Text   `json:"why,omitzero"`   // why it matters; can be zero where all is well
	Fix    Text   `json:"fix,omitzero"`   // what to type or click, as it stands; can be zero where all is well
	Late   bool   `json:"late,omitempty"` // it failed for want of time alone: a second try can come out better
}

// Passed is the result of a check that found all well.
func Passed(seen Text) Result { return Result{Status: StatusOK, Seen: seen} }

// Warned is the result of a check that found something unwise.
func Warned(seen, why, fix Text) Result {
	return Result{Status: StatusWarn, Seen: seen, Why: why, Fix: fix}
}

// Failed is the result of a check that found why something does not work.
func Failed(seen, why, fix Text) Result {
	return Result{Status: StatusFail, Seen: seen, Why: why, Fix: fix}
}

// FailedBy is the result of a check that was stopped by err, which says itself
// what happened and what to do.
func FailedBy(err error, why Text) Result {
	r := Failed(TextOf(err), why, HintOf(err))
	var late interface{ Timeout() bool }
	r.Late = errors.As(err, &late) && late.Timeout()
	return r
}

// InVain returns r as the result of a check that had too little time.
func (r Result) InVain() Result {
	r.Late = true
	return r
}

// Skipped is the result of a check that does not apply, and says what it lacks.
func Skipped(seen Text) Result { return Result{Status: StatusSkip, Seen: seen} }
