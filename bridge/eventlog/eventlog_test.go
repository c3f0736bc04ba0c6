package eventlog_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"

	"perch/bridge"
	"perch/bridge/eventlog"
)

func titles(events []bridge.Event) string {
	var all []string
	for _, e := range events {
		all = append(all, e.Title.String())
	}
	return strings.Join(all, " ")
}

func TestEverySubscriptionGetsEverything(t *testing.T) {
	var bus eventlog.Bus
	bus.Publish(bridge.Event{Title: bridge.Say("early")})
	one, two := bus.Subscribe(10), bus.Subscribe(10)
	bus.Publish(bridge.Event{Title: bridge.Say("a")})
	bus.Publish(bridge.Event{Title: bridge.Say("b")})
	for i, s := range []*eventlog.Subscription{one, two} {
		events, dropped, err := s.Next(t.Context())
		if got := titles(events); got != "a b" || dropped != 0 || err != nil {
			t.Errorf("subscription %d got %s, %d dropped, %v", i, got, dropped, err)
		}
		if events[0].Time.IsZero() {
			t.Error("the event has no time")
		}
	}
	two.Close()
	bus.Publish(bridge.Event{Title: bridge.Say("c")})
	done, cancel := context.WithCancel(t.Context())
	cancel()
	if events, _, err := two.Next(done); !errors.Is(err, context.Canceled) {
		t.Errorf("a closed subscription got %s, %v", titles(events), err)
	}
	if events, _, err := one.Next(done); titles(events) != "c" || err != nil {
		t.Errorf("what is left after the end: %s, %v", titles(events), err)
	}
}

func TestASlowSubscriptionLosesTheOldest(t *testing.T) {
	var bus eventlog.Bus
	s := bus.Subscribe(3)
	for i := range 10 {
		bus.Publish(bridge.Event{Title: bridge.Say("%s", strconv.Itoa(i))})
	}
	events, dropped, err := s.Next(t.Context())
	if got := titles(events); got != "7 8 9" || dropped != 7 || err != nil {
		t.Errorf("got %s, %d dropped, %v", got, dropped, err)
	}
}

func TestNextWaits(t *testing.T) {
	var bus eventlog.Bus
	s := bus.Subscribe(1000)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for range 10 {
				bus.Publish(bridge.Event{Title: bridge.Say("x")})
			}
		})
	}
	for got := 0; got < 100; {
		events, dropped, err := s.Next(t.Context())
		if dropped != 0 || err != nil {
			t.Fatalf("%d dropped, %v", dropped, err)
		}
		got += len(events)
	}
	wg.Wait()
}

func TestRecordsOfSlogBecomeEvents(t *testing.T) {
	var bus eventlog.Bus
	s := bus.Subscribe(10)
	log := slog.New(eventlog.NewHandler(&bus, bridge.StageWebhook, slog.LevelInfo))
	log.Debug("too small")
	log.With("a", 1).WithGroup("g").Warn("100% odd", "b", bridge.NewSecret("hidden"))
	events, _, err := s.Next(t.Context())
	if err != nil || len(events) != 1 {
		t.Fatalf("%v %v", events, err)
	}
	e := events[0]
	if e.Stage != bridge.StageWebhook || e.Level != slog.LevelWarn || e.Title.String() != "100% odd" || e.Cause != "a=1 g.b=***" {
		t.Errorf("event: %+v", e)
	}
}
