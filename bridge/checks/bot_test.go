package checks_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"perch/bridge"
	"perch/bridge/app"
	"perch/bridge/config"
	"perch/bridge/eventlog"
	"perch/bridge/practice"
	"perch/bridge/testenv"
)

const key = "0123456789abcdef0123456789abcdef0123456789abcdef"

// bot runs beside the checks.
type bot struct {
	t      *testing.T
	server *practice.Server
	room   string

	stop   func()
	events *eventlog.Subscription
	left   []bridge.Event // that await has not looked at
}

// start runs a bot until stop is called or the test ends.
func (p *perch) start(home config.Home, secrets bridge.SecretStore) *bot {
	p.t.Helper()
	bus := &eventlog.Bus{}
	b := &bot{t: p.t, server: p.server, room: p.room, events: bus.Subscribe(10_000)}
	a, err := app.Open(p.t.Context(), app.Options{Home: home, Secrets: secrets, Bus: bus, Version: "test", Getenv: p.options.Getenv})
	check(p.t, err)
	ctx, cancel := context.WithCancel(p.t.Context())
	watcher := config.Watch(home.ConfigFile())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	watched := make(chan struct{})
	go func() { defer close(watched); watcher.Run(ctx, a.Reload) }()
	b.stop = sync.OnceFunc(func() {
		cancel()
		<-watched
		if err := <-done; err != nil {
			p.t.Errorf("Run: %v", err)
		}
		if err := a.Close(); err != nil {
			p.t.Errorf("Close: %v", err)
		}
	})
	p.t.Cleanup(b.stop)
	return b
}

// ask posts a text as alice and returns the reply to it.
func (b *bot) ask(text string) string {
	b.t.Helper()
	r, err := b.server.Post(b.t.Context(), b.room, "alice", text)
	check(b.t, err)
	if len(r.Deliveries) != 1 || !r.Deliveries[0].OK() {
		b.t.Fatalf("%q was not acknowledged", text)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), testenv.Patience)
	defer cancel()
	e, err := b.server.WaitReply(ctx, b.room, r.ID)
	check(b.t, err)
	return e.Text
}

// await waits for an event whose title has part in it.
func (b *bot) await(part string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), testenv.Patience)
	defer cancel()
	var seen []string
	for {
		for len(b.left) > 0 {
			e := b.left[0]
			b.left = b.left[1:]
			if strings.Contains(e.Title.String(), part) {
				return
			}
			seen = append(seen, fmt.Sprint(e.Level, " ", e.Title, " | ", e.Cause))
		}
		var err error
		if b.left, _, err = b.events.Next(ctx); err != nil {
			b.t.Fatalf("there was no event %q, but:\n%s", part, strings.Join(seen, "\n"))
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
