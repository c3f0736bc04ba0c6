package talk

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"perch/bridge"
)

const (
	// pageSize is how many messages are asked for at once.
	pageSize = 100
	// pollGrace is how much longer than it was asked to a server may wait.
	pollGrace = 15 * time.Second
	// MaxPoll is the longest that Talk waits for a message.
	MaxPoll = 30 * time.Second
)

// Poll returns what was written in a conversation after the message with the id
// after, oldest first, at most a hundred messages. If there is nothing, the
// server waits for it, for wait at most: then the result is empty, as it is when
// the server or a proxy ends the wait before. Nobody notices that they were read.
//
// The error is of CodeUnauthorized if there is no app token, or a wrong one, and
// of CodeNotFound if its user cannot read the conversation (any more).
func (c *Client) Poll(ctx context.Context, room bridge.Room, after int64, wait time.Duration) (bridge.Chat, error) {
	if !validToken(room.Token) {
		return bridge.Chat{}, notInRoom(room.Token, nil)
	}
	wait = min(max(wait, 0), MaxPoll)
	page, last, err := c.chatPage(ctx, request{
		path: spreed + "/chat/" + room.Token,
		query: url.Values{
			"lookIntoFuture":     {"1"},
			"timeout":            {strconv.Itoa(int(wait / time.Second))},
			"lastKnownMessageId": {strconv.FormatInt(after, 10)},
		},
		wait: wait,
	}, room.Token)
	if err != nil || last <= after {
		return bridge.Chat{}, err
	}
	chat := bridge.Chat{Last: last}
	for _, data := range page {
		if m, id, ok := c.decodePost(room, data); ok && id > after {
			chat.Messages = append(chat.Messages, m)
		}
	}
	return chat, nil
}

// Latest returns the latest messages of a conversation, at most a hundred, as
// Poll does.
func (c *Client) Latest(ctx context.Context, room bridge.Room) (bridge.Chat, error) {
	page, _, err := c.history(ctx, room.Token, 0)
	var chat bridge.Chat
	for _, data := range slices.Backward(page) {
		m, id, ok := c.decodePost(room, data)
		if ok {
			chat.Messages = append(chat.Messages, m)
		}
		chat.Last = max(chat.Last, id)
	}
	return chat, err
}

// MarkRead marks a conversation as read up to a message, for everybody to see.
func (c *Client) MarkRead(ctx context.Context, room bridge.Room, upTo int64) error {
	if !validToken(room.Token) {
		return notInRoom(room.Token, nil)
	}
	a, err := c.do(ctx, request{
		method: http.MethodPost, path: spreed + "/chat/" + room.Token + "/read", query: url.Values{"format": {"json"}},
		body: map[string]int64{"lastReadMessage": upTo}, bearer: true,
	})
	if err != nil {
		return err
	}
	_, err = a.ocs()
	return err
}

// chatPage asks for a page of messages: none where there are none. last is the
// id of the last message looked at, 0 if the server does not say.
func (c *Client) chatPage(ctx context.Context, q request, roomToken string) (page []json.RawMessage, last int64, err error) {
	q.method, q.bearer, q.most = http.MethodGet, true, maxHistory
	q.query.Set("format", "json")
	q.query.Set("limit", strconv.Itoa(pageSize))
	q.query.Set("setReadMarker", "0")
	q.query.Set("noStatusUpdate", "1")
	q.query.Set("markNotificationsAsRead", "0")
	a, err := c.do(ctx, q)
	if err != nil || a.status == http.StatusNotModified { // no messages
		return nil, 0, err
	}
	data, err := a.ocs()
	if err != nil {
		if !a.fromTalk() {
			return nil, 0, err
		}
		// A stranger, somebody who was removed and a wrong token get the same answer.
		if badToken := c.badToken(ctx, a); badToken != nil {
			return nil, 0, badToken
		}
		return nil, 0, notInRoom(roomToken, a.cause())
	}
	if json.Unmarshal(data, &page) != nil {
		return nil, 0, a.refusal()
	}
	if last, err = strconv.ParseInt(a.header.Get("X-Chat-Last-Given"), 10, 64); err != nil || last < 0 {
		last = 0
	}
	return page, last, nil
}

// post is a message in the chat API.
type post struct {
	legacyMessage

	Ref      string `json:"referenceId"`
	Markdown bool   `json:"markdown"`
	Deleted  bool   `json:"deleted"`
	Parent   *post  `json:"parent"`
}

// decodePost reads a message of the chat API as the webhook would have told it.
// What it is decided by its names, never by its text: that of a system message
// depends on who reads it. id is 0 if data is no message at all.
func (c *Client) decodePost(room bridge.Room, data []byte) (m bridge.Message, id int64, ok bool) {
	var p post
	if json.Unmarshal(data, &p) != nil {
		return m, 0, false
	}
	id, err := strconv.ParseInt(string(p.ID), 10, 64)
	if err != nil || id <= 0 {
		return m, 0, false
	}
	key := bridge.Key{Server: c.options.BaseURL, Room: room.Token}
	if m, err = p.message(key, room); err != nil || m.Author.ID == "" || m.Author.Type == "" {
		return m, id, false
	}
	var quoted *bridge.Message
	if q := p.Parent; q != nil && validID(string(q.ID)) {
		about, err := q.message(key, room)
		if err != nil {
			return m, id, false
		}
		about.SentAt = time.Time{}
		quoted = &about
	}
	switch {
	case p.SystemMessage == "reaction" && quoted != nil:
		emoji, by := m.Text, &bridge.Reaction{ID: string(p.ID), By: m.Author, At: m.SentAt}
		m = *quoted
		m.Kind, m.Event = bridge.KindReaction, emoji
		m.Attachments, m.Reaction = nil, by
	case p.Deleted:
		m.Kind, m.Event = bridge.KindSystem, "comment_deleted"
	case p.spoken(&m):
		m.InReplyTo = quoted
	default:
		m.Kind, m.Event = bridge.KindSystem, firstOf(p.SystemMessage, p.MessageType)
		m.Attachments = nil
	}
	m.Ref, m.ReceivedAt = p.Ref, time.Now()
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
	m.Text, m.Thread = render(m.RawText, m.Parameters), p.thread()
	m.Attachments = attachments(m.Parameters)
	for i := range m.Attachments {
		m.Attachments[i].Path = "" // It is that of the user who asked.
	}
	return m, nil
}
