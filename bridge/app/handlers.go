package app

import (
	"context"
	"crypto/x509"
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
	dataDir string
	secret  func(name string) bridge.Secret // empty if there is none
	files   handler.Fetcher
	rootCAs *x509.CertPool
	memory  bridge.Memory
	status  func(ctx context.Context) []string
	sink    bridge.EventSink
	version string
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
		return handler.Exec{Command: h.Command, Dir: filepath.Join(w.dataDir, "handler"), Temp: tempDir(w.dataDir), Files: files}, nil
	case config.HTTP:
		return handler.HTTP{
			Name: name, URL: h.URL, Token: w.secret(bridge.SecretOf(bridge.HandlerToken, name)),
			Secret: w.secret(bridge.SecretOf(bridge.HandlerSecret, name)),
			Sign:   talk.Sign, RootCAs: w.rootCAs, Files: files, UserAgent: agent,
		}, nil
	case config.LLM:
		return handler.LLM{
			BaseURL: h.BaseURL, Model: h.Model, SystemPrompt: h.SystemPrompt, Temperature: h.Temperature,
			History: h.History, MaxTokens: h.MaxTokens, Key: w.secret(bridge.SecretOf(bridge.HandlerToken, name)),
			Memory: w.memory, Files: files, Sink: w.sink, RootCAs: w.rootCAs, UserAgent: agent,
		}, nil
	case config.Relay:
		return &handler.Relay{Name: name, URL: h.URL, RootCAs: w.rootCAs, Timeout: time.Duration(h.Timeout), Sink: w.sink}, nil
	default:
		return nil, &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("There is no handler of the kind %s", h.Kind)}
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
