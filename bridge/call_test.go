package bridge_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"perch/bridge"
)

func TestCall(t *testing.T) {
	t.Run("an answer", func(t *testing.T) {
		h := bridge.HandlerFunc(func(_ context.Context, m bridge.Message) ([]bridge.Reply, error) {
			return []bridge.Reply{{Text: m.Text}}, errors.ErrUnsupported
		})
		replies, err := bridge.Call(t.Context(), h, bridge.Message{Text: "hi"})
		if len(replies) != 1 || replies[0].Text != "hi" || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v, %v", replies, err)
		}
	})
	t.Run("a panic", func(t *testing.T) {
		h := bridge.HandlerFunc(func(context.Context, bridge.Message) ([]bridge.Reply, error) { panic("on purpose") })
		_, err := bridge.Call(t.Context(), h, bridge.Message{})
		if bridge.CodeOf(err) != bridge.CodeInternal || !strings.Contains(err.Error(), "on purpose") || !strings.Contains(err.Error(), "call_test.go") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("an answer after the end", func(t *testing.T) {
		h := bridge.HandlerFunc(func(ctx context.Context, _ bridge.Message) ([]bridge.Reply, error) {
			<-ctx.Done()
			return nil, errors.ErrUnsupported
		})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := bridge.Call(ctx, h, bridge.Message{}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("no end", func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		h := bridge.HandlerFunc(func(context.Context, bridge.Message) ([]bridge.Reply, error) {
			<-release
			return nil, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := bridge.Call(ctx, h, bridge.Message{}); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}
