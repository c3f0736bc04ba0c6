package eventlog

import (
	"context"
	"log/slog"
	"strings"

	"perch/bridge"
)

// NewHandler returns a slog handler that publishes each record as an event of
// stage: the message as its title, the attributes as its cause. It is for
// libraries that know only slog. Records below level are dropped.
func NewHandler(sink bridge.EventSink, stage bridge.Stage, level slog.Level) slog.Handler {
	return handler{sink: sink, stage: stage, level: level}
}

type handler struct {
	sink   bridge.EventSink
	stage  bridge.Stage
	level  slog.Level
	attrs  string // " key=value key=value"
	prefix string // "group."
}

func (h handler) Enabled(_ context.Context, level slog.Level) bool { return level >= h.level }

func (h handler) Handle(_ context.Context, r slog.Record) error {
	attrs := h.attrs
	r.Attrs(func(a slog.Attr) bool {
		attrs += h.format(a)
		return true
	})
	h.sink.Publish(bridge.Event{
		Time: r.Time, Stage: h.stage, Level: r.Level,
		Kind:  bridge.EventLibrary,
		Title: bridge.Say("%s", r.Message),
		Cause: strings.TrimSpace(attrs),
	})
	return nil
}

func (h handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	for _, a := range attrs {
		h.attrs += h.format(a)
	}
	return h
}

func (h handler) WithGroup(name string) slog.Handler {
	h.prefix += name + "."
	return h
}

func (h handler) format(a slog.Attr) string {
	return " " + h.prefix + a.Key + "=" + a.Value.Resolve().String()
}
