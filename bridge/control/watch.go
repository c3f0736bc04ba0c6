package control

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"perch/bridge"
	"perch/bridge/journal"
)

const (
	batchEvery = 100 * time.Millisecond // how often WatchLog calls at most
	// An event is stored a moment after it is published. It is looked for so
	// often, each time after batchEvery.
	storedLooks = 20
)

// ClearLog empties the log. Messages that wait and their replies stay.
func (b *Bot) ClearLog(ctx context.Context) error {
	j, err := b.guest(ctx)
	if bridge.CodeOf(err) == bridge.CodeNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	return j.Clear(ctx)
}

// WatchLog calls show with the entries of the log that f chooses, oldest first, then with those that are new or have changed, until ctx is done. It
// calls at most ten times a second, from one goroutine. While nothing happens
// it does nothing. There are no entries before the first start.
func (b *Bot) WatchLog(ctx context.Context, f bridge.LogFilter, show func(entries []bridge.Entry)) error {
	live := b.Bus.Subscribe(eventBuffer)
	defer live.Close()
	news := &news{wake: make(chan struct{}, 1)}
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		for {
			events, dropped, err := live.Next(ctx)
			if err != nil {
				return
			}
			news.add(events, dropped > 0)
		}
	})
	w := &logWatch{bot: b, filter: journal.Filter{Room: f.Room, Level: f.Level, Limit: f.Limit}}
	entries, err := w.all(ctx)
	show(entries)
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news.wake:
		}
		timer := time.NewTimer(batchEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		if entries := w.changed(ctx, news); len(entries) > 0 {
			show(entries)
		}
	}
}

// logWatch is how far somebody has seen the log.
type logWatch struct {
	bot    *Bot
	filter journal.Filter
	after  int64 // the newest event that was seen
}

// all returns the newest entries.
func (w *logWatch) all(ctx context.Context) ([]bridge.Entry, error) {
	j, err := w.bot.journal(ctx)
	if bridge.CodeOf(err) == bridge.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := j.Entries(ctx, w.filter)
	for _, e := range entries {
		if e.Event != nil {
			w.after = max(w.after, e.Event.ID)
		}
	}
	return entries, err
}

// changed returns the entries that the news are about. What cannot be read now
// is looked for with the next news.
func (w *logWatch) changed(ctx context.Context, news *news) []bridge.Entry {
	keys, replies, missed := news.take()
	if missed {
		entries, err := w.all(ctx)
		if err != nil {
			news.again(keys, true)
		}
		return entries
	}
	j, err := w.bot.journal(ctx)
	if err != nil {
		return nil
	}
	var entries []bridge.Entry
	if len(keys) > 0 {
		f := w.filter
		f.Keys, f.Limit = keys, len(keys)
		messages, err := j.Messages(ctx, f)
		if err != nil {
			news.again(keys, false)
		}
		for i := range messages {
			entries = append(entries, bridge.Entry{Message: &messages[i]})
		}
	}
	if replies {
		f := w.filter
		f.Limit = recentReplies
		list, _ := j.Replies(ctx, f) // the next one brings them
		for i := range list {
			entries = append(entries, bridge.Entry{Reply: &list[i]})
		}
	}
	f := w.filter
	f.After = w.after
	events, err := j.Events(ctx, f)
	if err == nil {
		news.stored(len(events))
	}
	for i := range events {
		w.after = max(w.after, events[i].ID)
		entries = append(entries, bridge.Entry{Event: &events[i]})
	}
	slices.SortStableFunc(entries, func(x, y bridge.Entry) int { return x.Time().Compare(y.Time()) })
	return entries
}

// recentReplies is how many replies that answer no message are looked at again
// when one of them has changed.
const recentReplies = 50

// news are what events said that was not shown yet.
type news struct {
	wake chan struct{} // one token: there are some

	mu      sync.Mutex
	keys    map[bridge.Key]bool // messages that have changed
	replies bool                // a reply that answers no message has
	missed  bool                // some events were dropped: anything may have changed
	events  int                 // that are stored, or will be in a moment
	looks   int                 // for those
}

// most bounds the messages that are looked at one by one.
const most = 2000

func (n *news) add(events []bridge.Event, missed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.keys == nil {
		n.keys = map[bridge.Key]bool{}
	}
	n.missed = n.missed || missed
	any := missed
	for _, e := range events {
		switch {
		case !e.Kind.OfMessage():
			if e.Level <= slog.LevelDebug {
				continue
			}
			n.events++
			n.looks = storedLooks
		case e.Stage == bridge.StageSender && e.Answers == "":
			n.replies = true
		case e.Stage == bridge.StageSender:
			n.keys[bridge.Key{Room: e.Room.Token, ID: e.Answers}] = true
		default:
			n.keys[bridge.Key{Room: e.Room.Token, ID: e.MessageID}] = true
		}
		any = true
	}
	if len(n.keys) > most {
		clear(n.keys)
		n.missed = true
	}
	if any {
		n.signal()
	}
}

// take returns the news, of which there are none then.
func (n *news) take() (keys []bridge.Key, replies, missed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for key := range n.keys {
		keys = append(keys, key)
	}
	replies, missed = n.replies, n.missed
	clear(n.keys)
	n.replies, n.missed = false, false
	if missed {
		n.events, n.looks = 0, 0
	}
	return keys, replies, missed
}

// again gives back what could not be looked at.
func (n *news) again(keys []bridge.Key, missed bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, key := range keys {
		n.keys[key] = true
	}
	n.missed = n.missed || missed
}

// stored says how many events were found; those that are still on their way are
// looked for again.
func (n *news) stored(found int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.events = max(0, n.events-found)
	if n.looks--; n.events > 0 && n.looks > 0 {
		n.signal()
	} else {
		n.events = 0
	}
}

func (n *news) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}
