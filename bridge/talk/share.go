package talk

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"perch/bridge"
)

const (
	// shareFolder is where what is shared is uploaded to, as Talk itself does.
	shareFolder = "Talk"
	// uploadRate is how slow an upload may be, in bytes a second.
	uploadRate = 64 << 10
	// refLooks is how often a shared file is looked for in its conversation.
	refLooks = 3
	// roomShare is a share with a conversation.
	roomShare = 10
)

// share uploads the file of r to the files of the user whose app token it is, and
// shares it in the conversation, with the text of r as its caption. Nothing there
// is overwritten but what an earlier attempt uploaded.
func (c *Client) share(ctx context.Context, r bridge.Reply, replyTo, thread int64) (messageID string, err error) {
	if c.options.AppToken.IsZero() || c.options.Open == nil {
		return "", &bridge.Error{
			Code: bridge.CodeRejected,
			Text: bridge.Say("There is no app token to share the file %s with", quote(r.File.Name)),
			Hint: newAppToken(c.options.AppToken),
		}
	}
	user, err := c.User(ctx)
	if err != nil {
		return "", c.notHeld(err)
	}
	at, err := c.upload(ctx, user.ID, r)
	if err != nil {
		return "", c.notHeld(err)
	}
	meta := map[string]any{"messageType": "comment"}
	for name, value := range map[string]any{"caption": r.Text, "replyTo": replyTo, "threadId": thread, "silent": r.Silent} {
		if value != "" && value != int64(0) && value != false {
			meta[name] = value
		}
	}
	c.recent.add(r.Room.Token, user.ID, path.Base(at)) // before its webhook can come
	data, err := json.Marshal(meta)
	if err != nil {
		return "", &bridge.Error{Code: bridge.CodeInternal, Text: bridge.Say("The request could not be written as JSON"), Cause: err}
	}
	a, err := c.do(ctx, request{
		method: http.MethodPost, path: "/ocs/v2.php/apps/files_sharing/api/v1/shares", query: url.Values{"format": {"json"}}, bearer: true,
		body: map[string]any{"shareType": roomShare, "shareWith": r.Room.Token, "path": "/" + at, "referenceId": r.Ref, "talkMetaData": string(data)},
	})
	switch {
	case err != nil:
		return "", c.notHeld(err)
	case a.taken():
	case a.lost():
		return "", unclearAnswer(a)
	case a.fromTalk() && a.status == http.StatusForbidden && strings.Contains(string(a.body), "already shared"): // and posted all the same
	case a.fromTalk():
		if badToken := c.badToken(ctx, a); badToken != nil {
			return "", c.notHeld(badToken)
		}
		return "", refusedUser(r, a)
	default:
		return "", a.refusal()
	}
	return c.find(ctx, r), nil
}

// find returns the id of a message that was just posted, which no answer told;
// empty if it cannot be found.
func (c *Client) find(ctx context.Context, r bridge.Reply) string {
	for range refLooks {
		if id, found, err := c.FindByRef(ctx, r.Room.Token, r.Ref); found || err != nil && ctx.Err() != nil {
			return id
		}
	}
	return ""
}

// notHeld returns err so that a wrong app token stops nothing else where replies
// are the bot's and need none.
func (c *Client) notHeld(err error) error {
	if e, ok := errors.AsType[*bridge.Error](err); ok && e.Code == bridge.CodeUnauthorized && c.options.ReplyAs == ReplyAsBot {
		e.Code = bridge.CodeRejected
	}
	return err
}

// upload puts the file of r into the files of the user, and returns its path there.
func (c *Client) upload(ctx context.Context, userID string, r bridge.Reply) (at string, err error) {
	name := r.File.Name
	made := false
	for {
		at = shareFolder + "/" + name
		a, err := c.put(ctx, userID, at, *r.File, name == r.File.Name)
		if err != nil {
			return "", err
		}
		switch {
		case a.status/100 == 2:
			return at, nil
		case a.status == http.StatusPreconditionFailed && name == r.File.Name: // there is one of that name
			ending := path.Ext(name)
			name = strings.TrimSuffix(name, ending) + " " + r.Ref[:min(len(r.Ref), 8)] + ending
		case (a.status == http.StatusNotFound || a.status == http.StatusConflict) && !made:
			made = true
			if _, err := c.do(ctx, request{method: "MKCOL", path: davPath(userID, shareFolder), bearer: true}); err != nil {
				return "", idempotent(err)
			}
		default:
			return "", refusedFile(*r.File, a)
		}
	}
}

func davPath(userID, path string) string { return "/remote.php/dav/files/" + userID + "/" + path }

// put uploads a file; fresh: unless there is one of that name.
func (c *Client) put(ctx context.Context, userID, at string, f bridge.File, fresh bool) (answer, error) {
	content, err := c.options.Open(f)
	if err != nil {
		return answer{}, &bridge.Error{
			Code: bridge.CodeRejected, Text: bridge.Say("The content of the file %s is gone from this machine", quote(f.Name)), Cause: err,
		}
	}
	defer content.Close()
	q := request{
		method: http.MethodPut, path: davPath(userID, at), bearer: true, headers: map[string]string{"Content-Type": f.MIMEType},
		content: content, size: f.Size, wait: time.Second + time.Duration(f.Size/uploadRate)*time.Second,
	}
	if fresh {
		q.headers["If-None-Match"] = "*"
	}
	a, err := c.do(ctx, q)
	return a, idempotent(err)
}

// idempotent returns the error of a request that can be repeated without harm.
func idempotent(err error) error {
	if e, ok := errors.AsType[*bridge.Error](err); ok && e.Code == bridge.CodeUnclear {
		e.Code = bridge.CodeUnavailable
	}
	return err
}

// refusedFile returns what it means that the server took no file.
func refusedFile(f bridge.File, a answer) error {
	e := &bridge.Error{Code: bridge.CodeRejected, Cause: a.cause()}
	name := quote(f.Name)
	switch a.status {
	case http.StatusInsufficientStorage:
		e.Text = bridge.Say("There is no space left for the file %s in the files of the user of the app token", name)
		e.Hint = bridge.Say("Remove some of them, in the folder Talk, or give the user a larger quota.")
	case http.StatusRequestEntityTooLarge:
		e.Text = bridge.Say("The file %[1]s, of %[2]s bytes, is larger than the server takes", name, strconv.FormatInt(f.Size, 10))
		e.Hint = bridge.Say("The limit is that of the web server or of a proxy before it.")
	case http.StatusBadRequest, http.StatusForbidden, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		e.Text = bridge.Say("The server does not take the file %[1]s (%[2]s): its name or its kind is not allowed there", name, strconv.Itoa(a.status))
	default:
		return a.refusal()
	}
	return e
}

const (
	// sharedFor is how long the webhook of a shared file is awaited, and maxKnown
	// how many of them are.
	sharedFor = 2 * time.Minute
	maxKnown  = 1000
)

// recentShares are the files that were shared a moment ago.
type recentShares struct {
	mu sync.Mutex
	at map[string]time.Time // by sharedKey
}

func sharedKey(room, user, name string) string { return room + "/" + user + "/" + name }

func (s *recentShares) add(room, user, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	maps.DeleteFunc(s.at, func(_ string, at time.Time) bool { return now.Sub(at) > sharedFor })
	if s.at == nil {
		s.at = map[string]time.Time{}
	}
	if len(s.at) < maxKnown {
		s.at[sharedKey(room, user, name)] = now
	}
}

// Shared reports whether m is a file that c shared a moment ago. Its webhook
// comes as that of anybody's: it names neither a bot nor a reference.
func (c *Client) Shared(m bridge.Message) bool {
	if m.Author.Type != bridge.ActorUser || len(m.Attachments) != 1 {
		return false
	}
	key := sharedKey(m.Room.Token, m.Author.ID, m.Attachments[0].Name)
	c.recent.mu.Lock()
	defer c.recent.mu.Unlock()
	at, ok := c.recent.at[key]
	return ok && time.Since(at) <= sharedFor
}

// Opener opens the content of a file that a reply shares.
type Opener func(f bridge.File) (io.ReadCloser, error)
