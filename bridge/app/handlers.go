package app

import (
	"context"
	"crypto/x509"
	"errors"
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

// HandlerParts are what handlers are made of. Handlers do without what is nil
// or empty here.
type HandlerParts struct {
	Home    config.Home
	Secret  func(name string) bridge.Secret // empty if there is none
	Files   handler.Fetcher
	RootCAs *x509.CertPool
	Memory  bridge.Memory
	Meter   handler.Meter
	Status  func(ctx context.Context) []string
	Sink    bridge.EventSink
	Version string
	Running *handler.Programs
	// Outgoing keeps the files of answers; nil: there are none.
	Outgoing handler.Outgoing
	Confirms bool // reactions are heard: tools that somebody has to agree to can be used

	retired context.Context //nolint:containedctx // The end of the settings; nil: there is none.
}

// Handler returns the handler of a name, empty for the one in [handler].
func (p HandlerParts) Handler(name string, h config.Handler) (bridge.Handler, error) {
	files := p.Files
	if h.Files != config.FileCopy {
		files = nil
	}
	agent := "Perch/" + p.Version
	switch h.Kind {
	case config.Commands:
		return handler.NewCommands(h, p.Status), nil
	case config.Exec:
		return handler.Exec{ // if it is not there, that is said when it is asked: it may be put there meanwhile
			Command: h.Command, Base: p.Home.ConfigDir, Dir: filepath.Join(p.Home.DataDir, "handler"), Temp: tempDir(p.Home.DataDir), Files: files,
			Running: p.Running, Outgoing: p.Outgoing, Sink: p.Sink,
		}, nil
	case config.HTTP:
		return handler.HTTP{
			Name: name, URL: h.URL, Token: p.Secret(bridge.SecretOf(bridge.HandlerToken, name)),
			Secret: p.Secret(bridge.SecretOf(bridge.HandlerSecret, name)),
			Sign:   talk.Sign, RootCAs: p.RootCAs, Files: files, UserAgent: agent, Outgoing: p.Outgoing, Sink: p.Sink,
		}, nil
	case config.LLM:
		return handler.LLM{
			Tools: p.tools(h.Tools),
			Name:  name, BaseURL: h.BaseURL, Model: h.Model, SystemPrompt: h.SystemPrompt, Temperature: h.Temperature,
			History: h.History, MaxTokens: h.MaxTokens, Key: p.Secret(bridge.SecretOf(bridge.HandlerToken, name)),
			Memory: p.Memory, Meter: p.Meter, Files: files, Sink: p.Sink, RootCAs: p.RootCAs, UserAgent: agent, Names: h.Names,
		}, nil
	case config.Relay:
		return p.untilRetired(&handler.Relay{Name: name, URL: h.URL, RootCAs: p.RootCAs, Timeout: time.Duration(h.Timeout), Sink: p.Sink}), nil
	default:
		return nil, &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("There is no handler of the kind %s", h.Kind)}
	}
}

// tools returns what a model can use; nil if that is nothing. It ends with the
// settings.
func (p HandlerParts) tools(tools []config.Tool) *handler.Toolbox {
	if !p.Confirms {
		tools = slices.DeleteFunc(slices.Clone(tools), func(t config.Tool) bool { return t.Confirm })
	}
	if len(tools) == 0 {
		return nil
	}
	box := handler.NewToolbox(handler.Toolbox{
		Tools: tools, Base: p.Home.ConfigDir, Dir: filepath.Join(p.Home.DataDir, "handler"), Temp: tempDir(p.Home.DataDir),
		Running: p.Running, RootCAs: p.RootCAs, UserAgent: "Perch/" + p.Version, Sink: p.Sink, Version: p.Version,
	})
	if p.retired != nil {
		context.AfterFunc(p.retired, box.Close)
	}
	return box
}

// Ear returns what hears voice messages.
func (p HandlerParts) Ear(v config.Voice) *handler.Ear {
	return handler.NewEar(handler.Ear{
		BaseURL: v.BaseURL, Model: v.Model, Language: v.Language, Key: p.Secret(bridge.VoiceToken),
		Files: p.Files, RootCAs: p.RootCAs, UserAgent: "Perch/" + p.Version,
	})
}

// revocable is a handler that can wait for hours, but not with settings that
// are no longer in force.
type revocable struct {
	relay   *handler.Relay
	retired context.Context //nolint:containedctx // It is the life of the settings.
}

func (p HandlerParts) untilRetired(r *handler.Relay) bridge.Handler {
	if p.retired == nil {
		return r
	}
	return revocable{r, p.retired}
}

// Handle implements bridge.Handler.
func (r revocable) Handle(ctx context.Context, m bridge.Message) ([]bridge.Reply, error) {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.retired, cancel)() //nolint:contextcheck // It ends the wait; nothing inherits it.
	replies, err := r.relay.Handle(waiting, m)
	if err != nil && !errors.Is(err, bridge.ErrPassedOn) && ctx.Err() == nil && r.retired.Err() != nil {
		return nil, fmt.Errorf("%w: %w", bridge.ErrAgain, err)
	}
	return replies, err
}

// tempDir returns where handlers keep files for as long as they work on a
// message.
func tempDir(dataDir string) string { return filepath.Join(dataDir, "tmp") }

// HandlersOf returns the handlers of a configuration by their names; that in
// [handler] has the empty one.
func HandlersOf(c config.Config) (names []string, by map[string]config.Handler) {
	by = map[string]config.Handler{"": c.Handler}
	maps.Copy(by, c.Handlers)
	return slices.Sorted(maps.Keys(by)), by
}

// relays reports whether any handler hands webhooks on, so that they must be
// kept as they came.
func relays(c config.Config) bool {
	_, by := HandlersOf(c)
	for _, h := range by {
		if h.Kind == config.Relay {
			return true
		}
	}
	return false
}
