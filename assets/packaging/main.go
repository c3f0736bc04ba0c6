// Packaging is what the Makefile runs to check and to build what is released.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// command is a command of this program.
type command struct {
	name, arguments string
	run             func(ctx context.Context, args []string) error
}

func commands() []command {
	return []command{
		{"platforms", "GOOS/GOARCH…", platforms},
		{"licences", "[--write] GOOS/GOARCH…", licences},
		{"release", "--version VERSION [--window FILE] GOOS/GOARCH…", releaseFor},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := dispatch(ctx, os.Args[1:]); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called.
	}
}

func dispatch(ctx context.Context, args []string) error {
	var usage []string
	for _, c := range commands() {
		if len(args) > 0 && args[0] == c.name {
			return c.run(ctx, args[1:])
		}
		usage = append(usage, "go run ./assets/packaging "+c.name+" "+c.arguments)
	}
	return fmt.Errorf("usage:\n  %s", strings.Join(usage, "\n  "))
}
