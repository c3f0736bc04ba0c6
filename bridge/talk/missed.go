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

// post is a message in the chat API.
type post struct {
	legacyMessage

	Markdown bool  `json:"markdown"`
	Deleted  bool  `json:"deleted"`
	Parent   *post `json:"parent"`
}

// readChat reads a message of the chat API. ok says that a person wrote it, or
// shared something by it. id is 0 if data is no message at all.
func (c *Client) readChat(room bridge.Room, data []byte) (m bridge.Message, id int64, ok bool) {
	var p post
	if json.Unmarshal(data, &p) != nil {
		return m, 0, false
	}
	id, err := strconv.ParseInt(string(p.ID), 10, 64)
	if err != nil || id <= 0 {
		return m, 0, false
	}
	m, err = p.message(bridge.Key{Server: c.options.BaseURL, Room: room.Token}, room)
	if err != nil || m.Author.ID == "" || m.Author.Type == "" || m.Author.Type == bridge.ActorBot || p.Deleted || p.SystemMessage != "" {
		return m, id, false
	}
	switch p.MessageType {
	case "comment", "voice-message", "record-audio", "record-video":
	default: // "system", "comment_deleted", "command"
		return m, id, false
	}
	m.ReceivedAt = time.Now()
	if q := p.Parent; q != nil && validID(string(q.ID)) {
		quoted, err := q.message(m.Key, room)
		if err != nil {
			return m, id, false
		}
		quoted.SentAt = time.Time{}
		m.InReplyTo = &quoted
	}
	return m, id, true
}

// message returns p without what it quotes, with the room and server of key.
func (p *post) message(key bridge.Key, room bridge.Room) (m bridge.Message, err error) {
	key.ID = string(p.ID)
	m = bridge.Message{
		Key: key, Kind: bridge.KindChat, Room: room,
		Author:  bridge.Actor{Type: p.ActorType, ID: string(p.ActorID), Name: p.DisplayName},
		RawText: p.Message, Markdown: p.Markdown,
	}
	if m.SentAt, err = readTimestamp(string(p.Timestamp)); err != nil {
		return m, err
	}
	if m.Parameters, err = readParameters(p.Parameters); err != nil {
		return m, err
	}
	m.Text = render(m.RawText, m.Parameters)
	m.Attachments = attachments(m.Parameters)
	for i := range m.Attachments {
		m.Attachments[i].Path = "" // It is that of the user who asked.
	}
	return m, nil
}
