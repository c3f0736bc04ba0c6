package webhook

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"perch/bridge"
)

// drainTimeout bounds how long requests under way may take to end.
const drainTimeout = 2 * time.Second

// Listen opens the address that a table of config.toml has as listen: webhook, or
// another. Its error says whether the port is taken, the address is not of this
// machine or needs privileges.
func Listen(ctx context.Context, addr, table string) (net.Listener, error) {
	var config net.ListenConfig
	ln, err := config.Listen(ctx, "tcp", addr)
	if err == nil {
		return ln, nil
	}
	e := &bridge.Error{
		Code:  bridge.CodeConflict,
		Text:  bridge.Say("Perch cannot listen on %s", addr),
		Hint:  bridge.Say("Set another address as listen in the table [%s] of config.toml.", table),
		Cause: err,
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		_, port, _ := net.SplitHostPort(addr)
		e.Text = bridge.Say("Perch cannot listen on %s: another program uses this port", addr)
		e.Hint = bridge.Say("Find it with: ss -ltnp 'sport = :%s'. End it, or set another port as listen in the table [%s] of config.toml.", port, table)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		e.Text = bridge.Say("Perch cannot listen on %s: this machine does not have that address", addr)
	case errors.Is(err, os.ErrPermission):
		e.Text = bridge.Say("Perch cannot listen on %s: ports below 1024 need privileges", addr)
	}
	return nil, e
}

// Serve answers requests on ln until ctx is done, then lets those under way
// end, within 2 s. It closes ln. A Server serves once.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	defer s.refused.close()
	return s.serve(ctx, ln, s)
}

// ServePaused answers on ln while the bot takes no messages, until ctx is done: 503
// to all, with the word "paused" to /healthz. It closes ln.
func ServePaused(ctx context.Context, ln net.Listener, log *slog.Logger) error {
	return New(Options{Log: log}).serve(ctx, ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		word := "paused"
		if r.URL.Path != "/healthz" {
			word = "This bot is paused."
		}
		http.Error(w, word, http.StatusServiceUnavailable)
	}))
}

func (s *Server) serve(ctx context.Context, ln net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       maxRequestTime,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.options.Log.Handler(), slog.LevelDebug),
		ConnState:         s.gate.follow,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, clientKey{}, conn)
		},
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(gated{ln, &s.gate}) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		_ = server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return ctx.Err()
}
