// Package eventlog carries events from every part of Perch to whoever watches:
// the journal, a terminal, a window.
package eventlog

import (
	"context"
	"sync"
	"time"

	"perch/bridge"
)

// Bus hands every event to every subscription. It implements bridge.EventSink.
// The zero Bus is ready.
type Bus struct {
	mu   sync.Mutex
	subs map[*Subscription]struct{}
}

// Publish hands e to every subscription and never waits for one. An event
// without a time gets the present.
func (b *Bus) Publish(e bridge.Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for s := range b.subs {
		s.push(e)
	}
}

// Subscribe returns a subscription that holds up to size events. If more wait,
// the oldest are dropped and counted.
func (b *Bus) Subscribe(size int) *Subscription {
	s := &Subscription{bus: b, size: size, wake: make(chan struct{}, 1)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		b.subs = make(map[*Subscription]struct{})
	}
	b.subs[s] = struct{}{}
	return s
}

// Subscription is one watcher's bounded share of the events.
type Subscription struct {
	bus  *Bus
	size int
	wake chan struct{}

	mu      sync.Mutex
	events  []bridge.Event
	dropped int
}

// Next waits for events and returns all that came since the last call, oldest
// first, and how many were dropped before them. After ctx is done it returns
// what is left, then ctx's error.
func (s *Subscription) Next(ctx context.Context) (events []bridge.Event, dropped int, err error) {
	for {
		s.mu.Lock()
		events, dropped = s.events, s.dropped
		s.events, s.dropped = nil, 0
		s.mu.Unlock()
		if len(events) > 0 {
			return events, dropped, nil
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			if len(s.wake) == 0 {
				return nil, 0, ctx.Err()
			}
		}
	}
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	delete(s.bus.subs, s)
}

func (s *Subscription) push(e bridge.Event) {
	s.mu.Lock()
	if len(s.events) == s.size {
		s.events = s.events[1:]
		s.dropped++
	}
	s.events = append(s.events, e)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
