package ui

import (
	"slices"

	"perch/bridge"
)

// ledger keeps entries as the journal does, of events as they happen.
type ledger struct {
	entries []bridge.Entry
	events  int64
}

// take takes an event and returns the entry that is new or has changed.
func (l *ledger) take(e bridge.Event) bridge.Entry {
	message := func(id string) *bridge.Record {
		i := slices.IndexFunc(l.entries, func(x bridge.Entry) bool {
			return x.Message != nil && x.Message.Message.Key == bridge.Key{Room: e.Room.Token, ID: id}
		})
		if i < 0 {
			return nil
		}
		return l.entries[i].Message
	}
	var failure *bridge.Failure
	if e.Code != "" || e.Cause != "" {
		failure = &bridge.Failure{Code: e.Code, Reason: e.Reason, Cause: e.Cause, Hint: e.Hint}
	}
	states := map[bridge.EventKind]bridge.MessageState{
		bridge.EventMessageReceived: bridge.MessageWaiting, bridge.EventMessageNotForBot: bridge.MessageNotForBot,
		bridge.EventMessageTurnedAway: bridge.MessageNotAllowed, bridge.EventMessageHandled: bridge.MessageHandled,
		bridge.EventMessageSilent: bridge.MessageHandled, bridge.EventMessageFailed: bridge.MessageFailed, bridge.EventMessagePassed: bridge.MessagePassed,
	}
	switch e.Kind {
	case bridge.EventMessageReceived, bridge.EventMessageNotForBot, bridge.EventMessageTurnedAway:
		if r := message(e.MessageID); r != nil {
			return bridge.Entry{Message: r}
		}
		if failure != nil {
			failure.Reason = e.Title
		}
		return l.append(bridge.Entry{Message: &bridge.Record{
			ID: int64(len(l.entries)) + 1, State: states[e.Kind], Failure: failure,
			Message: bridge.Message{Key: bridge.Key{Room: e.Room.Token, ID: e.MessageID}, Room: e.Room, Author: e.Actor, Text: e.Text, ReceivedAt: e.Time},
		}})
	case bridge.EventMessageHandled, bridge.EventMessageSilent, bridge.EventMessageFailed, bridge.EventMessagePassed:
		r := message(e.MessageID)
		if r == nil {
			return l.append(bridge.Entry{Event: &e})
		}
		changed := *r
		changed.State, changed.EndedAt, changed.Failure = states[e.Kind], e.Time, failure
		if e.Kind == bridge.EventMessageHandled && len(r.Replies) == 0 {
			changed.Replies = []bridge.ReplyRecord{{State: bridge.ReplyWaiting, Reply: bridge.Reply{Room: e.Room, Answers: e.MessageID}}}
		}
		return l.replace(bridge.Entry{Message: &changed})
	case bridge.EventReplySent, bridge.EventReplyDelayed, bridge.EventReplyHeld, bridge.EventReplyGivenUp:
		reply := bridge.ReplyRecord{
			Reply:    bridge.Reply{Room: e.Room, Text: e.Text, Answers: e.Answers, AskedAt: e.Time.Add(-e.Waited)},
			QueuedAt: e.Time, TriedAt: e.Time.Add(-e.Duration), MessageID: e.MessageID, Failure: failure,
			State: map[bridge.EventKind]bridge.ReplyState{
				bridge.EventReplySent: bridge.ReplySent, bridge.EventReplyDelayed: bridge.ReplyWaiting,
				bridge.EventReplyHeld: bridge.ReplyHeld, bridge.EventReplyGivenUp: bridge.ReplyGivenUp,
			}[e.Kind],
		}
		if reply.State == bridge.ReplySent || reply.State == bridge.ReplyGivenUp {
			reply.EndedAt = e.Time
		}
		r := message(e.Answers)
		if r == nil {
			reply.ID = int64(len(l.entries)) + 1
			return l.append(bridge.Entry{Reply: &reply})
		}
		changed := *r
		if reply.Reply.Remove = e.Waited == 0 && failure == nil; changed.State == bridge.MessageWaiting && !reply.Reply.Remove {
			changed.State, changed.EndedAt = bridge.MessageHandled, e.Time
		}
		changed.Replies = slices.Clone(r.Replies)
		if n := len(changed.Replies); n > 0 && changed.Replies[n-1].EndedAt.IsZero() {
			changed.Replies[n-1] = reply
		} else {
			changed.Replies = append(changed.Replies, reply)
		}
		return l.replace(bridge.Entry{Message: &changed})
	default:
		if e.ID == 0 {
			l.events++
			e.ID = 1000 + l.events
		}
		return l.append(bridge.Entry{Event: &e})
	}
}

func (l *ledger) append(e bridge.Entry) bridge.Entry {
	l.entries = append(l.entries, e)
	return e
}

func (l *ledger) replace(e bridge.Entry) bridge.Entry {
	i := slices.IndexFunc(l.entries, func(x bridge.Entry) bool { return keyOf(x) == keyOf(e) })
	l.entries[i] = e
	return e
}

// all takes events and returns the entries that are new or have changed.
func (l *ledger) all(events ...bridge.Event) []bridge.Entry {
	changed := make([]bridge.Entry, 0, len(events))
	for _, e := range events {
		changed = append(changed, l.take(e))
	}
	return changed
}
