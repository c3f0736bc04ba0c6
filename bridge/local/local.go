// Package local is the local API: a running engine answers on a Unix socket in
// its home, and windows, trays and commands ask it there. It is HTTP with JSON;
// docs/local-api.md describes it.
package local

import (
	"cmp"
	"errors"
	"net/http"
	"time"

	"perch/bridge"
	"perch/bridge/config"
)

// versionHeader has the version of the engine in every response, and that of the
// client in the requests of ours.
const versionHeader = "Perch-Version"

// maxBody bounds what a request brings.
const maxBody = 4 << 20

// The bodies of requests and responses, where they are no type of the domain.
type (
	helloDoc struct {
		Version    string          `json:"version"`
		ConfigFile string          `json:"config_file"`
		Snapshot   bridge.Snapshot `json:"snapshot"`
	}
	retryDoc struct {
		Held bool `json:"held"` // replies were held back
	}
	logDoc struct {
		Entries []bridge.Entry `json:"entries"`
	}
	configDoc struct {
		Config   config.Config    `json:"config"`
		Problems []config.Problem `json:"problems"`
		Exists   bool             `json:"exists"`
	}
	secretDoc struct {
		Value string `json:"value"`
	}
	placeDoc struct {
		Place bridge.Text `json:"place"`
		Fixed bool        `json:"fixed"`
		Error *errorDoc   `json:"error,omitempty"` // what is wrong with that place
	}
	serverDoc struct {
		Config   config.Config `json:"config"`
		AppToken string        `json:"app_token,omitempty"`
	}
	occDoc struct {
		Config config.Config `json:"config"`
		Secret string        `json:"secret"`
	}
	modelsDoc struct {
		Handler config.Handler `json:"handler"`
		Key     string         `json:"key,omitempty"`
	}
	messageDoc struct {
		Text   string `json:"text"`
		Silent bool   `json:"silent,omitempty"`
	}
	postedDoc struct {
		ID  int64   `json:"id"` // of the first part
		IDs []int64 `json:"ids"`
	}
	sayDoc struct {
		Room   string `json:"room"`
		Person string `json:"person"`
		Text   string `json:"text"`
	}
)

// errorDoc is an error on the wire.
type errorDoc struct {
	Code       bridge.Code      `json:"code"`
	Text       bridge.Text      `json:"text"`
	Hint       bridge.Text      `json:"hint,omitzero"`
	Cause      string           `json:"cause,omitempty"`
	RetryAfter time.Duration    `json:"retry_after,omitempty"`
	Problems   []config.Problem `json:"problems,omitempty"` // of a configuration that cannot be used
}

// failureDoc is the body of a response that is an error, and the last line of a
// stream that ends with one.
type failureDoc struct {
	Error *errorDoc `json:"error,omitempty"`
}

// packed returns err for the wire; nil for nil.
func packed(err error) *errorDoc {
	if err == nil {
		return nil
	}
	d := &errorDoc{Code: bridge.CodeOf(err), Text: bridge.TextOf(err), Hint: bridge.HintOf(err)}
	if e, ok := errors.AsType[*bridge.Error](err); ok {
		d.RetryAfter = e.RetryAfter
		if e.Cause != nil {
			d.Cause = e.Cause.Error()
		}
	}
	if invalid, ok := errors.AsType[*config.InvalidError](err); ok {
		d.Problems = invalid.Problems
	}
	return d
}

// unpacked returns the error that packed was given, as far as callers tell
// errors apart; nil for nil.
func (d *errorDoc) unpacked() error {
	switch {
	case d == nil:
		return nil
	case len(d.Problems) > 0:
		return &config.InvalidError{Problems: d.Problems}
	}
	e := &bridge.Error{Code: d.Code, Text: d.Text, Hint: d.Hint, RetryAfter: d.RetryAfter}
	if d.Cause != "" {
		e.Cause = errors.New(d.Cause)
	}
	return e
}

// status returns the HTTP status of an error.
func (d *errorDoc) status() int {
	return cmp.Or(map[bridge.Code]int{
		bridge.CodeInvalid:      http.StatusUnprocessableEntity,
		bridge.CodeNotFound:     http.StatusNotFound,
		bridge.CodeUnauthorized: http.StatusBadGateway, // by the server of the bot
		bridge.CodeDenied:       http.StatusForbidden,
		bridge.CodeThrottled:    http.StatusTooManyRequests,
		bridge.CodeRejected:     http.StatusBadGateway,
		bridge.CodeUnavailable:  http.StatusServiceUnavailable,
		bridge.CodeUnclear:      http.StatusGatewayTimeout,
		bridge.CodeConflict:     http.StatusConflict,
	}[d.Code], http.StatusInternalServerError)
}

// otherVersion is the error of a client and an engine that do not go together.
func otherVersion(engine, client string) error {
	return &bridge.Error{
		Code: bridge.CodeConflict,
		Text: bridge.Say("The Perch that runs is version %[1]s, and this one is %[2]s", engine, client),
		Hint: bridge.Say("Stop the older one and start it again; its program file may have to be replaced, too."),
	}
}

// foreign is the error of a peer that is another user's process.
func foreign() error {
	return &bridge.Error{
		Code: bridge.CodeDenied,
		Text: bridge.Say("The other side of the socket is a process of another user"),
		Hint: bridge.Say("Run this as the user that Perch runs as: sudo -u USER perch …"),
	}
}
