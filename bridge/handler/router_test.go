package handler_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/handler"
)

// routed is a Router whose handlers are all the same one, and what it did.
type routed struct {
	*handler.Router
	mu     sync.Mutex
	made   []string
	acks   []bridge.Reply
	ackErr error
	events []bridge.Event
}

func (r *routed) Publish(e bridge.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
}

func (r *routed) acknowledge(_ context.Context, reply bridge.Reply) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acks = append(r.acks, reply)
	return r.ackErr
}

// newRouted routes to h, or, if it is nil, to handlers that say their name and
// the text that they got.
func newRouted(t *testing.T, c config.Config, h bridge.HandlerFunc) *routed {
	t.Helper()
	r := &routed{}
	var err error
	r.Router, err = handler.NewRouter(c, func(name string, c config.Handler) (bridge.Handler, error) {
		r.made = append(r.made, name+"/"+string(c.Trigger))
		if h != nil {
			return h, nil
		}
		return bridge.HandlerFunc(func(_ context.Context, m bridge.Message) ([]bridge.Reply, error) {
			return []bridge.Reply{{Text: name + "/" + m.Text + "/" + m.RawText}}, nil
		}), nil
	}, r.acknowledge, r)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// settings are those of an Exec handler, changed.
func settings(change ...func(h *config.Handler)) config.Config {
	c := config.Default()
	c.Handler = config.DefaultHandler(config.Exec)
	for _, f := range change {
		f(&c.Handler)
	}
	return c
}

func said(room, text string) bridge.Message {
	return bridge.Message{
		Key: bridge.Key{Room: room, ID: "7"}, Kind: bridge.KindChat, Room: bridge.Room{Token: room},
		Author: bridge.Actor{Type: bridge.ActorUser, ID: "alice"}, Text: text, RawText: text,
	}
}

// shown writes replies for comparison.
func shown(replies []bridge.Reply) []string {
	var all []string
	for _, r := range replies {
		s := fmt.Sprintf("%s%s to %q in %q", r.Text, r.Reaction, r.ReplyTo, r.Room.Token)
		if r.Remove {
			s = "no " + s
		}
		if r.Silent {
			s += " silently"
		}
		all = append(all, s)
	}
	return all
}

func want(t *testing.T, replies []bridge.Reply, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, shown(replies)); diff != "" {
		t.Errorf("replies (-want +got):\n%s", diff)
	}
}

func TestEachRoomHasItsHandler(t *testing.T) {
	c := config.Default()
	c.Handlers = map[string]config.Handler{"house": config.DefaultHandler(config.Exec), "unused": config.DefaultHandler(config.LLM)}
	c.Rooms = map[string]config.Room{
		"off":      {Handler: "unused"},
		"on":       {Enabled: true},
		"house":    {Enabled: true, Handler: "house"},
		"called":   {Enabled: true, Handler: "house", Trigger: config.OnMention},
		"commands": {Enabled: true, Trigger: config.OnMention},
	}
	r := newRouted(t, c, nil)
	for _, tt := range []struct{ room, say, want string }{
		{"other", "!ping", "/ping/!ping"},
		{"other", "ping", ""},
		{"on", "!ping", "/ping/!ping"},
		{"off", "!ping", ""},
		{"house", "!ping", "house/!ping/!ping"},
		{"called", "!ping", ""},
		{"called", "Perch, !ping", "house/!ping/Perch, !ping"},
		{"commands", "Perch, ping", "/ping/Perch, ping"},
		{"commands", "!ping", ""},
	} {
		m := said(tt.room, tt.say)
		replies, err := r.Handle(t.Context(), m)
		got := ""
		if len(replies) > 0 {
			got = replies[0].Text
		}
		if err != nil || got != tt.want {
			t.Errorf("%s in %s: %q %v, want %q", tt.say, tt.room, got, err, tt.want)
		}
		most, asked := r.Queue(m)
		places := 100
		if !strings.HasPrefix(tt.want, "house") {
			places = math.MaxInt
		}
		if asked != (tt.want != "") || asked && most != places {
			t.Errorf("%s in %s: %v with a queue of %d", tt.say, tt.room, asked, most)
		}
	}
	made := map[string]int{}
	for _, name := range r.made {
		made[name]++
	}
	if diff := cmp.Diff(map[string]int{"/prefix": 1, "/mention": 1, "house/": 1}, made); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
}

func TestRouterNeedsItsHandlers(t *testing.T) {
	create := func(string, config.Handler) (bridge.Handler, error) { return nil, errors.New("on purpose") }
	if _, err := handler.NewRouter(config.Default(), create, nil, nil); err == nil || err.Error() != "on purpose" {
		t.Errorf("a handler cannot be made: %v", err)
	}
	c := config.Default()
	c.Rooms = map[string]config.Room{"kitchen": {Enabled: true, Handler: "house"}}
	create = func(string, config.Handler) (bridge.Handler, error) { return bridge.HandlerFunc(nil), nil }
	_, err := handler.NewRouter(c, create, nil, nil)
	if bridge.CodeOf(err) != bridge.CodeInvalid || !strings.Contains(bridge.HintOf(err).String(), "[handlers.house]") {
		t.Errorf("a handler is missing: %v, hint %q", err, bridge.HintOf(err))
	}
}

func TestHowItAnswers(t *testing.T) {
	answers := func(context.Context, bridge.Message) ([]bridge.Reply, error) {
		return []bridge.Reply{{Text: "one"}, {Reaction: "👍"}, {Text: "two", ReplyTo: "3"}, {Text: "three", Room: bridge.Room{Token: "other"}}}, nil
	}
	for _, tt := range []struct {
		name   string
		change func(h *config.Handler)
		want   []string
	}{
		{"quotes", func(*config.Handler) {}, []string{`one to "7" in ""`, `👍 to "7" in ""`, `two to "3" in ""`, `three to "" in "other"`}},
		{"plainly", func(h *config.Handler) { h.Quote = false }, []string{`one to "" in ""`, `👍 to "7" in ""`, `two to "3" in ""`, `three to "" in "other"`}},
		{"silently", func(h *config.Handler) { h.Silent = true }, []string{`one to "7" in "" silently`, `👍 to "7" in "" silently`, `two to "3" in "" silently`, `three to "" in "other" silently`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			replies, err := newRouted(t, settings(tt.change), answers).Handle(t.Context(), said("room", "hi"))
			if err != nil {
				t.Fatal(err)
			}
			want(t, replies, tt.want...)
		})
	}
}

func failing(context.Context, bridge.Message) ([]bridge.Reply, error) {
	return []bridge.Reply{{Text: "half"}}, &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("on purpose")}
}

func panicking(context.Context, bridge.Message) ([]bridge.Reply, error) { panic("on purpose") }

func hanging(ctx context.Context, _ bridge.Message) ([]bridge.Reply, error) {
	<-ctx.Done()
	return nil, fmt.Errorf("it was killed: %w", ctx.Err())
}

func TestReactionWhileItWorks(t *testing.T) {
	ack := func(h *config.Handler) { h.Ack, h.Quote = "👀", false }
	t.Run("until it is done", func(t *testing.T) {
		var r *routed
		r = newRouted(t, settings(ack), func(context.Context, bridge.Message) ([]bridge.Reply, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			want(t, r.acks, `👀 to "7" in "room"`)
			return []bridge.Reply{{Text: "done"}}, nil
		})
		replies, err := r.Handle(t.Context(), said("room", "hi"))
		if err != nil {
			t.Fatal(err)
		}
		want(t, replies, `done to "" in ""`, `no 👀 to "7" in "room"`)
	})
	t.Run("until it fails", func(t *testing.T) {
		replies, err := newRouted(t, settings(ack), failing).Handle(t.Context(), said("room", "hi"))
		if err == nil {
			t.Error("there is no error")
		}
		want(t, replies, `half to "" in ""`, `no 👀 to "7" in "room"`)
	})
	t.Run("until it crashes", func(t *testing.T) {
		replies, _ := newRouted(t, settings(ack), panicking).Handle(t.Context(), said("room", "hi"))
		want(t, replies, `no 👀 to "7" in "room"`)
	})
	t.Run("not for who is not asked", func(t *testing.T) {
		c := settings(ack, func(h *config.Handler) { h.Trigger = config.OnPrefix })
		r := newRouted(t, c, failing)
		if replies, err := r.Handle(t.Context(), said("room", "hi")); len(replies)+len(r.acks) > 0 || err != nil {
			t.Errorf("replies %v, reactions %v, error %v", replies, r.acks, err)
		}
	})
	t.Run("not for commands", func(t *testing.T) {
		c := config.Default()
		c.Handler.Ack = "👀"
		r := newRouted(t, c, nil)
		if replies, err := r.Handle(t.Context(), said("room", "!hi")); len(replies) != 1 || len(r.acks) > 0 || err != nil {
			t.Errorf("replies %v, reactions %v, error %v", replies, r.acks, err)
		}
	})
	t.Run("not if it cannot be stored", func(t *testing.T) {
		r := newRouted(t, settings(ack), func(context.Context, bridge.Message) ([]bridge.Reply, error) {
			return []bridge.Reply{{Text: "done"}}, nil
		})
		r.ackErr = errors.New("the disk is full")
		replies, err := r.Handle(t.Context(), said("room", "hi"))
		if err != nil {
			t.Fatal(err)
		}
		want(t, replies, `done to "" in ""`)
		if len(r.events) != 1 || r.events[0].Level != slog.LevelWarn || !strings.Contains(r.events[0].Cause, "disk is full") {
			t.Errorf("events: %+v", r.events)
		}
	})
}

func TestWhatTheRoomIsToldOfAFailure(t *testing.T) {
	c := settings(func(h *config.Handler) { h.OnError = "Sorry." })
	replies, err := newRouted(t, c, failing).Handle(t.Context(), said("room", "hi"))
	if bridge.TextOf(err).String() != "on purpose" {
		t.Errorf("error %v", err)
	}
	want(t, replies, `half to "7" in ""`, `Sorry. to "7" in ""`)

	replies, err = newRouted(t, c, panicking).Handle(t.Context(), said("room", "hi"))
	if bridge.TextOf(err).String() != "The handler crashed" || !strings.Contains(err.Error(), "router_test.go") {
		t.Errorf("error %v", err)
	}
	want(t, replies, `Sorry. to "7" in ""`)

	replies, err = newRouted(t, settings(), panicking).Handle(t.Context(), said("room", "hi"))
	if len(replies) > 0 || err == nil {
		t.Errorf("with nothing to be told: %v %v", replies, err)
	}
}

// A stop is no failure: the message is handled again.
func TestAStopTellsTheRoomNothing(t *testing.T) {
	for name, h := range map[string]bridge.HandlerFunc{
		"hangs": hanging,
		"ignores it": func(context.Context, bridge.Message) ([]bridge.Reply, error) {
			<-time.After(time.Hour)
			return nil, nil
		},
		"says its own": func(ctx context.Context, _ bridge.Message) ([]bridge.Reply, error) {
			<-ctx.Done()
			return nil, errors.New("killed")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				c := settings(func(h *config.Handler) { h.OnError, h.Ack = "Sorry.", "👀" })
				replies, err := newRouted(t, c, h).Handle(ctx, said("room", "hi"))
				if len(replies) > 0 || !errors.Is(err, context.Canceled) {
					t.Errorf("replies %v, error %v", replies, err)
				}
				time.Sleep(time.Hour) // until who was left behind is done
			})
		})
	}
}

func TestDeadline(t *testing.T) {
	for name, h := range map[string]bridge.HandlerFunc{
		"hangs": hanging,
		"ignores it": func(context.Context, bridge.Message) ([]bridge.Reply, error) {
			<-time.After(time.Hour)
			return nil, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := settings()
				house := c.Handler
				house.Timeout, house.OnError = config.Duration(2*time.Second), "Sorry."
				c.Handlers = map[string]config.Handler{"house": house}
				c.Rooms = map[string]config.Room{"room": {Enabled: true, Handler: "house"}}
				started := time.Now()
				replies, err := newRouted(t, c, h).Handle(t.Context(), said("room", "hi"))
				if took := time.Since(started); took > 3*time.Second {
					t.Errorf("it took %s", took)
				}
				if bridge.TextOf(err).String() != "The handler did not answer within 2s" || !strings.Contains(bridge.HintOf(err).String(), "[handlers.house]") {
					t.Errorf("error %v, hint %q", err, bridge.HintOf(err))
				}
				want(t, replies, `Sorry. to "7" in ""`)
				time.Sleep(time.Hour) // until who was left behind is done
			})
		})
	}
	t.Run("the handler knows why", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, err := newRouted(t, settings(), func(ctx context.Context, _ bridge.Message) ([]bridge.Reply, error) {
				<-ctx.Done()
				return nil, &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("no answer"), Hint: bridge.Say("do this"), Cause: ctx.Err()}
			}).Handle(t.Context(), said("room", "hi"))
			if !strings.Contains(bridge.TextOf(err).String(), "did not answer within") || bridge.HintOf(err).String() != "do this" {
				t.Errorf("error %v, hint %q", err, bridge.HintOf(err))
			}
		})
	})
	t.Run("of a relay is its own affair", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := settings(func(h *config.Handler) { h.Kind, h.Timeout = config.Relay, config.Duration(2*time.Second) })
			_, err := newRouted(t, c, func(ctx context.Context, _ bridge.Message) ([]bridge.Reply, error) {
				select {
				case <-time.After(20 * time.Hour):
					return nil, nil
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}).Handle(t.Context(), said("room", "hi"))
			if err != nil {
				t.Errorf("error %v", err)
			}
		})
	})
}

func TestAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rooms, slots, takes = 7, 2, 50 * time.Second
		c := settings(func(h *config.Handler) { h.AtOnce, h.Timeout = slots, config.Duration(time.Minute) })
		var mu sync.Mutex
		now, most := 0, 0
		r := newRouted(t, c, func(ctx context.Context, _ bridge.Message) ([]bridge.Reply, error) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			defer func() { mu.Lock(); now--; mu.Unlock() }()
			select {
			case <-time.After(takes):
				return nil, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		started := time.Now()
		var wg sync.WaitGroup
		for i := range rooms {
			wg.Go(func() { // the last waits for far longer than a minute, which is not its fault
				if _, err := r.Handle(t.Context(), said(fmt.Sprint("room", i), "hi")); err != nil {
					t.Errorf("room %d: %v", i, err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Handle(ctx, said("another", "hi")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting for its turn, it ended with %v", err)
		}
		wg.Wait()
		if took := time.Since(started); most != slots || took != 4*takes {
			t.Errorf("%d at once, for %s; want %d, for %s", most, took, slots, 4*takes)
		}
	})
}
