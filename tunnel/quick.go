//go:build !notunnel

package tunnel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cloudflare/cloudflared/connection"
	"github.com/google/uuid"
)

// quickTunnel is what a quick tunnel consists of, as the API returns it and as the
// Store keeps it.
type quickTunnel struct {
	API        string    `json:"api,omitempty"` // that issued it
	ID         uuid.UUID `json:"id"`
	Hostname   string    `json:"hostname"`
	AccountTag string    `json:"account_tag"`
	Secret     []byte    `json:"secret"`

	issued time.Time // zero: it comes from the Store
}

func (q *quickTunnel) credentials() connection.Credentials {
	return connection.Credentials{AccountTag: q.AccountTag, TunnelSecret: q.Secret, TunnelID: q.ID}
}

// check reports what is missing.
func (q *quickTunnel) check() error {
	q.Hostname = strings.TrimPrefix(q.Hostname, "https://")
	u, err := url.Parse("https://" + q.Hostname)
	switch {
	case q.ID == uuid.Nil:
		return errors.New("it has no id")
	case len(q.Secret) == 0:
		return errors.New("it has no secret")
	case q.AccountTag == "":
		return errors.New("it has no account")
	case err != nil || u.Host == "" || u.Host != q.Hostname:
		return errors.New("it has no host name")
	}
	return nil
}

// quickAPI issues quick tunnels.
type quickAPI struct {
	base   string
	client *http.Client
	pause  time.Duration // after the first refusal; four times that if it is for the rate

	notBefore time.Time // nothing is requested before
	refused   *Error    // why
	refusals  int       // since a tunnel of it was online
}

// The longest time between two requests while the API refuses them.
const longestPause = 30 * time.Minute

// request asks for a new tunnel. While the API wants to be left alone it returns
// the refusal without asking: errors are of the kind ErrRateLimited or ErrQuickTunnel.
func (a *quickAPI) request(ctx context.Context) (*quickTunnel, error) {
	if left := time.Until(a.notBefore); left > 0 {
		e := *a.refused
		e.RetryAfter = left
		return nil, &e
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+"/tunnel", http.NoBody)
	if err != nil {
		return nil, &Error{Kind: ErrQuickTunnel, Reason: err.Error()}
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := a.client.Do(request)
	if err != nil {
		return nil, &Error{Kind: ErrQuickTunnel, Reason: err.Error()}
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return nil, &Error{Kind: ErrQuickTunnel, Reason: err.Error()}
	}
	retryAfter := response.Header.Get("Retry-After")
	// An error is not always JSON: "error code: 1015".
	if response.StatusCode == http.StatusTooManyRequests {
		return nil, a.refuse(ErrRateLimited, response.Status, retryAfter)
	}
	var answer struct {
		Result quickTunnel
		Errors []struct {
			Code    int
			Message string
		}
	}
	decodeErr := json.Unmarshal(body, &answer)
	switch {
	case len(answer.Errors) > 0:
		e := answer.Errors[0]
		return nil, a.refuse(ErrQuickTunnel, fmt.Sprintf("%s (%d)", e.Message, e.Code), retryAfter)
	case response.StatusCode != http.StatusOK:
		return nil, a.refuse(ErrQuickTunnel, response.Status, retryAfter)
	case decodeErr != nil:
		return nil, a.refuse(ErrQuickTunnel, "the answer cannot be read: "+decodeErr.Error(), retryAfter)
	}
	tunnel := &answer.Result
	if err := tunnel.check(); err != nil {
		return nil, a.refuse(ErrQuickTunnel, err.Error(), retryAfter)
	}
	tunnel.API, tunnel.issued = a.base, time.Now()
	return tunnel, nil
}

// refuse notes why nothing is to be requested for a while, which grows with each
// time until refusals is reset. The header Retry-After may be empty.
func (a *quickAPI) refuse(kind error, reason, retryAfter string) *Error {
	pause := a.pause << min(a.refusals, 8)
	if kind == ErrRateLimited { //nolint:errorlint // It is the constant itself.
		pause *= 4
	}
	pause = min(pause, longestPause)
	if seconds, err := strconv.Atoi(retryAfter); err == nil {
		pause = max(pause, min(time.Duration(seconds)*time.Second, 24*time.Hour))
	} else if date, err := http.ParseTime(retryAfter); err == nil {
		pause = max(pause, min(time.Until(date), 24*time.Hour))
	}
	a.refusals++
	a.notBefore = time.Now().Add(pause)
	a.refused = &Error{Kind: kind, Reason: reason, RetryAfter: pause}
	return a.refused
}
