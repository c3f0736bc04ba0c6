package tunnel

import (
	"errors"
	"time"
)

// The kinds of an Error. Their texts are constants that can be translated.
var (
	ErrBadToken        = errors.New("this is not a token of a Cloudflare tunnel")
	ErrBadOptions      = errors.New("the tunnel is not set up correctly")
	ErrUnauthorized    = errors.New("the tunnel's token is refused by Cloudflare")
	ErrRefused         = errors.New("the tunnel is refused by Cloudflare")
	ErrRateLimited     = errors.New("too many quick tunnels were requested from this network")
	ErrQuickTunnel     = errors.New("no quick tunnel was issued")
	ErrStore           = errors.New("the quick tunnel's credentials cannot be read")
	ErrNotBuilt        = errors.New("this build of Perch has no tunnel in it")
	ErrEdgeUnreachable = errors.New("the edge of Cloudflare cannot be reached")
)

// Error is every failure of this package: errors.Is finds its Kind.
type Error struct {
	Kind       error
	Reason     string        // technical, for a log or a footnote; no secret is in it
	RetryAfter time.Duration // how long nothing will be requested; 0: the ordinary time between two tries
}

func (e *Error) Error() string {
	if e.Reason == "" {
		return e.Kind.Error()
	}
	return e.Kind.Error() + ": " + e.Reason
}

// Unwrap returns the kind.
func (e *Error) Unwrap() error { return e.Kind }
