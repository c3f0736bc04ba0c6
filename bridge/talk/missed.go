package talk

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"perch/bridge"
)

// missedPages bounds how far back Missed looks, in hundreds of messages.
const missedPages = 3

// Missed returns what people wrote in a conversation after the message with the
// id after, and not before since: the newest limit of it, oldest first. Each is
// what its webhook would have said, with the same Key. But Nonce, Backend and
// Webhook are empty: it is the server that was asked that vouches for it. SentAt
// is known, the Path of attachments is not, and the text of an edited message is
// the present one. Nobody notices that they were read.
//
// The error is of CodeInvalid if after is no number, of CodeUnauthorized if
// there is no app token, or a wrong one, and of CodeNotFound if its user cannot
// read the conversation.
func (c *Client) Missed(ctx context.Context, room bridge.Room, after string, since time.Time, limit int) ([]bridge.Message, error) {
	floor, err := strconv.ParseInt(after, 10, 64)
	if err != nil || floor < 0 {
		return nil, invalid(bridge.Say("%s is not the number of a message", quote(after)))
	}
	since = since.Truncate(time.Second) // Talk tells no fractions
	var missed []bridge.Message         // newest first
	older := int64(0)
pages:
	for range missedPages {
		var page []json.RawMessage
		if page, older, err = c.history(ctx, room.Token, older); err != nil {
			return nil, err
		}
		for _, data := range page {
			m, id, ok := c.readChat(room, data)
			if id != 0 && id <= floor || !m.SentAt.IsZero() && m.SentAt.Before(since) || len(missed) == limit {
				break pages
			}
			if ok {
				missed = append(missed, m)
			}
		}
		if older <= floor+1 {
			break
		}
	}
	slices.Reverse(missed)
	return missed, nil
}

// readChat reads a message of the chat API. ok says that a person wrote it, or
// shared something by it. id is 0 if data is no message at all.
func (c *Client) readChat(room bridge.Room, data []byte) (m bridge.Message, id int64, ok bool) {
	m, id, ok = c.decodePost(room, data)
	return m, id, ok && m.Kind == bridge.KindChat && m.Author.Type != bridge.ActorBot
}
