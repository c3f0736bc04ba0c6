package bridge

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Text is a sentence for a person. Format is constant English with %s or
// %[1]s for each argument, and the key under which its translations are found.
type Text struct {
	Format string   `json:"format,omitempty"`
	Args   []string `json:"args,omitempty"`
	Texts  []Text   `json:"texts,omitempty"` // arguments after Args that are translated themselves
}

// Say returns a Text.
func Say(format string, args ...string) Text { return Text{Format: format, Args: args} }

// With returns t with further arguments, which are texts themselves.
func (t Text) With(texts ...Text) Text {
	t.Texts = append(slices.Clone(t.Texts), texts...)
	return t
}

// Map returns t with each of its arguments, and of theirs, replaced.
func (t Text) Map(replace func(arg string) string) Text {
	t.Args, t.Texts = slices.Clone(t.Args), slices.Clone(t.Texts)
	for i, arg := range t.Args {
		t.Args[i] = replace(arg)
	}
	for i, text := range t.Texts {
		t.Texts[i] = text.Map(replace)
	}
	return t
}

// IsZero reports whether t says nothing.
func (t Text) IsZero() bool { return t.Format == "" }

// String returns t in English.
func (t Text) String() string { return t.In(nil) }

// In returns t with its Format translated. A nil translate means English.
func (t Text) In(translate func(string) string) string {
	format := t.Format
	if translate != nil {
		format = translate(format)
	}
	if len(t.Args)+len(t.Texts) == 0 {
		return format
	}
	args := make([]any, 0, len(t.Args)+len(t.Texts))
	for _, a := range t.Args {
		args = append(args, a)
	}
	for _, text := range t.Texts {
		args = append(args, text.In(translate))
	}
	return fmt.Sprintf(format, args...)
}

// Code says what kind of thing went wrong, where a caller decides by it.
type Code string

// The codes of Error.
const (
	CodeInternal     Code = "internal"     // anything without a better code
	CodeInvalid      Code = "invalid"      // what was given is not of the required form
	CodeNotFound     Code = "not-found"    // nothing is there by that name
	CodeUnauthorized Code = "unauthorized" // a signature, token or password was refused
	CodeDenied       Code = "denied"       // who asks is known and may not
	CodeThrottled    Code = "throttled"    // too many attempts; see RetryAfter
	CodeRejected     Code = "rejected"     // Talk will never take this reply
	CodeUnavailable  Code = "unavailable"  // not now: network, maintenance, disk, keychain
	CodeUnclear      Code = "unclear"      // sent, but no answer came
	CodeConflict     Code = "conflict"     // somebody else has it: the port, the lock
)

// Error is an error for a person: what happened, and what to do about it. The
// cause is for the log.
type Error struct {
	Code       Code
	Text       Text // what happened
	Hint       Text // what to do, with the exact command if there is one; can be zero
	Cause      error
	RetryAfter time.Duration // CodeThrottled, CodeUnavailable: how long to wait; 0: the other side did not say
}

// Error returns what happened and the cause, in English.
func (e *Error) Error() string {
	if e.Cause == nil {
		return e.Text.String()
	}
	return e.Text.String() + ": " + e.Cause.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// CodeOf returns the code of the first *Error in err's chain; CodeInternal if
// there is none; the empty Code if err is nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Code != "" {
		return e.Code
	}
	return CodeInternal
}

// HintOf returns the first hint in err's chain, or the zero Text.
func HintOf(err error) Text {
	for err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok {
			break
		}
		if !e.Hint.IsZero() {
			return e.Hint
		}
		err = e.Cause
	}
	return Text{}
}

// TextOf returns err for a person: the text of the first *Error in its chain
// (without the cause), or the whole error if there is none.
func TextOf(err error) Text {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Text
	}
	return Say("%s", err.Error())
}
