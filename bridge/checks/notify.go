package checks

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"perch/bridge"
	"perch/bridge/secret"
)

// notify says whether other programs can post: the token is there, and at the
// address a Perch answers that has the same one.
func (s *session) notify(ctx context.Context) bridge.Result {
	cfg, _ := s.load()
	listen := cfg.Notify.Listen
	if listen == "" {
		return bridge.Skipped(bridge.Say("not set up: no other program posts messages here"))
	}
	token := s.key(ctx, bridge.NotifyToken)
	if token.IsZero() {
		return bridge.Failed(bridge.Say("no notify_token is set, so Perch does not listen at %s", listen),
			bridge.Say("Other programs show it, so that nobody else can post."), s.secrets().HowTo(ctx, bridge.NotifyToken))
	}
	if err := secret.Check(bridge.NotifyToken, token); err != nil {
		return bridge.FailedBy(err, bridge.Say("Other programs show it, so that nobody else can post."))
	}
	host, port, _ := net.SplitHostPort(listen)
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	status, page, err := getMetrics(ctx, "http://"+net.JoinHostPort(host, port)+"/metrics", token)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED) && s.instance != s.own:
		return bridge.Failed(bridge.Say("nobody listens at %s, although Perch is running", listen),
			bridge.Say("Other programs cannot post."), bridge.Say("see why: perch log --level error"))
	case errors.Is(err, syscall.ECONNREFUSED):
		return bridge.Skipped(bridge.Say("nobody listens at %s; Perch does when it runs", listen))
	case err != nil:
		return bridge.FailedBy(err, bridge.Say("Other programs cannot post."))
	case status == http.StatusOK && bytes.Contains(page, []byte("perch_build_info")):
		return bridge.Passed(bridge.Say("%s answers, and takes the token", listen))
	case status == http.StatusUnauthorized || status == http.StatusTooManyRequests:
		return bridge.Failed(bridge.Say("the Perch at %s has another notify_token", listen),
			bridge.Say("It was started with other secrets, or belongs to another home."), bridge.Say("start it again"))
	default:
		return bridge.Failed(bridge.Say("something else than Perch answers at %[1]s, with HTTP %[2]s", listen, strconv.Itoa(status)),
			bridge.Say("Another program has this port."), bridge.Say("set another port as listen in the table [notify] of %s", s.Home.ConfigFile()))
	}
}

// getMetrics asks a listener for its metrics.
func getMetrics(ctx context.Context, url string, token bridge.Secret) (status int, page []byte, err error) {
	const most = 1 << 20
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token.Reveal())
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy: it is this machine
	resp, err := c.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	page, err = io.ReadAll(io.LimitReader(resp.Body, most))
	return resp.StatusCode, page, err
}
