package talk

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"perch/bridge"
)

const (
	loginPath = "/index.php/login/v2"
	// loginEvery is how often it is asked whether a log-in was granted.
	loginEvery = time.Second
	// loginLasts is how long Nextcloud waits for a log-in.
	loginLasts = 20 * time.Minute
)

// Login is a log-in that waits for a person to grant it in a browser.
type Login struct {
	Link string // where the person grants it

	client *Client
	token  bridge.Secret
	poll   string // path to ask at
	until  time.Time
}

// StartLogin begins a log-in (Nextcloud's Login Flow v2). The name by which the
// user finds it among their devices is the UserAgent of c.
func (c *Client) StartLogin(ctx context.Context) (*Login, error) {
	a, err := c.do(ctx, request{method: http.MethodPost, path: loginPath})
	if bridge.CodeOf(err) == bridge.CodeUnclear {
		return nil, unreachable(c.base, err)
	}
	if err != nil {
		return nil, err
	}
	var started struct {
		Poll struct {
			Token    string `json:"token"`
			Endpoint string `json:"endpoint"`
		} `json:"poll"`
		Login string `json:"login"`
	}
	if a.status != http.StatusOK || json.Unmarshal(a.body, &started) != nil || started.Poll.Token == "" {
		return nil, noLogin(a)
	}
	link, err := url.Parse(started.Login)
	if err != nil || link.Scheme != "https" && link.Scheme != "http" || link.Host == "" {
		return nil, noLogin(a)
	}
	l := &Login{
		Link: link.String(), client: c, token: bridge.NewSecret(started.Poll.Token),
		poll: loginPath + "/poll", until: time.Now().Add(loginLasts),
	}
	// The token goes to the server that was asked, whatever the server calls itself.
	if endpoint, err := url.Parse(started.Poll.Endpoint); err == nil && !strings.Contains(endpoint.Path, "/index.php/") {
		l.poll = "/login/v2/poll"
	}
	return l, nil
}

func noLogin(a answer) error {
	if a.status != http.StatusNotFound && a.status != http.StatusOK {
		return a.refusal()
	}
	return &bridge.Error{
		Code:  bridge.CodeUnavailable,
		Text:  bridge.Say("%s offers no log-in for programs", a.base.Host),
		Hint:  bridge.Say("Is this the address at which you open Nextcloud? Here it is %s", a.base.String()),
		Cause: a.cause(),
	}
}

// Wait returns the app password once the person granted the log-in. A server
// that cannot be reached meanwhile is asked again. The error is of CodeNotFound
// if the log-in was not granted in time.
func (l *Login) Wait(ctx context.Context) (bridge.Secret, error) {
	ctx, cancel := context.WithDeadlineCause(ctx, l.until, &bridge.Error{
		Code: bridge.CodeNotFound,
		Text: bridge.Say("Nobody granted the log-in within %s", loginLasts.String()),
		Hint: bridge.Say("Start again, and open the new link."),
	})
	defer cancel()
	for {
		password, wait, err := l.ask(ctx)
		if err != nil || !password.IsZero() {
			return password, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return bridge.Secret{}, context.Cause(ctx)
		}
	}
}

// ask asks once whether the log-in was granted. It returns no password if it
// was not, or if that could not be found out, and how long to wait then.
func (l *Login) ask(ctx context.Context) (password bridge.Secret, wait time.Duration, err error) {
	a, err := l.client.do(ctx, request{
		method: http.MethodPost, path: l.poll, form: url.Values{"token": {l.token.Reveal()}},
	})
	switch {
	case err != nil: // the log-in still stands
		return password, 5 * loginEvery, nil //nolint:nilerr // it is asked again
	case a.status == http.StatusNotFound && !a.isPage():
		return password, loginEvery, nil
	case a.status == http.StatusTooManyRequests || a.status >= http.StatusInternalServerError:
		return password, max(retryAfter(a.header.Get("Retry-After")), 5*loginEvery), nil
	case a.status != http.StatusOK:
		return password, 0, noLogin(a)
	}
	var granted struct {
		Password string `json:"appPassword"`
	}
	if json.Unmarshal(a.body, &granted) != nil || granted.Password == "" {
		return password, 0, noLogin(a)
	}
	return bridge.NewSecret(granted.Password), 0, nil
}

// Revoke makes the server forget the app token. It returns nil if the server
// does not know it (any more).
func (c *Client) Revoke(ctx context.Context) error {
	a, err := c.do(ctx, request{
		method: http.MethodDelete, path: "/ocs/v2.php/core/apppassword", query: url.Values{"format": {"json"}}, bearer: true,
	})
	if err != nil {
		return err
	}
	if a.status == http.StatusUnauthorized && a.fromTalk() {
		return nil
	}
	_, err = a.ocs()
	return err
}
