//go:build notunnel

package tunnel

import "context"

// Token is that of a named tunnel, which this build does not open.
type Token struct{}

// ParseToken returns an error of the kind ErrNotBuilt.
func ParseToken(string) (Token, error) { return Token{}, notBuilt() }

// IsZero reports that there is none.
func (Token) IsZero() bool { return true }

// ID returns nothing.
func (Token) ID() string { return "" }

// Tunnel is none.
type Tunnel struct{}

// New returns an error of the kind ErrNotBuilt.
func New(Options) (*Tunnel, error) { return nil, notBuilt() }

// State returns that it is off.
func (*Tunnel) State() State { return State{Phase: Off} }

// Wake does nothing.
func (*Tunnel) Wake() {}

// Run returns when ctx is done.
func (*Tunnel) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Reach returns an error of the kind ErrNotBuilt.
func (Edge) Reach(context.Context, string) (addr string, err error) { return "", notBuilt() }

func notBuilt() error { return &Error{Kind: ErrNotBuilt} }
