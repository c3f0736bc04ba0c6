package talk

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"perch/bridge"
)

// spreed is the path of Talk's API, by the name of its app.
const spreed = "/ocs/v2.php/apps/spreed/api/v1"

// DefaultMaxLength is how many code points a message may have where the server
// does not tell.
const DefaultMaxLength = 32000

// Status is what a server says of itself to anybody.
type Status struct {
	Installed      bool   `json:"installed"`
	Maintenance    bool   `json:"maintenance"`
	NeedsDBUpgrade bool   `json:"needsDbUpgrade"`
	Version        string `json:"versionstring"` // "32.0.1"
	Product        string `json:"productname"`   // "Nextcloud", or the name that a hoster gave it
}

// Status asks for the status of the server. It answers in maintenance mode too.
func (c *Client) Status(ctx context.Context) (Status, error) {
	a, err := c.do(ctx, request{method: http.MethodGet, path: "/status.php"})
	if err != nil {
		return Status{}, err
	}
	var s Status
	if a.status != http.StatusOK || json.Unmarshal(within(a.body, "installed"), &s) != nil || s.Version == "" {
		return Status{}, a.refusal()
	}
	return s, nil
}

// Capabilities are what the server and its Talk can do.
type Capabilities struct {
	ServerVersion string   // "32.0.1"
	Talk          bool     // whether Talk is installed and enabled; the rest is empty if not
	TalkVersion   string   // "21.1.7"; empty where an old Talk does not tell
	Features      []string // "bots-v1", …
	MaxLength     int      // of a message, in code points; DefaultMaxLength where Talk does not tell
}

// Capabilities asks what the server can do. It needs no secret.
func (c *Client) Capabilities(ctx context.Context) (Capabilities, error) {
	var data struct {
		Version struct {
			String string `json:"string"`
		} `json:"version"`
		Capabilities orEmpty[struct {
			Spreed *struct {
				Version  string   `json:"version"`
				Features []string `json:"features"`
				Config   orEmpty[struct {
					Chat orEmpty[struct {
						MaxLength scalar `json:"max-length"`
					}] `json:"chat"`
				}] `json:"config"`
			} `json:"spreed"`
		}] `json:"capabilities"`
	}
	if err := c.read(ctx, request{path: "/ocs/v2.php/cloud/capabilities"}, &data); err != nil {
		return Capabilities{}, err
	}
	capabilities := Capabilities{ServerVersion: data.Version.String, MaxLength: DefaultMaxLength}
	if s := data.Capabilities.value.Spreed; s != nil {
		capabilities.Talk = true
		capabilities.TalkVersion = s.Version
		capabilities.Features = s.Features
		if most, _ := strconv.Atoi(string(s.Config.value.Chat.value.MaxLength)); most > 0 {
			capabilities.MaxLength = most
		}
	}
	return capabilities, nil
}

// Answers returns nil if the server works, as far as can be seen without
// posting anything.
func (c *Client) Answers(ctx context.Context) error {
	_, err := c.Capabilities(ctx)
	return err
}

// User asks whose app token it is. The error is of CodeUnauthorized if there is
// no token, or a wrong one.
func (c *Client) User(ctx context.Context) (bridge.Actor, error) {
	var user struct {
		ID   string `json:"id"`
		Name string `json:"displayname"`
	}
	if err := c.read(ctx, request{path: "/ocs/v2.php/cloud/user", bearer: true}, &user); err != nil {
		return bridge.Actor{}, err
	}
	return bridge.Actor{Type: bridge.ActorUser, ID: user.ID, Name: user.Name}, nil
}

// chatMessage is a message in the chat API.
type chatMessage struct {
	ID  scalar `json:"id"`
	Ref string `json:"referenceId"`
}

// FindByRef looks for a message by its Reply.Ref among the latest hundred of a
// conversation, and returns its id. It does not mark them as read. The error is
// of CodeUnauthorized if there is no app token, or a wrong one, and of
// CodeNotFound if its user is not in the conversation.
func (c *Client) FindByRef(ctx context.Context, roomToken, ref string) (messageID string, found bool, err error) {
	page, _, err := c.history(ctx, roomToken, 0)
	for _, data := range page {
		var m chatMessage
		if json.Unmarshal(data, &m) == nil && m.Ref == ref && ref != "" {
			return string(m.ID), true, nil
		}
	}
	return "", false, err
}

// history returns the latest hundred messages of a conversation, or those before
// the message with the id before, if that is not 0: newest first, as JSON. older
// is the before of the next page; 0: there is none. To ask leaves no trace:
// nothing is marked as read, no notification is withdrawn and the user does not
// appear as online. The errors are those of FindByRef.
func (c *Client) history(ctx context.Context, roomToken string, before int64) (page []json.RawMessage, older int64, err error) {
	if !validToken(roomToken) {
		return nil, 0, notInRoom(roomToken, nil)
	}
	q := request{path: spreed + "/chat/" + roomToken, query: url.Values{"lookIntoFuture": {"0"}}}
	if before > 0 {
		q.query.Set("lastKnownMessageId", strconv.FormatInt(before, 10))
	}
	page, older, err = c.chatPage(ctx, q, roomToken)
	if before > 0 && older >= before {
		older = 0
	}
	return page, older, err
}

func notInRoom(token string, cause error) error {
	return &bridge.Error{
		Code:  bridge.CodeNotFound,
		Text:  bridge.Say("The user of the app token cannot read the conversation %s", quote(token)),
		Hint:  bridge.Say("Add the user to the conversation, in its list of participants."),
		Cause: cause,
	}
}

// read gets the data of an OCS answer.
func (c *Client) read(ctx context.Context, q request, data any) error {
	q.method = http.MethodGet
	q.query = url.Values{"format": {"json"}}
	a, err := c.do(ctx, q)
	if err != nil {
		return err
	}
	raw, err := a.ocs()
	if err != nil {
		return err
	}
	if json.Unmarshal(raw, data) != nil {
		return a.refusal()
	}
	return nil
}

// orEmpty is a JSON object, which PHP writes as [] if it is empty.
type orEmpty[T any] struct{ value T }

// UnmarshalJSON takes an object, or anything else as an empty one.
func (o *orEmpty[T]) UnmarshalJSON(data []byte) error {
	if !bytes.HasPrefix(data, []byte("{")) {
		return nil
	}
	return json.Unmarshal(data, &o.value)
}
