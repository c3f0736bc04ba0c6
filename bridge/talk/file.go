package talk

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"perch/bridge"
)

// FetchFile returns the content of a file that was shared with m, as the user
// whose app token it is sees it. The error is of CodeNotFound if there is no app
// token, or if the file or the message is gone, or not for that user; of
// CodeRejected if the file has more than limit bytes; of CodeUnauthorized if the
// token is wrong.
func (c *Client) FetchFile(ctx context.Context, m bridge.Message, a bridge.Attachment, limit int64) ([]byte, error) {
	if c.options.AppToken.IsZero() {
		return nil, &bridge.Error{
			Code: bridge.CodeNotFound,
			Text: bridge.Say("There is no app token to get the file %s with", quote(a.Name)),
			Hint: bridge.Say("Create an app password in Nextcloud (Settings, Security), then: %s\nOr let handlers have links alone: attachments = \"link\"").With(c.options.AppToken.HowTo(bridge.AppToken)),
		}
	}
	if a.Size > limit {
		return nil, fileTooBig(a, limit)
	}
	path, err := c.filePath(ctx, m, a)
	if err != nil {
		return nil, err
	}
	user, err := c.User(ctx)
	if err != nil {
		return nil, err
	}
	got, err := c.do(ctx, request{
		method: http.MethodGet,
		path:   "/remote.php/dav/files/" + user.ID + "/" + strings.TrimLeft(path, "/"),
		bearer: true,
		most:   limit,
	})
	switch {
	case errors.Is(err, io.ErrShortBuffer), err == nil && got.status == http.StatusOK && int64(len(got.body)) > limit:
		return nil, fileTooBig(a, limit)
	case err != nil:
		return nil, err
	case got.status == http.StatusOK:
		return got.body, nil
	case got.status == http.StatusNotFound:
		return nil, fileGone(a, got.cause())
	case got.status == http.StatusForbidden:
		return nil, &bridge.Error{
			Code:  bridge.CodeDenied,
			Text:  bridge.Say("The user of the app token may not download the file %s", quote(a.Name)),
			Hint:  bridge.Say("Whoever shared it can allow it."),
			Cause: got.cause(),
		}
	}
	return nil, notRejected(got.refusal())
}

// filePath returns where the user of the app token finds the file: the path in
// the webhook is that of who shared it.
func (c *Client) filePath(ctx context.Context, m bridge.Message, a bridge.Attachment) (string, error) {
	id, err := strconv.ParseUint(m.Key.ID, 10, 63)
	if err != nil || !validToken(m.Room.Token) {
		return "", fileGone(a, err)
	}
	got, err := c.do(ctx, request{
		method: http.MethodGet,
		path:   spreed + "/chat/" + m.Room.Token + "/" + strconv.FormatUint(id, 10) + "/context",
		query:  url.Values{"format": {"json"}, "limit": {"1"}},
		bearer: true,
	})
	switch {
	case err != nil:
		return "", err
	case got.status == http.StatusNotModified: // no messages
		return "", fileGone(a, got.cause())
	case got.status == http.StatusNotFound && got.fromTalk():
		if badToken := c.badToken(ctx, got); badToken != nil {
			return "", badToken
		}
		return "", notInRoom(m.Room.Token, got.cause())
	}
	data, err := got.ocs()
	if err != nil {
		return "", notRejected(err)
	}
	var messages []struct { // the one asked for, and its neighbours
		Parameters orEmpty[map[string]bridge.Parameter] `json:"messageParameters"`
	}
	if json.Unmarshal(data, &messages) != nil {
		return "", notRejected(got.refusal())
	}
	for _, found := range messages {
		for _, p := range found.Parameters.value {
			if p["type"] == "file" && p["id"] == a.ID && p["path"] != "" {
				return p["path"], nil
			}
		}
	}
	return "", fileGone(a, nil)
}

func fileGone(a bridge.Attachment, cause error) error {
	return &bridge.Error{
		Code:  bridge.CodeNotFound,
		Text:  bridge.Say("The file %s is gone, or not shared with the user of the app token", quote(a.Name)),
		Hint:  bridge.Say("Is that user in the conversation, and may the app password read files (Settings, Security, its menu)? Else ask for the file to be shared again."),
		Cause: cause,
	}
}

func fileTooBig(a bridge.Attachment, limit int64) error {
	return &bridge.Error{
		Code: bridge.CodeRejected,
		Text: bridge.Say("The file %[1]s has more than %[2]s bytes", quote(a.Name), strconv.FormatInt(limit, 10)),
	}
}

// notRejected returns err with another code where it is of CodeRejected, which
// says of a file that it is too big.
func notRejected(err error) error {
	if e, ok := errors.AsType[*bridge.Error](err); ok && e.Code == bridge.CodeRejected {
		e.Code = bridge.CodeDenied
	}
	return err
}
