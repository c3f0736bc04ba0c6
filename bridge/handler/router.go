package handler

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"strings"
	"time"

	"perch/bridge"
	"perch/bridge/config"
)

// Router is the handler of all conversations: it asks the one that a message is
// for, if it is for one, and answers as the configuration says.
type Router struct {
	// Ear hears voice messages, so that they are answered as if they had been
	// written; nil: they are files like others. It is set before the first use.
	Ear *Ear
	// Draft returns the draft of the answer to a message; nil: answers are whole when
	// they are posted. It is set before the first use.
	Draft func(m bridge.Message) Draft

	// Past returns a message that was asked, by its id in a room; found is false if it
	// is not kept. nil: none is. It is set before the first use.
	Past func(ctx context.Context, room, id string) (m bridge.Message, found bool, err error)

	rooms map[string]route // by token
	other route            // of all other conversations
}

// route is who is asked in a conversation, and when.
type route struct {
	trigger trigger
	asked   *asked // nil: nobody
}

// NewRouter returns the Router of a configuration. create returns a handler by
// its name, empty for the one in [handler], and its settings. For Commands it is
// called for each trigger that rooms give it, which is set in h; for every other
// kind once, if a room has it. ack posts a reply at once, before those that a
// handler returns.
func NewRouter(
	c config.Config,
	create func(name string, h config.Handler) (bridge.Handler, error),
	ack func(ctx context.Context, r bridge.Reply) error,
	sink bridge.EventSink,
) (*Router, error) {
	type key struct {
		name    string
		trigger config.Trigger
	}
	made := map[key]*asked{}
	to := func(token string) (route, error) {
		room := c.Room(token)
		if !room.Enabled {
			return route{}, nil
		}
		h, ok := c.HandlerBy(room.Handler)
		if !ok {
			return route{}, &bridge.Error{
				Code: bridge.CodeInvalid,
				Text: bridge.Say("The room %[1]s is to be answered by the handler %[2]s, and there is none of that name", token, room.Handler),
				Hint: bridge.Say("Write one in config.toml, under [handlers.%s]", room.Handler),
			}
		}
		of := key{name: room.Handler}
		if h.Kind == config.Commands {
			h.Trigger, of.trigger = room.Trigger, room.Trigger
		}
		if made[of] == nil {
			answers, err := create(room.Handler, h)
			if err != nil {
				return route{}, err
			}
			made[of] = &asked{room.Handler, h, answers, make(chan struct{}, max(h.AtOnce, 1)), ack, sink}
		}
		t := trigger{on: room.Trigger, prefix: h.Prefix, names: h.Names, quoted: h.Kind != config.Commands}
		return route{t, made[of]}, nil
	}
	r := &Router{rooms: map[string]route{}}
	var err error
	if r.other, err = to(""); err != nil {
		return nil, err
	}
	for token := range c.Rooms {
		if r.rooms[token], err = to(token); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Queue reports whether a handler is to be asked about m, and how many messages
// of its room can wait for that: any number where only Commands answers, which
// is done with each at once.
func (r *Router) Queue(m bridge.Message) (most int, asked bool) {
	to, _, ok := r.route(m)
	if m.Kind == bridge.KindReaction {
		to = r.of(m.Room).asked
		ok = to != nil && to.config.Kind != config.Relay && (to.hears(m) || isBuiltIn(m.Event))
	}
	if _, trigger, spoken := r.recording(m); spoken && trigger.mayHear(m) {
		ok = true
	}
	switch {
	case !ok:
		return 0, false
	case to.config.Kind == config.Commands:
		return math.MaxInt, true
	default:
		return to.config.Queue, true
	}
}

// Handle implements bridge.Handler. The handler that is asked gets the text of m
// without the prefix or the name that called it. Handle can take much longer
// than the deadline of that handler, which begins when it is its turn.
func (r *Router) Handle(ctx context.Context, m bridge.Message) ([]bridge.Reply, error) {
	if m.Kind == bridge.KindReaction {
		return r.react(ctx, m)
	}
	to, text, ok := r.route(m)
	if recording, trigger, spoken := r.recording(m); spoken && trigger.mayHear(m) {
		return to.hear(ctx, r, m, recording, trigger, ok)
	}
	if !ok {
		return nil, nil
	}
	m.Text = text
	return to.handle(ctx, r, m)
}

// What a reaction to an answer means, where its handler has not asked for it.
const (
	askAgain   = "🔁"
	takeItAway = "❌"
)

func isBuiltIn(emoji string) bool {
	return plainEmoji(emoji) == askAgain || plainEmoji(emoji) == takeItAway
}

// plainEmoji returns an emoji without the sign that asks for its picture.
func plainEmoji(emoji string) string { return strings.ReplaceAll(emoji, "\ufe0f", "") }

// agreeing is a Handler that asks before it does something.
type agreeing interface {
	// handleAgreed does what m, a reaction, agrees to.
	handleAgreed(ctx context.Context, m bridge.Message) ([]bridge.Reply, error)
}

// hears reports whether the handler is told of a reaction.
func (a *asked) hears(m bridge.Message) bool {
	if m.Reaction != nil && m.Reaction.Call != nil {
		_, ok := a.handler.(agreeing)
		return ok
	}
	programs := a.config.Kind == config.Exec || a.config.Kind == config.HTTP
	return m.Reaction != nil && programs && (m.Reaction.Choice || a.config.OnReaction && !isBuiltIn(m.Event))
}

// react answers a reaction to a reply.
func (r *Router) react(ctx context.Context, m bridge.Message) ([]bridge.Reply, error) {
	to := r.of(m.Room).asked
	switch {
	case to == nil || m.Reaction == nil || m.InReplyTo == nil:
		return nil, nil
	case to.hears(m):
		replies, err := to.respond(ctx, nil, m)
		for i := range replies {
			if replies[i].ReplyTo == m.Key.ID { // which is no message that could be quoted
				replies[i].ReplyTo = m.InReplyTo.Key.ID
			}
		}
		return replies, err
	case plainEmoji(m.Event) == takeItAway:
		return []bridge.Reply{{Room: m.Room, ReplyTo: m.InReplyTo.Key.ID, Remove: true}}, nil
	case plainEmoji(m.Event) == askAgain && r.Past != nil:
		asked, found, err := r.Past(ctx, m.Room.Token, m.Reaction.Answers)
		if err != nil || !found || asked.Kind != bridge.KindChat {
			return nil, err
		}
		return r.Handle(ctx, asked)
	}
	return nil, nil
}

// route returns who is asked about m, and with which text.
func (r *Router) route(m bridge.Message) (to *asked, text string, ok bool) {
	route := r.of(m.Room)
	if route.asked == nil {
		return nil, "", false
	}
	text, ok = route.trigger.match(m)
	return route.asked, text, ok
}

// of returns who is asked in a conversation.
func (r *Router) of(room bridge.Room) route {
	if route, known := r.rooms[room.Token]; known {
		return route
	}
	return r.other
}

// recording returns the voice message that m is, if it can be heard, and what
// decides whether it is for the handler.
func (r *Router) recording(m bridge.Message) (recording bridge.Attachment, t trigger, ok bool) {
	route := r.of(m.Room)
	if r.Ear == nil || route.asked == nil || route.asked.config.Kind == config.Relay {
		return recording, t, false
	}
	recording, ok = m.Recording()
	return recording, route.trigger, ok
}

// asked is a handler that is held to its contract, and answers as its settings
// say.
type asked struct {
	name    string
	config  config.Handler
	handler bridge.Handler
	slots   chan struct{} // one token for each message that it works on
	ack     func(ctx context.Context, r bridge.Reply) error
	sink    bridge.EventSink
}

// hear answers a voice message, when it was heard and is for the handler. sure
// says that it is, whatever was said.
func (a *asked) hear(ctx context.Context, by *Router, m bridge.Message, recording bridge.Attachment, t trigger, sure bool) ([]bridge.Reply, error) {
	emoji := a.config.Ack
	if emoji == "" {
		emoji = listening
	}
	acked := sure && a.acknowledge(ctx, m, emoji)
	replies, err := a.listen(ctx, by, m, recording, t, sure)
	if acked && ctx.Err() == nil && !errors.Is(err, bridge.ErrAgain) {
		replies = append(replies, reaction(m, emoji, true))
	}
	return replies, err
}

func (a *asked) listen(ctx context.Context, by *Router, m bridge.Message, recording bridge.Attachment, t trigger, sure bool) ([]bridge.Reply, error) {
	began := time.Now()
	heard, err := by.Ear.Hear(ctx, m, recording)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if not, ok := errors.AsType[unheard](err); ok {
		var replies []bridge.Reply
		if sure { // else nobody knows whom it was for
			replies = a.finish(m, []bridge.Reply{{Text: not.said}})
		}
		return replies, not.error
	}
	a.sink.Publish(bridge.Event{
		Stage: bridge.StageHandler, Kind: bridge.EventHeard, Room: m.Room, Actor: m.Author, MessageID: m.Key.ID, Text: heard.Text,
		Title: bridge.Say("A voice message was heard"), Duration: time.Since(began),
	})
	text, ok := t.match(heard)
	if !ok {
		return nil, nil
	}
	heard.Text = text
	return a.respond(ctx, by.Draft, heard)
}

// handle answers m. When ctx is done before there is an answer, its error is
// that of ctx, and nothing is said to the room: m will be handled again.
func (a *asked) handle(ctx context.Context, by *Router, m bridge.Message) ([]bridge.Reply, error) {
	acked := a.config.Ack != "" && a.config.Kind != config.Commands && a.acknowledge(ctx, m, a.config.Ack)
	replies, err := a.respond(ctx, by.Draft, m)
	if acked && ctx.Err() == nil && !errors.Is(err, bridge.ErrAgain) {
		replies = append(replies, reaction(m, a.config.Ack, true))
	}
	return replies, err
}

// respond is handle without the reaction on m.
func (a *asked) respond(ctx context.Context, drafts func(bridge.Message) Draft, m bridge.Message) ([]bridge.Reply, error) {
	var draft Draft
	if _, ok := a.handler.(growing); ok && a.config.Stream && drafts != nil {
		draft = drafts(m)
	}
	given, err := a.answer(ctx, m, draft)
	if err != nil && ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if errors.Is(err, bridge.ErrAgain) {
		return nil, err
	}
	passed := errors.Is(err, bridge.ErrPassedOn) || errors.Is(err, bridge.ErrLimited)
	replies := slices.Clone(given)
	if err != nil && !passed && a.config.OnError != "" {
		replies = append(replies, bridge.Reply{Text: a.config.OnError})
	}
	if draft != nil && len(replies) > 0 {
		ref, refErr := draft.Ref(ctx)
		if refErr != nil {
			return nil, refErr
		}
		replies[0].Edits = ref
	}
	return a.finish(m, replies), err
}

// finish makes replies to m what the settings say of all.
func (a *asked) finish(m bridge.Message, replies []bridge.Reply) []bridge.Reply {
	for i := range replies {
		r := &replies[i]
		here := r.Room.Token == "" || r.Room.Token == m.Room.Token
		if r.ReplyTo == "" && here && (a.config.Quote || r.Reaction != "") {
			r.ReplyTo = m.Key.ID
		}
		r.Silent = r.Silent || a.config.Silent
	}
	return replies
}

// acknowledge puts a reaction on m, and reports whether it will stand there.
func (a *asked) acknowledge(ctx context.Context, m bridge.Message, emoji string) bool {
	err := a.ack(ctx, reaction(m, emoji, false))
	if err != nil && ctx.Err() == nil {
		e := bridge.Event{
			Stage: bridge.StageHandler, Kind: bridge.EventHandlerNote, Room: m.Room, Actor: m.Author, MessageID: m.Key.ID,
			Title: bridge.Say("The reaction %s could not be set", emoji),
		}.Failed(err)
		e.Level = slog.LevelWarn
		a.sink.Publish(e)
	}
	return err == nil
}

func reaction(m bridge.Message, emoji string, remove bool) bridge.Reply {
	return bridge.Reply{Room: m.Room, ReplyTo: m.Key.ID, Reaction: emoji, Remove: remove}
}

// answer runs the handler when it is m's turn, until its deadline. A draft shows
// the answer while it grows; nil: none.
func (a *asked) answer(ctx context.Context, m bridge.Message, draft Draft) ([]bridge.Reply, error) {
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	timed, cancel := context.WithCancel(ctx)
	defer cancel()
	if a.config.Kind != config.Relay { // which has a deadline for each attempt
		timed, cancel = context.WithTimeout(ctx, time.Duration(a.config.Timeout))
		defer cancel()
	}

	handler := a.handler
	if g, ok := a.handler.(agreeing); ok && m.Reaction != nil {
		handler = bridge.HandlerFunc(g.handleAgreed)
	}
	if g, ok := a.handler.(growing); ok && draft != nil {
		handler = bridge.HandlerFunc(func(ctx context.Context, m bridge.Message) ([]bridge.Reply, error) {
			return g.handleGrowing(ctx, m, func(ctx context.Context, text string) {
				_ = draft.Show(ctx, a.finish(m, []bridge.Reply{{Text: text}})[0]) // the whole answer follows, whatever came of this
			})
		})
	}
	replies, err := bridge.Call(timed, handler, m)
	if err != nil && errors.Is(timed.Err(), context.DeadlineExceeded) {
		err = a.late(err)
	}
	return replies, err
}

// late is the error of a handler that reached its deadline. What the handler
// knows about why is a better hint than the setting.
func (a *asked) late(cause error) error {
	table := "handler"
	if a.name != "" {
		table = "handlers." + a.name
	}
	hint := bridge.HintOf(cause)
	if hint.IsZero() {
		hint = bridge.Say("To give it longer, set timeout in config.toml under [%s].", table)
	}
	return &bridge.Error{
		Code:  bridge.CodeUnavailable,
		Text:  bridge.Say("The handler did not answer within %s", a.config.Timeout.String()),
		Hint:  hint,
		Cause: cause,
	}
}
