package control

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"perch/bridge"
	"perch/bridge/journal"
)

const (
	batchEvery = 100 * time.Millisecond // how often Watch calls at most
	lookEvery  = time.Second            // for what another process wrote
	watchBatch = 5000                   // events at once
)

// Events returns the newest stored events with a higher id than after, limit at
// most, oldest first; with after 0, what became of messages too, whose events
// have no id. There are none before the first start.
func (b *Bot) Events(ctx context.Context, after int64, limit int) ([]bridge.Event, error) {
	j, err := b.journal(ctx)
	if bridge.CodeOf(err) == bridge.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if after > 0 {
		return j.Events(ctx, journal.Filter{After: after, Limit: limit, Level: slog.LevelDebug})
	}
	entries, err := j.Entries(ctx, journal.Filter{Limit: limit})
	var events []bridge.Event
	for _, entry := range entries {
		events = append(events, entry.Events(time.Now())...)
	}
	return events, err
}

// ClearEvents empties the log. What waits stays.
func (b *Bot) ClearEvents(ctx context.Context) error {
	j, err := b.guest(ctx)
	if bridge.CodeOf(err) == bridge.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	return j.Clear(ctx)
}

// Watch calls batch with events as they are stored, oldest first, and with
// those that are not and have no id, as they happen: of messages, and of level
// Debug. dropped
// is how many were too fast for it. It calls at most ten times a second, from
// one goroutine, until ctx is done.
func (b *Bot) Watch(ctx context.Context, batch func(events []bridge.Event, dropped int)) error {
	live := b.bus.Subscribe(eventBuffer)
	defer live.Close()
	var after int64
	if j, err := b.journal(ctx); err == nil {
		if newest, err := j.Events(ctx, journal.Filter{Limit: 1, Level: slog.LevelDebug}); err == nil && len(newest) > 0 {
			after = newest[0].ID
		}
	}
	fresh := &inTurn{}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		for {
			events, _, err := live.Next(ctx)
			if err != nil {
				return
			}
			fresh.add(events)
		}
	})
	soon, later := time.NewTicker(batchEvery), time.NewTicker(lookEvery)
	defer soon.Stop()
	defer later.Stop()
	for {
		look := false
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-soon.C:
		case <-later.C:
			look = true
		}
		passing, stored := fresh.take()
		if !look && !stored && len(passing) == 0 {
			continue
		}
		var events []bridge.Event
		j, err := b.journal(ctx)
		if err == nil {
			events, err = j.Events(ctx, journal.Filter{After: after, Limit: watchBatch, Level: slog.LevelDebug})
		}
		if err != nil && bridge.CodeOf(err) != bridge.CodeNotFound {
			continue // it is asked again in a moment
		}
		dropped := 0
		if n := len(events); n > 0 {
			if n == watchBatch {
				dropped = max(0, int(events[0].ID-after-1))
			}
			after = events[n-1].ID
		}
		if len(events)+len(passing) > 0 {
			batch(append(events, passing...), dropped)
		}
	}
}

// inTurn keeps what happened between two looks.
type inTurn struct {
	mu      sync.Mutex
	passing []bridge.Event // of level Debug, the newest watchBatch
	recent  time.Time      // when something was last stored
}

func (f *inTurn) add(events []bridge.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range events {
		if e.Level > slog.LevelDebug && !e.Kind.OfMessage() {
			f.recent = time.Now()
		} else if len(f.passing) < watchBatch {
			f.passing = append(f.passing, e)
		}
	}
}

// take returns what passed, and whether something was or may still be stored:
// that takes a moment.
func (f *inTurn) take() (passing []bridge.Event, stored bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	passing, f.passing = f.passing, nil
	return passing, time.Since(f.recent) < lookEvery/2
}
