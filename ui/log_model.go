package ui

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"perch/bridge"
	"perch/ui/kit"
)

// logRow is one line of the log: a message with what became of it, or another
// event. It never changes; where more is known, another takes its place.
type logRow struct {
	seq   uint64     // its place in the log
	event logEvent   // the message, or the event
	later []logEvent // what became of the message, oldest first
	fate  fate
}

// logEvent is an event of which many have most in common: the room, the person
// and what happened. Its own fields go before those of the event that it points
// to.
type logEvent struct {
	*bridge.Event

	ID                       int64
	Time                     time.Time
	MessageID, Answers, Text string
	Duration, Waited         time.Duration
}

// newLogEvent returns e with nothing in common with others.
func newLogEvent(e bridge.Event) logEvent {
	return logEvent{
		Event: &e, ID: e.ID, Time: e.Time, MessageID: e.MessageID, Answers: e.Answers, Text: e.Text,
		Duration: e.Duration, Waited: e.Waited,
	}
}

// whole returns the event as it was.
func (e logEvent) whole() bridge.Event {
	all := *e.Event
	all.ID, all.Time, all.MessageID, all.Answers, all.Text = e.ID, e.Time, e.MessageID, e.Answers, e.Text
	all.Duration, all.Waited = e.Duration, e.Waited
	return all
}

// logFrame is what events have in common.
type logFrame struct {
	stage bridge.Stage
	kind  bridge.EventKind
	level slog.Level
	title string
	room  bridge.Room
	actor bridge.Actor
	code  bridge.Code
}

// fate is what became of a message.
type fate int

const (
	fateNone    fate = iota // it is no message that is answered
	fateWorking             // it waits for the handler, or the handler has it
	fateKept                // no handler answers to it
	fatePassed              // another bot has it
	fateFailed

	// Of several replies, the gravest counts.
	fateSilent   // the handler had nothing to say
	fateSent     // all replies
	fateSending  // a reply waits for its turn
	fateRetrying // a reply could not be sent yet
	fateSlowed   // the server asked to slow down
	fateHeld     // the server refused a reply: it waits for a person
	fateGivenUp
)

// maxLater bounds what a row remembers of what became of its message.
const maxLater = 8

// isMessage says if e is a message that was taken.
func isMessage(e logEvent) bool {
	return e.Kind == bridge.EventMessageReceived || e.Kind == bridge.EventMessageNotForBot
}

// logKey names an entry of the journal.
type logKey struct {
	kind byte // m: a message, r: a reply that answers none, e: an event
	id   int64
}

func keyOf(e bridge.Entry) logKey {
	switch {
	case e.Message != nil:
		return logKey{'m', e.Message.ID}
	case e.Reply != nil:
		return logKey{'r', e.Reply.ID}
	default:
		return logKey{'e', e.Event.ID}
	}
}

// fateOf returns what became of a message, as its replies tell.
func fateOf(r *bridge.Record) fate {
	switch r.State {
	case bridge.MessageWaiting, bridge.MessageHandling:
		return fateWorking
	case bridge.MessageFailed, bridge.MessageUnreadable:
		return fateFailed
	case bridge.MessageNotForBot:
		return fateKept
	case bridge.MessagePassed:
		return fatePassed
	case bridge.MessageHandled:
	default:
		return fateNone
	}
	worst := fateSilent
	for _, reply := range r.Replies {
		if !reply.Reply.Remove {
			worst = max(worst, fateOfReply(reply))
		}
	}
	return worst
}

func fateOfReply(r bridge.ReplyRecord) fate {
	switch {
	case r.State == bridge.ReplySent:
		return fateSent
	case r.State == bridge.ReplyGivenUp:
		return fateGivenUp
	case r.State == bridge.ReplyHeld && r.Failure != nil && r.Failure.Code == bridge.CodeThrottled:
		return fateSlowed
	case r.State == bridge.ReplyHeld:
		return fateHeld
	case r.Failure != nil:
		return fateRetrying
	default:
		return fateSending
	}
}

// fateNow returns what became of a message; held says if replies are held back.
func (r *logRow) fateNow(held bool) fate {
	if r.fate == fateHeld && !held {
		return fateSending
	}
	return r.fate
}

// state returns the state of a row in a word or two.
func (r *logRow) state(now time.Time, held bool) (bridge.Text, kit.Tone) {
	switch r.fateNow(held) {
	case fateWorking:
		return bridge.Say("working %s", wholeSeconds(now.Sub(r.event.Time))), kit.Neutral
	case fateSending:
		return bridge.Say("sending"), kit.Neutral
	case fateRetrying:
		return bridge.Say("trying again"), kit.Warn
	case fateHeld:
		return bridge.Say("%s held", "401"), kit.Bad
	case fateSlowed:
		return bridge.Say("%s held", "429"), kit.Warn
	case fateSent:
		if d := r.waited(); d > 0 {
			return bridge.Say("sent %s", kit.FormatDuration(d)), kit.OK
		}
		return bridge.Say("sent"), kit.OK
	case fateSilent:
		return bridge.Say("no reply"), kit.Neutral
	case fateKept:
		return bridge.Say("for the record"), kit.Neutral
	case fatePassed:
		return bridge.Say("handed on"), kit.OK
	case fateFailed:
		return bridge.Say("failed"), kit.Bad
	case fateGivenUp:
		return bridge.Say("given up"), kit.Bad
	case fateNone:
	}
	return r.eventState()
}

// eventState returns the state of a row that is no message which is answered.
func (r *logRow) eventState() (bridge.Text, kit.Tone) {
	e := r.event
	switch {
	case e.Level == slog.LevelWarn && e.Stage == bridge.StageIntake && e.Code == bridge.CodeUnavailable:
		return bridge.Say("not taken"), kit.Warn
	case e.Level == slog.LevelWarn && e.Stage == bridge.StageWebhook && e.Code == bridge.CodeUnauthorized:
		return bridge.Say("%s", "401"), kit.Bad
	case e.Level == slog.LevelWarn && e.Stage == bridge.StageWebhook && e.Code == bridge.CodeThrottled:
		return bridge.Say("%s", "429"), kit.Warn
	case r.sign() == signRefused:
		return bridge.Say("refused"), kit.Warn
	case r.sign() == signOut:
		return bridge.Say("sent"), kit.OK
	case e.Level >= slog.LevelError:
		return stageName(e.Stage), kit.Bad
	case e.Level >= slog.LevelWarn:
		return stageName(e.Stage), kit.Warn
	default:
		return stageName(e.Stage), kit.Neutral
	}
}

// stageName returns where an event comes from, in a word.
func stageName(s bridge.Stage) bridge.Text {
	switch s {
	case bridge.StageWebhook:
		return bridge.Say("webhook")
	case bridge.StageIntake:
		return bridge.Say("conversation")
	case bridge.StageHandler:
		return bridge.Say("handler")
	case bridge.StageSender:
		return bridge.Say("replies")
	case bridge.StageJournal:
		return bridge.Say("journal")
	case bridge.StageTunnel:
		return bridge.Say("tunnel")
	default:
		return bridge.Say("%s", "Perch")
	}
}

// waited returns how long it took to answer a message: until the first reply
// was there.
func (r *logRow) waited() time.Duration {
	for _, e := range r.later {
		if e.Stage == bridge.StageSender && e.Level < slog.LevelWarn && e.Waited > 0 {
			return e.Waited
		}
	}
	return 0
}

// problem returns the last event of the row that something is wrong in, as long
// as it has not come right.
func (r *logRow) problem() (e logEvent, yes bool) {
	for i := len(r.later); i >= 0; i-- {
		e := &r.event
		if i > 0 {
			e = &r.later[i-1]
		}
		if e.Level >= slog.LevelWarn {
			return *e, r.fate != fateSent || e.Stage != bridge.StageSender
		}
	}
	return logEvent{}, false
}

// level returns how grave a row is now.
func (r *logRow) level() slog.Level {
	if e, yes := r.problem(); yes {
		return e.Level
	}
	return slog.LevelInfo
}

// events returns all that the row is made of, oldest first.
func (r *logRow) events() []logEvent {
	return append([]logEvent{r.event}, r.later...)
}

// sign is the shape at the beginning of a row.
type sign int

const (
	signOther sign = iota
	signIn
	signOut
	signRefused
	signWarn
	signError
)

// sign returns what kind of thing happened.
func (r *logRow) sign() sign {
	e := r.event
	switch {
	case isMessage(e):
		return signIn
	case e.Level >= slog.LevelError:
		return signError
	case e.Level >= slog.LevelWarn && (e.Stage == bridge.StageIntake || e.Stage == bridge.StageWebhook):
		return signRefused
	case e.Level >= slog.LevelWarn:
		return signWarn
	case e.Stage == bridge.StageSender && e.Text != "":
		return signOut
	default:
		return signOther
	}
}

// words returns what stands in the row: what was written, or what happened.
func (r *logRow) words(say func(bridge.Text) string) string {
	if s := r.sign(); (s == signIn || s == signOut) && r.event.Text != "" {
		return r.event.Text
	}
	return say(r.event.Title)
}

// logFilter is what a person wants to see.
type logFilter struct {
	level  slog.Level // at least
	room   string     // token; empty: all
	person string     // as Actor.Ref; empty: all
	text   string     // all words of it, wherever they stand
}

// lets says if the filter lets r through.
func (f logFilter) lets(r *logRow, say func(bridge.Text) string) bool {
	e := &r.event
	if f.room != "" && e.Room.Token != f.room || f.person != "" && (e.Actor.ID == "" || e.Actor.Ref() != f.person) {
		return false
	}
	if f.level > slog.LevelInfo && r.level() < f.level {
		return false
	}
	for word := range strings.FieldsSeq(f.text) {
		if !r.has(strings.ToLower(word), say) {
			return false
		}
	}
	return true
}

// has says if a word in small letters can be found in the row.
func (r *logRow) has(word string, say func(bridge.Text) string) bool {
	e := &r.event
	if hasWord(e.Text, word) || hasWord(e.Room.Name, word) || hasWord(e.Actor.Name, word) ||
		hasWord(e.Actor.ID, word) || hasWord(e.Room.Token, word) || hasWord(e.MessageID, word) {
		return true
	}
	tells := func(e *logEvent) bool {
		return hasWord(e.Text, word) || hasWord(string(e.Code), word) || hasWord(e.Cause, word) ||
			hasWord(say(e.Title), word) || !e.Reason.IsZero() && hasWord(say(e.Reason), word)
	}
	if !isMessage(*e) && tells(e) {
		return true
	}
	for i := range r.later {
		if tells(&r.later[i]) {
			return true
		}
	}
	return false
}

// hasWord says if a word in small letters stands in s, in whatever letters. It
// copies nothing as long as s is ASCII: a hundred thousand rows are looked
// through while a person types.
func hasWord(s, word string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return strings.Contains(strings.ToLower(s), word)
		}
	}
	for ; len(s) >= len(word); s = s[1:] {
		i := 0
		for i < len(word) && small(s[i]) == word[i] {
			i++
		}
		if i == len(word) {
			return true
		}
	}
	return false
}

// small returns an ASCII letter as a small one.
func small(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// logBook keeps the newest rows of the log, a bounded number of them. It is safe
// for concurrent use.
type logBook struct {
	most uint64 // rows

	mu      sync.Mutex
	rows    []*logRow                  // by seq modulo most
	next    uint64                     // seq of the next row
	known   map[logKey]uint64          // seq of an entry's row
	keys    []logKey                   // of the rows, by seq modulo most
	touched map[uint64]struct{}        // rows that are others than the view has
	frames  map[logFrame]*bridge.Event // one of each
	rooms   map[string]string          // names by token
	people  map[string]string          // names by Actor.Ref
	version int                        // grows with each change
	era     int                        // grows when rows are taken away at once
	names   int                        // grows with each new room and person
}

// Bounds of what a book remembers beside its rows.
const (
	maxFrames  = 10_000
	maxChoices = 200 // rooms and people to choose from
)

func newLogBook(most uint64) *logBook {
	b := &logBook{most: most}
	b.reset()
	return b
}

// reset takes all rows away.
func (b *logBook) reset() {
	b.rows, b.keys, b.next = nil, nil, 0
	b.known, b.touched = make(map[logKey]uint64), make(map[uint64]struct{})
	b.frames, b.rooms, b.people = make(map[logFrame]*bridge.Event), make(map[string]string), make(map[string]string)
	b.version++
	b.era++
	b.names++
}

// current returns a number that is another after each change.
func (b *logBook) current() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.version
}

// size returns how many rows there are.
func (b *logBook) size() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.rows)
}

// add takes entries in, oldest first: those that are new, and those that have
// changed.
func (b *logBook) add(entries []bridge.Entry, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range entries {
		r := b.rowOf(e, now)
		if r == nil {
			continue
		}
		key := keyOf(e)
		if seq, here := b.known[key]; here {
			r.seq = seq
			b.rows[seq%b.most] = r
			b.touched[seq] = struct{}{}
			continue
		}
		b.meet(r.event)
		b.append(key, r)
	}
	b.version++
}

// rowOf makes a row of an entry, nil if there is nothing to tell of it.
func (b *logBook) rowOf(e bridge.Entry, now time.Time) *logRow {
	r := &logRow{}
	begun := false
	for _, event := range e.Events(now) {
		switch {
		case !begun:
			r.event, begun = b.shared(event), true
		case event.Level > slog.LevelDebug && len(r.later) < maxLater:
			r.later = append(r.later, b.shared(event))
		}
	}
	if !begun {
		return nil
	}
	if e.Message != nil {
		r.fate = fateOf(e.Message)
	}
	return r
}

func (b *logBook) at(seq uint64) *logRow { return b.rows[seq%b.most] }

// append puts r at the end; the oldest goes where there are too many.
func (b *logBook) append(key logKey, r *logRow) {
	r.seq = b.next
	b.next++
	b.known[key] = r.seq
	if uint64(len(b.rows)) < b.most {
		b.rows, b.keys = append(b.rows, r), append(b.keys, key)
		return
	}
	i := r.seq % b.most
	delete(b.known, b.keys[i])
	delete(b.touched, b.rows[i].seq)
	b.rows[i], b.keys[i] = r, key
}

// first returns the seq of the oldest row.
func (b *logBook) first() uint64 { return b.next - uint64(len(b.rows)) }

// shared returns e with what it has in common with others.
func (b *logBook) shared(e bridge.Event) logEvent {
	own := newLogEvent(e)
	if len(e.Title.Args) > 0 || e.Cause != "" || !e.Reason.IsZero() || !e.Hint.IsZero() {
		return own
	}
	key := logFrame{e.Stage, e.Kind, e.Level, e.Title.Format, e.Room, e.Actor, e.Code}
	frame, here := b.frames[key]
	if !here {
		if len(b.frames) >= maxFrames {
			clear(b.frames)
		}
		frame = &bridge.Event{Stage: e.Stage, Kind: e.Kind, Level: e.Level, Title: e.Title, Room: e.Room, Actor: e.Actor, Code: e.Code}
		b.frames[key] = frame
	}
	own.Event = frame
	return own
}

// meet remembers the room and person of e, to choose from.
func (b *logBook) meet(e logEvent) {
	know := func(names map[string]string, key, name string) {
		if had, known := names[key]; known && had == name || !known && len(names) >= maxChoices {
			return
		}
		names[key] = name
		b.names++
	}
	if e.Room.Token != "" {
		know(b.rooms, e.Room.Token, e.Room.String())
	}
	if e.Actor.ID != "" {
		know(b.people, e.Actor.Ref(), e.Actor.String())
	}
}

// logChoice is a room or a person to choose.
type logChoice struct{ key, name string }

// choices returns the rooms and people of the log by name, unless they are those
// of the version that is known; the version grows with each that is new.
func (b *logBook) choices(known int) (rooms, people []logChoice, version int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if known == b.names {
		return nil, nil, known
	}
	return sortedChoices(b.rooms), sortedChoices(b.people), b.names
}

// sortedChoices returns names by their keys; those of the same name have the
// key, too.
func sortedChoices(names map[string]string) []logChoice {
	times := make(map[string]int)
	for _, name := range names {
		times[name]++
	}
	list := make([]logChoice, 0, len(names))
	for _, key := range slices.Sorted(maps.Keys(names)) {
		name := excerpt(names[key], 40)
		if times[names[key]] > 1 && names[key] != key {
			name += " (" + key + ")"
		}
		list = append(list, logChoice{key, name})
	}
	slices.SortStableFunc(list, func(x, y logChoice) int { return cmp.Compare(strings.ToLower(x.name), strings.ToLower(y.name)) })
	return list
}

// forget takes all rows away.
func (b *logBook) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reset()
}

// logView is the rows that a filter lets through, oldest first. It is brought up
// to date by its book, of which it is the only one.
type logView struct {
	filter  logFilter
	rows    []*logRow
	next    uint64 // the first row that was not looked at
	version int    // of the book
	era     int
}

// refilter makes v show what another filter lets through.
func (b *logBook) refilter(v *logView, f logFilter, say func(bridge.Text) string) {
	clear(v.rows)
	*v = logView{filter: f, rows: v.rows[:0], era: v.era}
	b.update(v, say)
}

// update brings v up to date. It returns how many rows are new.
func (b *logBook) update(v *logView, say func(bridge.Text) string) (fresh int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v.version == b.version {
		return 0
	}
	v.version = b.version
	if v.era != b.era {
		v.rows, v.next, v.era = nil, 0, b.era
	}
	gone, _ := v.find(b.first())
	clear(v.rows[:gone])
	v.rows = v.rows[gone:]
	for seq := range b.touched {
		if seq < v.next && seq >= b.first() {
			v.set(seq, b.at(seq), say)
		}
	}
	clear(b.touched)
	for seq := max(v.next, b.first()); seq < b.next; seq++ {
		if r := b.at(seq); v.filter.lets(r, say) {
			v.rows = append(v.rows, r)
			fresh++
		}
	}
	v.next = b.next
	return fresh
}

// fresh returns how many rows v would have more after update.
func (b *logBook) fresh(v *logView, say func(bridge.Text) string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	from := b.first()
	if v.era == b.era {
		from = max(from, v.next)
	}
	for seq := from; seq < b.next; seq++ {
		if r := b.at(seq); v.filter.lets(r, say) {
			n++
		}
	}
	return n
}

// find returns where the row with that seq is or would be.
func (v *logView) find(seq uint64) (i int, here bool) {
	return slices.BinarySearchFunc(v.rows, seq, func(r *logRow, seq uint64) int { return cmp.Compare(r.seq, seq) })
}

// set puts r in the place of the row with that seq.
func (v *logView) set(seq uint64, r *logRow, say func(bridge.Text) string) {
	i, here := v.find(seq)
	switch lets := v.filter.lets(r, say); {
	case here && lets:
		v.rows[i] = r
	case here:
		v.rows = slices.Delete(v.rows, i, i+1)
	case lets:
		v.rows = slices.Insert(v.rows, i, r)
	}
}

// newestAt returns the row that stands i below the newest.
func (v *logView) newestAt(i int) *logRow { return v.rows[len(v.rows)-1-i] }

// wholeSeconds returns a time for a person without parts of seconds.
func wholeSeconds(d time.Duration) string {
	if d >= time.Minute {
		return kit.FormatDuration(d)
	}
	return strconv.Itoa(int(max(d, 0).Seconds())) + " s"
}

// excerpt returns the beginning of s, at most n characters, on one line and
// without characters that cannot be seen or turn the direction of the text:
// what people write is not trusted.
func excerpt(s string, n int) string {
	var b strings.Builder
	space := false
	for _, r := range s {
		switch {
		case n == 0:
			b.WriteRune('…')
			return b.String()
		case unicode.IsSpace(r):
			space = b.Len() > 0
			continue
		case bridge.IsHarmful(r):
			r = '·'
		}
		if space {
			b.WriteByte(' ')
			space = false
		}
		b.WriteRune(r)
		n--
	}
	return b.String()
}

// harmless returns s, at most n characters, without what excerpt leaves out, but
// with its lines.
func harmless(s string, n int) string {
	var b strings.Builder
	for _, r := range strings.ReplaceAll(s, "\r\n", "\n") {
		if n == 0 {
			b.WriteRune('…')
			break
		}
		if r != '\n' && r != '\t' && bridge.IsHarmful(r) {
			r = '·'
		}
		b.WriteRune(r)
		n--
	}
	return b.String()
}
