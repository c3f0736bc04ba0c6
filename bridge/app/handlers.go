package app

import (
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/handler"
	"perch/bridge/talk"
)

// workshop has what handlers are made of. What is nil or empty in it they do
// without.
type workshop struct {
	home    config.Home
	secret  func(name string) bridge.Secret // empty if there is none
	files   handler.Fetcher
	rootCAs *x509.CertPool
	memory  bridge.Memory
	status  func(ctx context.Context) []string
	sink    bridge.EventSink
	version string
	retired context.Context //nolint:containedctx // The end of the settings; nil: there is none.
}

// make returns the handler of a name, empty for the one in [handler].
func (w workshop) make(name string, h config.Handler) (bridge.Handler, error) {
	files := w.files
	if h.Files != config.FileCopy {
		files = nil
	}
	agent := "Perch/" + w.version
	switch h.Kind {
	case config.Commands:
		return handler.NewCommands(h, w.status), nil
	case config.Exec:
		return w.exec(h, files), nil
	case config.HTTP:
		return handler.HTTP{
			Name: name, URL: h.URL, Token: w.secret(bridge.SecretOf(bridge.HandlerToken, name)),
			Secret: w.secret(bridge.SecretOf(bridge.HandlerSecret, name)),
			Sign:   talk.Sign, RootCAs: w.rootCAs, Files: files, UserAgent: agent,
		}, nil
	case config.LLM:
		return handler.LLM{
			Name: name, BaseURL: h.BaseURL, Model: h.Model, SystemPrompt: h.SystemPrompt, Temperature: h.Temperature,
			History: h.History, MaxTokens: h.MaxTokens, Key: w.secret(bridge.SecretOf(bridge.HandlerToken, name)),
			Memory: w.memory, Files: files, Sink: w.sink, RootCAs: w.rootCAs, UserAgent: agent,
		}, nil
	case config.Relay:
		return w.untilRetired(&handler.Relay{Name: name, URL: h.URL, RootCAs: w.rootCAs, Timeout: time.Duration(h.Timeout), Sink: w.sink}), nil
	default:
		return nil, &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("There is no handler of the kind %s", h.Kind)}
	}
}

// patient is a handler that can wait for hours, and is not to do so with
// settings that are no longer in force.
type patient struct {
	*handler.Relay

	retired context.Context //nolint:containedctx // It is the life of the settings.
}

func (w workshop) untilRetired(r *handler.Relay) bridge.Handler {
	if w.retired == nil {
		return r
	}
	return patient{r, w.retired}
}

// Handle implements bridge.Handler.
func (p patient) Handle(ctx context.Context, m bridge.Message) ([]bridge.Reply, error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.retired, cancel)() //nolint:contextcheck // It ends the wait; nothing inherits it.
	replies, err := p.Relay.Handle(waiting, m)
	if err != nil && ctx.Err() == nil && p.retired.Err() != nil {
		return nil, fmt.Errorf("%w: %w", bridge.ErrAgain, err)
	}
	return replies, err
}

// exec returns a program as a handler. If it is not there, that is said when it
// is asked: it may be put there meanwhile.
func (w workshop) exec(h config.Handler, files handler.Fetcher) handler.Exec {
	command := slices.Clone(h.Command)
	if path, err := h.Program(w.home.ConfigDir); err == nil {
		command[0] = path
	}
	return handler.Exec{
		Command: command, Dir: filepath.Join(w.home.DataDir, "handler"), Temp: tempDir(w.home.DataDir), Files: files,
	}
}

// tempDir returns where handlers keep files for as long as they work on a
// message.
func tempDir(dataDir string) string { return filepath.Join(dataDir, "tmp") }

// handlersOf returns the handlers of a configuration by their names; that in
// [handler] has the empty one.
func handlersOf(c config.Config) (names []string, by map[string]config.Handler) {
	by = map[string]config.Handler{"": c.Handler}
	maps.Copy(by, c.Handlers)
	return slices.Sorted(maps.Keys(by)), by
}

// relays reports whether any handler hands webhooks on, so that they must be
// kept as they came.
func relays(c config.Config) bool {
	_, by := handlersOf(c)
	for _, h := range by {
		if h.Kind == config.Relay {
			return true
		}
	}
	return false
}
