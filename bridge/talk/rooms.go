package talk

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"perch/bridge"
)

// The kinds of conversation, as the room API numbers them.
const (
	typeOneToOne  = 1
	typeChangelog = 4
	typeNotes     = 6
)

// room is a conversation in the room API.
type room struct {
	Token       string   `json:"token"`
	Type        int      `json:"type"`
	Name        string   `json:"name"`
	DisplayName string   `json:"displayName"`
	ObjectType  string   `json:"objectType"`
	Active      scalar   `json:"lastActivity"`
	Last        lastPost `json:"lastMessage"`
}

// lastPost is the newest message of a room, [] if it has none.
type lastPost = orEmpty[struct {
	ID     scalar `json:"id"`
	System string `json:"systemMessage"`
}]

// Conversations returns the conversations of the user whose app token it is: all
// of them, or with since, the Before of an earlier answer, those in which
// something happened since then. Not even the user's status shows that they were
// asked for. The error is of CodeUnauthorized if there is no app token, or a
// wrong one.
func (c *Client) Conversations(ctx context.Context, since int64) (bridge.Conversations, error) {
	q := request{
		method: http.MethodGet,
		path:   roomsPath,
		query:  url.Values{"format": {"json"}, "includeStatus": {"0"}, "noStatusUpdate": {"1"}},
		bearer: true,
		most:   maxHistory,
	}
	if since > 0 {
		q.query.Set("modifiedSince", strconv.FormatInt(since, 10))
	}
	a, err := c.do(ctx, q)
	if err != nil {
		return bridge.Conversations{}, err
	}
	data, err := a.ocs()
	if err != nil {
		return bridge.Conversations{}, err
	}
	var rooms []room
	if json.Unmarshal(data, &rooms) != nil {
		return bridge.Conversations{}, a.refusal()
	}
	found := bridge.Conversations{Now: time.Now()}
	if before, err := strconv.ParseInt(a.header.Get("X-Nextcloud-Talk-Modified-Before"), 10, 64); err == nil && before > 0 {
		found.Before, found.Now = before, time.Unix(before, 0)
	} else if date, err := http.ParseTime(a.header.Get("Date")); err == nil {
		found.Now = date
	}
	for _, r := range rooms {
		if validToken(r.Token) {
			found.All = append(found.All, r.conversation())
		}
	}
	return found, nil
}

// roomsPath is the path of the room list, whose API has a version of its own.
const roomsPath = "/ocs/v2.php/apps/spreed/api/v4/room"

func (r room) conversation() bridge.Conversation {
	c := bridge.Conversation{Room: bridge.Room{Token: r.Token, Name: roomName(firstOf(r.DisplayName, r.Name))}, Kind: bridge.KindGroup}
	switch {
	case r.Type == typeOneToOne:
		c.Kind = bridge.KindOneToOne
	case r.Type == typeNotes:
		c.Kind = bridge.KindNotes
	case r.Type == typeChangelog, r.ObjectType == "sample":
		c.Kind = bridge.KindGenerated
	}
	c.Last, _ = strconv.ParseInt(string(r.Last.value.ID), 10, 64) // 0: not known
	c.Said = c.Last > 0 && r.Last.value.System == ""
	c.Active, _ = readTimestamp(string(r.Active))
	return c
}
