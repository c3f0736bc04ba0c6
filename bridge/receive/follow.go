package receive

import (
	"context"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"perch/bridge"
)

// look asks once what changed, and hands it in.
func (f *Follower) look(ctx context.Context) error {
	if f.user.ID == "" {
		f.ask()
		user, err := f.Server.User(ctx)
		if err != nil {
			return err
		}
		f.mu.Lock()
		f.user = user
		f.mu.Unlock()
	}
	since := f.since
	whole := since == 0 || time.Since(f.full) >= fullEvery
	if whole {
		since = 0
	}
	f.ask()
	asked := time.Now()
	list, err := f.Server.Conversations(ctx, since)
	if err != nil {
		return err
	}
	if whole {
		f.full = asked
	}
	if f.since = 0; list.Before > overlap {
		f.since = list.Before - overlap
	}
	f.mu.Lock()
	f.state.Asked, f.state.Took = time.Now(), time.Since(asked)
	f.ahead = time.Until(list.Now)
	f.mu.Unlock()
	first := f.started.IsZero()
	if err := f.begin(ctx, list); err != nil {
		return err
	}
	pending := f.update(list, whole)
	if first {
		f.Sink.Publish(bridge.Event{
			Kind: bridge.EventLoggedIn, Stage: bridge.StageApp, Actor: f.user,
			Title: bridge.Say("Logged in as %[1]s, who is in %[2]s conversations", f.user.String(), strconv.Itoa(len(list.All))),
		})
	}
	unread := 0
	for _, r := range pending {
		err := f.catchUp(ctx, r)
		if err == nil {
			unread = 0
			continue
		}
		if unread++; bridge.CodeOf(err) != bridge.CodeUnavailable || unread == 3 || ctx.Err() != nil { // it is not the conversation
			return err
		}
	}
	f.startPolls(ctx)
	return nil
}

// begin reads since when the account is followed. The first time ever that is
// when f was made: what stood in its conversations before is not answered.
func (f *Follower) begin(ctx context.Context, list bridge.Conversations) error {
	if !f.started.IsZero() {
		return nil
	}
	value, err := f.Places.Get(ctx, begun)
	if err != nil {
		return err
	}
	if at, err := time.Parse(time.RFC3339, value); err == nil {
		f.started = at
		return nil
	}
	started := list.Now.Add(-time.Since(f.made)).Truncate(time.Second) // Talk tells no fractions
	for _, c := range list.All {
		if c.Last > 0 && (!c.Said || c.Active.Before(started)) {
			if err := f.Places.Set(ctx, c.Room.Token, strconv.FormatInt(c.Last, 10)); err != nil {
				return err
			}
		}
	}
	if err := f.Places.Set(ctx, begun, started.UTC().Format(time.RFC3339)); err != nil {
		return err
	}
	f.started = started
	return nil
}

// update takes a list over, and returns the conversations in which there is
// something to hand in, and which nobody polls.
func (f *Follower) update(list bridge.Conversations, whole bool) (pending []*room) {
	f.mu.Lock()
	defer f.mu.Unlock()
	listed := map[string]bool{}
	for _, c := range list.All {
		listed[c.Room.Token] = true
		r := f.rooms[c.Room.Token]
		if r == nil {
			r = &room{pending: true}
			f.rooms[c.Room.Token] = r
		}
		if c.Last == 0 && c.Active.After(r.Active) {
			r.pending = true
		}
		if r.polled { // which reads the rest
			r.Last = c.Last
		} else {
			r.Conversation = c
		}
	}
	for token, r := range f.rooms {
		switch {
		case whole && !listed[token] && !r.polled:
			delete(f.rooms, token)
		case r.Kind == bridge.KindGenerated || r.polled || time.Now().Before(r.retry):
		case r.pending || r.Last > r.place:
			pending = append(pending, r)
		}
	}
	return pending
}

// catchUp hands in what is new in a conversation. A conversation that the
// account is no longer in is no error.
func (f *Follower) catchUp(ctx context.Context, r *room) error {
	err := f.read(ctx, r)
	if bridge.CodeOf(err) == bridge.CodeNotFound { // if the account is in it again, that is another invitation
		r.known = false
		if err := f.Places.Set(ctx, r.Room.Token, ""); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		r.pending, r.failures, r.retry = false, 0, time.Time{}
		return nil
	}
	if !r.known {
		r.place = 0
	}
	r.retry = time.Now().Add(min(retryFirst<<min(r.failures, 16), roomRetryMost))
	r.failures++
	e := bridge.Event{
		Kind: bridge.EventMissedFailed, Stage: bridge.StageIntake, Room: r.Room,
		Title: bridge.Say("What was said in %s could not be read", r.Room.String()),
	}.Failed(err)
	if e.Level = slog.LevelDebug; r.failures == 1 {
		e.Level = slog.LevelWarn
	}
	if bridge.CodeOf(err) == bridge.CodeNotFound {
		e.Level, err = slog.LevelDebug, nil
		r.pending = false
	}
	if ctx.Err() == nil {
		f.Sink.Publish(e)
	}
	return err
}

func (f *Follower) read(ctx context.Context, r *room) error {
	if !r.known {
		value, err := f.Places.Get(ctx, r.Room.Token)
		if err != nil {
			return err
		}
		place, by, _ := strings.Cut(value, " ")
		if r.place, err = strconv.ParseInt(place, 10, 64); err != nil {
			return f.enter(ctx, r)
		}
		r.known = true
		if by != "" {
			f.ignore(r, bridge.ParseActor(by))
		}
	}
	if r.ignored.ID != "" {
		if !f.Allowed(r.Room.Token, r.ignored) {
			return nil
		}
		f.ignore(r, bridge.Actor{})
	}
	for range pagesMost {
		if r.Last > 0 && r.Last <= r.place {
			return nil
		}
		f.ask()
		chat, err := f.Server.Poll(ctx, r.Room, r.place, 0)
		if err != nil || chat.Last == 0 {
			return err
		}
		if err := f.take(ctx, r, chat); err != nil {
			return err
		}
	}
	// Whatever came in between, the newest is what somebody waits for.
	f.ask()
	chat, err := f.Server.Latest(ctx, r.Room)
	if err != nil || chat.Last == 0 {
		return err
	}
	return f.take(ctx, r, chat)
}

// enter begins to follow a conversation that is new to us, if it was somebody
// who may that invited the account.
func (f *Follower) enter(ctx context.Context, r *room) error {
	f.ask()
	chat, err := f.Server.Latest(ctx, r.Room)
	if err != nil {
		return err
	}
	for i := len(chat.Messages) - 1; i >= 0 && !r.Kind.Direct(); i-- {
		m := chat.Messages[i]
		if m.Kind != bridge.KindSystem || m.Event != "user_added" || m.Parameters["user"]["type"] != "user" || m.Parameters["user"]["id"] != f.user.ID || m.SentAt.Before(f.started) {
			continue
		}
		e := bridge.Event{
			Kind: bridge.EventInvited, Stage: bridge.StageIntake, Room: r.Room, Actor: m.Author,
			Title: bridge.Say("%[1]s added the account to %[2]s", m.Author.String(), r.Room.String()),
		}
		if !sameActor(m.Author, f.user) && !f.Allowed(r.Room.Token, m.Author) {
			e.Level, e.Code = slog.LevelWarn, bridge.CodeDenied
			e.Title = bridge.Say("%[1]s added the account to %[2]s, which is ignored: %[3]s is not among the allowed users", m.Author.String(), r.Room.String(), m.Author.Ref())
			f.Sink.Publish(e)
			if err := f.Places.Set(ctx, r.Room.Token, m.Key.ID+" "+m.Author.Ref()); err != nil {
				return err
			}
			r.place, _ = strconv.ParseInt(m.Key.ID, 10, 64)
			r.known = true
			f.ignore(r, m.Author)
			return nil
		}
		f.Sink.Publish(e)
		chat.Messages = chat.Messages[i+1:]
		break
	}
	if err := f.take(ctx, r, chat); err != nil {
		return err
	}
	r.known = true
	return nil
}

func (f *Follower) ignore(r *room, by bridge.Actor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.ignored = by
}

// take hands in messages, and remembers that it did.
func (f *Follower) take(ctx context.Context, r *room, chat bridge.Chat) error {
	f.mu.Lock()
	oldest := time.Now().Add(f.ahead - f.CatchUp)
	f.mu.Unlock()
	old, news := 0, false
	for _, m := range chat.Messages {
		m.Addressed = f.addressed(r, m)
		if m.Kind == bridge.KindChat && m.SentAt.Before(f.started) {
			continue
		}
		if m.Kind == bridge.KindChat && m.SentAt.Before(oldest) {
			if m.Addressed != "" && !sameActor(m.Author, f.user) && f.Allowed(r.Room.Token, m.Author) {
				old++
			}
			continue
		}
		if m.Kind == bridge.KindChat && m.Addressed == "" && !f.Allowed(r.Room.Token, m.Author) {
			continue // an account can be among many who have nothing to do with it
		}
		if r := m.Reaction; r != nil && (sameActor(r.By, f.user) || r.At.Before(f.started) || r.At.Before(oldest)) {
			continue
		}
		if sameActor(m.Author, f.user) && m.Kind == bridge.KindChat {
			own, err := f.Own(ctx, m)
			if err != nil {
				return err
			}
			if own || !f.Allowed(r.Room.Token, m.Author) { // or the person whose account it is
				continue
			}
		}
		if err := f.Intake.Accept(ctx, m); err != nil {
			return err
		}
		news = news || m.Kind == bridge.KindChat
	}
	if old > 0 {
		f.Sink.Publish(bridge.Event{
			Kind: bridge.EventTooOld, Stage: bridge.StageIntake, Room: r.Room,
			Title: bridge.Say("%[1]s messages in %[2]s are older than %[3]s and are not answered", strconv.Itoa(old), r.Room.String(), f.CatchUp.String()),
		})
	}
	place := max(chat.Last, r.place)
	if err := f.Places.Set(ctx, r.Room.Token, strconv.FormatInt(place, 10)); err != nil {
		return err
	}
	if news && f.MarkRead {
		f.ask()
		if err := f.Server.MarkRead(ctx, r.Room, place); bridge.CodeOf(err) == bridge.CodeUnauthorized || bridge.CodeOf(err) == bridge.CodeThrottled {
			return err // what else goes wrong is not worth another attempt
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r.place = place
	if news {
		r.news = time.Now()
		f.state.News = r.news
		if !r.polled {
			f.pace = newsEvery
		}
	}
	return nil
}

// addressed returns the id of the account if a message is for it, as it is alone
// with its author, mentions the account or replies to it; else nothing.
func (f *Follower) addressed(r *room, m bridge.Message) string {
	if r.Kind.Direct() || m.InReplyTo != nil && sameActor(m.InReplyTo.Author, f.user) {
		return f.user.ID
	}
	for name, p := range m.Parameters {
		if strings.HasPrefix(name, "mention-") && p["type"] == "user" && p["id"] == f.user.ID {
			return f.user.ID
		}
	}
	return ""
}

func sameActor(a, b bridge.Actor) bool { return a.Type == b.Type && a.ID == b.ID }

// startPolls polls the conversations in which somebody spoke last, as far as
// there are places.
func (f *Follower) startPolls(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, free := time.Now(), pollsAtOnce
	for _, r := range f.rooms {
		if r.polled {
			free--
		}
	}
	polls := f.polls //nolint:contextcheck // it was made of ctx
	if polls == nil {
		polls, f.stop = context.WithCancel(ctx)
		f.polls = polls
	}
	for _, r := range f.rooms {
		if free == 0 {
			return
		}
		if r.polled || r.pending || !r.known || r.ignored.ID != "" || now.Sub(r.news) >= activeFor || now.Before(r.noPoll) {
			continue
		}
		r.polled = true
		free--
		f.polling.Go(func() { f.follow(polls, r) })
	}
}

// stopPolls ends all polls. What they would have told, the list will.
func (f *Follower) stopPolls() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stop != nil {
		f.stop()
	}
	f.polls, f.stop = nil, nil
}

// follow polls a conversation until it has been quiet for a while, or until that
// does not work: then the list shows what is new there.
func (f *Follower) follow(ctx context.Context, r *room) {
	err := f.pollOn(ctx, r)
	f.mu.Lock()
	r.polled = false
	if err != nil {
		r.pending = true
	}
	if bridge.CodeOf(err) == bridge.CodeNotFound {
		r.Last = 0 // the list no longer tells
	}
	if err != nil && ctx.Err() == nil {
		r.noPoll = time.Now().Add(min(retryFirst<<min(r.broke, 16), retryMost))
		r.broke++
	}
	f.mu.Unlock()
	switch bridge.CodeOf(err) {
	case bridge.CodeUnauthorized, bridge.CodeThrottled:
		select {
		case f.trouble <- err:
		default:
		}
	default:
	}
}

func (f *Follower) pollOn(ctx context.Context, r *room) error {
	for {
		f.mu.Lock()
		quiet, wait := time.Since(r.news), f.longest
		f.mu.Unlock()
		if quiet >= activeFor {
			return nil
		}
		f.ask()
		asked := time.Now()
		chat, err := f.Server.Poll(ctx, r.Room, r.place, wait)
		took := time.Since(asked)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case bridge.CodeOf(err) == bridge.CodeUnavailable && took >= soonestEnd:
			f.mu.Lock()
			f.longest = max(took.Truncate(time.Second)-time.Second, soonestEnd)
			f.mu.Unlock()
		case err != nil:
			return err
		case chat.Last > 0:
			f.mu.Lock()
			r.broke = 0
			f.mu.Unlock()
			if err := f.take(ctx, r, chat); err != nil {
				return err
			}
		case took < time.Second: // the server does not wait
			if !pause(ctx, restEvery) {
				return ctx.Err()
			}
		}
	}
}

// pause waits, and reports whether it did so to the end.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
