package app

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/journal"
)

const (
	missedRooms  = 20  // conversations that are looked at, those with the latest messages
	missedLooked = 200 // messages that are looked at in each, the newest
	missedMost   = 50  // messages that are handled in each, the newest
	missedTime   = 2 * time.Minute
)

// keepMissed fetches what Talk could not deliver, as it sends each webhook once:
// whenever the server answers after messages may have been missed. That needs an
// app token. What fails is not tried again before the next such time, and what
// the server refuses not before the settings change.
func (a *App) keepMissed(ctx context.Context) error {
	c := catchUp{app: a}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.fetch:
		}
		if s := a.current.Load(); c.settings != s {
			c.settings, c.refused, c.tokenRefused = s, map[string]bool{}, false
		}
		if c.settings.appToken.IsZero() || c.settings.config.Talk.Receive == config.ByAccount || c.tokenRefused || !a.away.Swap(false) {
			continue
		}
		if !c.run(ctx) {
			a.away.Store(true)
		}
		a.Bus.Publish(bridge.Event{Stage: bridge.StageApp, Kind: bridge.EventMissedFetched, Level: slog.LevelDebug, Title: bridge.Say("Messages that may have been missed were asked for")})
	}
}

// catchUp fetches missed messages with the same settings.
type catchUp struct {
	app *App

	settings     *settings
	refused      map[string]bool // rooms that the token's user cannot read
	tokenRefused bool            // the server takes the token no more
}

// run asks for the missed messages of every conversation, and reports whether
// none was left out.
func (c *catchUp) run(ctx context.Context) (complete bool) {
	ctx, cancel := context.WithTimeout(ctx, missedTime)
	defer cancel()
	since := time.Now().Add(-time.Duration(c.settings.config.Journal.CatchUp))
	rooms, err := c.app.journal.Heard(ctx, c.settings.config.Talk.BaseURL, since, missedRooms)
	if err != nil {
		c.report(ctx, bridge.Room{}, err)
		return false
	}
	complete = true
	for _, heard := range rooms {
		token := heard.Room.Token
		from, enabled := c.enabledSince(ctx, heard)
		if !enabled || c.refused[token] || !c.settings.Access(token).Enabled {
			continue
		}
		err := c.room(ctx, heard, from)
		if err == nil {
			c.app.forget(ctx, noteClosed+token)
			continue
		}
		complete = false
		if bridge.CodeOf(err) != bridge.CodeNotFound || c.news(ctx, token) {
			c.report(ctx, heard.Room, err)
		}
		switch bridge.CodeOf(err) {
		case bridge.CodeNotFound:
			c.refused[token] = true
		case bridge.CodeUnauthorized:
			c.tokenRefused = true
			return false
		default:
			return false
		}
	}
	return complete
}

// news reports whether it was not said yet, in an earlier run either, that the
// token's user cannot read a conversation.
func (c *catchUp) news(ctx context.Context, token string) bool {
	return c.app.first(ctx, noteClosed+token)
}

// enabledSince reports whether the bot is enabled in a conversation, as far as
// is known, and from when on to look for messages there.
func (c *catchUp) enabledSince(ctx context.Context, heard journal.Heard) (from time.Time, enabled bool) {
	noted := func(name string) time.Time {
		value, _ := c.app.journal.Noted(ctx, name+heard.Room.Token)
		t, _ := time.Parse(time.RFC3339Nano, value) // zero: it was not noted
		return t
	}
	joined, left := noted(noteJoined), noted(noteLeft)
	if left.After(joined) && !heard.Last.After(left) {
		return from, false
	}
	return slices.MaxFunc([]time.Time{heard.Since, joined, left}, time.Time.Compare), true
}

// room hands in what was missed in a conversation since the given time.
func (c *catchUp) room(ctx context.Context, heard journal.Heard, since time.Time) error {
	missed, err := c.settings.talk.Missed(ctx, heard.Room, heard.After, since, missedLooked)
	if err != nil {
		return err
	}
	if missed, err = c.app.journal.Unknown(ctx, missed); err != nil {
		return err
	}
	missed = missed[max(0, len(missed)-missedMost):]
	if c.relayed(heard.Room) {
		return c.lose(ctx, missed)
	}
	handled := 0
	for _, m := range missed {
		state, novelty, acceptErr := c.app.intake.Accept(ctx, c.settings, m)
		if err = acceptErr; err != nil {
			break
		}
		if state == bridge.MessageWaiting && novelty != bridge.Known {
			handled++
		}
	}
	e := bridge.Event{Stage: bridge.StageIntake, Kind: bridge.EventMissedFetched, Room: heard.Room, Count: handled}
	switch handled {
	case 0:
		return err
	case 1:
		e.Title = bridge.Say("A message in %s was missed while away and is handled now", heard.Room.String())
	default:
		e.Title = bridge.Say("%[1]s messages in %[2]s were missed while away and are handled now", strconv.Itoa(handled), heard.Room.String())
	}
	c.app.Bus.Publish(e)
	return err
}

// relayed reports whether another bot is to answer in a conversation. It takes
// what Talk signed, and Talk signs nothing twice.
func (c *catchUp) relayed(room bridge.Room) bool {
	h, _ := c.settings.config.HandlerBy(c.settings.config.Room(room.Token).Handler)
	return h.Kind == config.Relay
}

// lose writes down and says of those messages that would have been handed on that
// they are not.
func (c *catchUp) lose(ctx context.Context, missed []bridge.Message) error {
	for _, m := range missed {
		if _, asked := c.settings.router.Queue(m); !asked || !c.settings.Access(m.Room.Token).Allowed.Allows(m.Author) {
			continue
		}
		why := &bridge.Failure{
			Code:   bridge.CodeUnavailable,
			Reason: bridge.Say("A message in %s was missed and cannot be handed on", m.Room.String()),
			Hint:   bridge.Say("The other bot takes only what Talk itself sends, and Talk sends nothing twice. Write it again."),
		}
		novelty, err := c.app.journal.Put(ctx, m, bridge.MessageMissed, why)
		if err != nil {
			return err
		}
		if novelty == bridge.Known {
			continue
		}
		c.app.Bus.Publish(bridge.NewMessageEvent(m, bridge.MessageMissed, why))
	}
	return nil
}

// report says that what was missed cannot be fetched, at a level that is shown
// where that is not tried again.
func (c *catchUp) report(ctx context.Context, room bridge.Room, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	e := bridge.Event{
		Stage: bridge.StageApp, Kind: bridge.EventMissedFailed, Room: room,
		Title: bridge.Say("Messages that were missed while away could not be fetched"),
	}.Failed(err)
	switch e.Code {
	case bridge.CodeUnauthorized:
		e.Level = slog.LevelWarn
	case bridge.CodeNotFound: // the bot can be in conversations that the user is not in
		e.Level = slog.LevelInfo
	default:
		e.Level = slog.LevelDebug
	}
	c.app.Bus.Publish(e)
}
