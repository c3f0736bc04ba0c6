package handler_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"perch/bridge"
	"perch/bridge/handler"
)

// eventSink is a sink that keeps what it hears.
type eventSink struct {
	mu     sync.Mutex
	events []bridge.Event
	on     func(bridge.Event) // can be nil
}

func (h *eventSink) Publish(e bridge.Event) {
	h.mu.Lock()
	h.events = append(h.events, e)
	h.mu.Unlock()
	if h.on != nil {
		h.on(e)
	}
}

// titles returns what was heard as "LEVEL title", with HOST for host.
func (h *eventSink) titles(host string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []string
	for _, e := range h.events {
		all = append(all, e.Level.String()+" "+strings.ReplaceAll(e.Title.String(), host, "HOST"))
	}
	return all
}

const (
	isDown  = "WARN HOST takes no messages; they are kept and tried again"
	isBack  = "INFO HOST takes messages again"
	isTaken = "INFO HOST took the message (200); whether it answers, its own log says"
)

// recorded returns the webhooks that Nextcloud 32.0.1 with Talk 21.1.7 sent.
func recorded(t *testing.T) map[string]bridge.Message {
	t.Helper()
	all := map[string]bridge.Message{}
	for _, name := range []string{"02_message_mention", "07_message_reply", "14_file_with_caption", "21_message_multiline_markdown"} {
		var recording struct {
			Headers map[string]string `json:"headers"`
			Body    string            `json:"body"`
		}
		data, err := os.ReadFile(filepath.Join("testdata", "webhooks", name+".json"))
		if err := errors.Join(err, json.Unmarshal(data, &recording)); err != nil {
			t.Fatal(err)
		}
		m := greeting()
		m.Webhook = &bridge.Webhook{Header: map[string][]string{}, Body: []byte(recording.Body)}
		for k, v := range recording.Headers {
			m.Webhook.Header[k] = []string{v}
		}
		all[name] = m
	}
	return all
}

// mention is one of recorded, received now.
func mention(t *testing.T) bridge.Message {
	t.Helper()
	m := recorded(t)["02_message_mention"]
	m.ReceivedAt = time.Now()
	return m
}

func secret(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("testdata/webhook_secret.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func TestRelayHandsWebhooksOnByteForByte(t *testing.T) {
	key := secret(t)
	got := make(chan received, 1)
	bot := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		request := received{r.Header, string(body)}
		if r.Method != http.MethodPost || r.URL.Path != "/nextcloud-talk-webhook" || !signed(request, key) {
			http.Error(w, `{"error":"Invalid signature"}`, http.StatusUnauthorized)
			return
		}
		request.Header.Set("Host", r.Host)
		got <- request
		_, _ = io.WriteString(w, " {\"ok\":\n true} ")
	}))
	t.Cleanup(bot.Close)
	host := bot.Listener.Addr().String()
	for name, m := range recorded(t) {
		t.Run(name, func(t *testing.T) {
			want := received{http.Header{}, string(m.Webhook.Body)}
			for k, v := range m.Webhook.Header {
				want.Header.Set(k, v[0])
			}
			want.Header.Set("Host", host)
			m.Webhook.Header["connection"] = []string{"keep-alive, X-Hop"}
			for _, hop := range []string{"X-Hop", "Keep-Alive", "TE", "Upgrade", "Transfer-Encoding", "Content-Length", "Proxy-Authorization", "Trailer", "Expect"} {
				m.Webhook.Header[hop] = []string{"1"}
			}
			m.Webhook.Header["X-Twice"] = []string{"a", "b"}
			want.Header["X-Twice"] = []string{"a", "b"}

			sink := &eventSink{}
			relay := &handler.Relay{URL: bot.URL + "/nextcloud-talk-webhook", Sink: sink}
			replies, err := relay.Handle(t.Context(), m)
			if !errors.Is(err, bridge.ErrPassedOn) || replies != nil {
				t.Fatalf("%+v, %v", replies, err)
			}
			request := <-got
			request.Header.Del("Connection")
			request.Header.Del("Content-Length")
			if diff := cmp.Diff(want, request); diff != "" {
				t.Error(diff)
			}
			taken := []bridge.Event{{
				Stage: bridge.StageHandler, Kind: bridge.EventMessagePassed, Title: bridge.Say("%[1]s took the message (%[2]s)", host, "200"),
				Room: m.Room, Actor: m.Author, MessageID: "42", Text: "{\"ok\":\n true}",
			}}
			if diff := cmp.Diff(taken, sink.events, cmpopts.IgnoreFields(bridge.Event{}, "Duration")); diff != "" {
				t.Error(diff)
			}
			if sink.events[0].Duration <= 0 {
				t.Error("it took no time")
			}
		})
	}
}

func TestRelayShowsTheStartOfWhatCameBack(t *testing.T) {
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"nothing":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }, ""},
		"much":        {says("text/plain", strings.Repeat("ü", 1<<20)), strings.Repeat("ü", 200) + "…"},
		"just enough": {says("text/plain", strings.Repeat("ü", 200)), strings.Repeat("ü", 200)},
		"in Latin-1":  {says("text/plain; charset=iso-8859-1", "gr\xfcn"), "grün"},
		"compressed": {func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") == "gzip" {
				w.Header().Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(w)
				_, _ = io.WriteString(z, "small")
				_ = z.Close()
			}
		}, "small"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) { // it was taken all the same
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "o")
		}, "o"},
	} {
		t.Run(name, func(t *testing.T) {
			bot, requests := serve(t, tt.answer)
			sink := &eventSink{}
			if _, err := (&handler.Relay{URL: bot.URL, Sink: sink}).Handle(t.Context(), mention(t)); !errors.Is(err, bridge.ErrPassedOn) {
				t.Fatal(err)
			}
			silent := strings.Contains(sink.events[0].Title.String(), "whether it answers, its own log says")
			if len(sink.events) != 1 || sink.events[0].Text != tt.want || len(requests) != 1 || silent != (tt.want == "") {
				t.Errorf("%d requests, events %+v", len(requests), sink.events)
			}
		})
	}
}

// In the tests with synctest the other bot lives outside the bubble, so that
// time passes when the relay waits, and not while an attempt is under way.

func TestRelayTriesAgain(t *testing.T) {
	drop := func(http.ResponseWriter) { panic(http.ErrAbortHandler) }
	status := func(code int, headers ...string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(code)
		}
	}
	// Time in a bubble begins then.
	date := time.Date(2000, 1, 1, 0, 0, 40, 0, time.UTC).Format(http.TimeFormat)
	tests := []struct {
		name   string
		first  []func(http.ResponseWriter) // what is answered before 200
		passed time.Duration
	}{
		{"after a broken connection", []func(http.ResponseWriter){drop}, time.Second},
		{"longer and longer", []func(http.ResponseWriter){
			status(500), status(502), status(503), status(504), status(408), status(425), status(429), status(599),
		}, (1 + 2 + 4 + 8 + 16 + 32 + 60 + 60) * time.Second},
		{"when it is told to", []func(http.ResponseWriter){status(429, "Retry-After", "90"), status(500)}, 92 * time.Second},
		{"not before its own time", []func(http.ResponseWriter){status(500), status(503, "Retry-After", "1")}, 3 * time.Second},
		{"at the date it is told", []func(http.ResponseWriter){status(503, "Retry-After", date)}, 40 * time.Second},
		{"whatever it is told", []func(http.ResponseWriter){status(429, "Retry-After", "soon"), status(503, "Retry-After", "-5")}, 3 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &counter{answer: func(n int64, w http.ResponseWriter, _ *http.Request) {
				if int(n) <= len(tt.first) {
					tt.first[n-1](w)
				}
			}}
			bot := httptest.NewServer(c)
			t.Cleanup(bot.Close)
			synctest.Test(t, func(t *testing.T) {
				sink := &eventSink{}
				began := time.Now()
				if _, err := (&handler.Relay{URL: bot.URL, Sink: sink}).Handle(t.Context(), mention(t)); !errors.Is(err, bridge.ErrPassedOn) {
					t.Fatal(err)
				}
				if passed := time.Since(began); passed != tt.passed || int(c.n.Load()) != len(tt.first)+1 {
					t.Errorf("%d attempts in %s, want %s", c.n.Load(), passed, tt.passed)
				}
				if diff := cmp.Diff([]string{isDown, isBack, isTaken}, sink.titles(bot.Listener.Addr().String())); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestRelayWaitsForABotThatIsStarted(t *testing.T) {
	addr := closedPort(t)
	c := &counter{answer: func(int64, http.ResponseWriter, *http.Request) {}}
	start, started := make(chan struct{}), make(chan error)
	bot := httptest.NewUnstartedServer(c)
	bot.Listener.Close()
	t.Cleanup(bot.Close)
	go func() {
		<-start
		var err error
		if bot.Listener, err = net.Listen("tcp", addr); err == nil {
			bot.Start()
		}
		started <- err
	}()
	synctest.Test(t, func(t *testing.T) {
		sink := &eventSink{on: func(e bridge.Event) {
			if e.Level == slog.LevelWarn {
				start <- struct{}{}
				if err := <-started; err != nil {
					t.Error(err)
				}
			}
		}}
		if _, err := (&handler.Relay{URL: "http://" + addr, Sink: sink}).Handle(t.Context(), mention(t)); !errors.Is(err, bridge.ErrPassedOn) {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{isDown, isBack, isTaken}, sink.titles(addr)); diff != "" {
			t.Error(diff)
		}
		if e := sink.events[0]; e.Code != bridge.CodeUnavailable || !strings.Contains(e.Reason.String(), "refuses connections") || e.Hint.IsZero() || e.Room.Token != "knzaftd5" {
			t.Errorf("%+v", e)
		}
	})
}

func TestRelayGivesUpAfterADay(t *testing.T) {
	for name, tt := range map[string]struct {
		age      time.Duration // of the message
		wait     string        // that the other bot asks for
		passed   time.Duration
		attempts int64
	}{
		// After 1, 3, 7, 15, 31 and 63 s, then each minute, and once at the end.
		"of trying":              {0, "", 24 * time.Hour, 7 + (24*60 - 2) + 1},
		"of both":                {23 * time.Hour, "", time.Hour, 7 + (60 - 2) + 1},
		"with one last attempt":  {0, "172800", 24 * time.Hour, 2},
		"with at least one":      {48 * time.Hour, "", 0, 1},
		"with one at its minute": {24*time.Hour - time.Second/2, "", time.Second / 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			c := &counter{answer: func(_ int64, w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", tt.wait)
				w.WriteHeader(http.StatusServiceUnavailable)
			}}
			bot := httptest.NewServer(c)
			t.Cleanup(bot.Close)
			synctest.Test(t, func(t *testing.T) {
				sink := &eventSink{}
				m := mention(t)
				began := time.Now()
				m.ReceivedAt = began.Add(-tt.age)
				_, err := (&handler.Relay{URL: bot.URL, Sink: sink}).Handle(t.Context(), m)
				wantFailure(t, err, bridge.CodeUnavailable, "within 24 hours", "log")
				if passed := time.Since(began); passed != tt.passed || c.n.Load() != tt.attempts {
					t.Errorf("%d attempts in %s, want %d in %s", c.n.Load(), passed, tt.attempts, tt.passed)
				}
				if diff := cmp.Diff([]string{isDown}, sink.titles(bot.Listener.Addr().String())); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestRelayGivesUpAtOnce(t *testing.T) {
	for name, tt := range map[string]struct {
		status     int
		code       bridge.Code
		text, hint string
	}{
		"another Nextcloud": {401, bridge.CodeUnauthorized, "of this Nextcloud", `"https://cloud.example.com/nc/"`},
		"bad request":       {400, bridge.CodeInvalid, "400", ""},
		"another secret":    {401, bridge.CodeUnauthorized, "signature", "perch occ"},
		"not allowed":       {403, bridge.CodeUnauthorized, "signature", "same secret"},
		"a wrong path":      {404, bridge.CodeNotFound, "path", "[handlers.house]"},
		"GET only":          {405, bridge.CodeInvalid, "POST", "[handlers.house]"},
		"too large":         {413, bridge.CodeInvalid, "larger", "limit"},
		"moved":             {301, bridge.CodeInvalid, "elsewhere", "curl"},
		"moved to a host":   {307, bridge.CodeInvalid, "elsewhere", "curl"},
		"something strange": {418, bridge.CodeInvalid, "418", ""},
	} {
		t.Run(name, func(t *testing.T) {
			bot, requests := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", "http://elsewhere.example/")
				w.WriteHeader(tt.status)
				_, _ = io.WriteString(w, "because")
				if name == "another Nextcloud" {
					_, _ = io.WriteString(w, `{"error":"Invalid backend"}`)
				}
			})
			sink := &eventSink{}
			m := mention(t)
			m.Backend = "https://cloud.example.com/nc/"
			_, err := (&handler.Relay{Name: "house", URL: bot.URL + "/p4th", Sink: sink}).Handle(t.Context(), m)
			wantFailure(t, err, tt.code, tt.text, tt.hint)
			if len(requests) != 1 || len(sink.events) != 0 || strings.Contains(err.Error(), "p4th") || tt.status >= 400 && !strings.Contains(err.Error(), "because") {
				t.Errorf("%d requests, events %+v, error %v", len(requests), sink.events, err)
			}
		})
	}
	t.Run("no webhook", func(t *testing.T) {
		bot, requests := serve(t, says("", ""))
		_, err := (&handler.Relay{URL: bot.URL, Sink: &eventSink{}}).Handle(t.Context(), greeting())
		wantFailure(t, err, bridge.CodeInvalid, "no webhook", "Write the message again")
		if len(requests) != 0 {
			t.Errorf("posted %d times", len(requests))
		}
	})
	t.Run("no URL", func(t *testing.T) {
		_, err := (&handler.Relay{URL: "8788", Sink: &eventSink{}}).Handle(t.Context(), mention(t))
		wantFailure(t, err, bridge.CodeInvalid, "[handler]", "http://")
	})
}

func TestRelayStopsWithItsContext(t *testing.T) {
	t.Run("while it waits", func(t *testing.T) {
		bot, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			began := time.Now()
			time.AfterFunc(1500*time.Millisecond, cancel) // in the second pause
			_, err := (&handler.Relay{URL: bot.URL, Sink: &eventSink{}}).Handle(ctx, mention(t))
			if !errors.Is(err, context.Canceled) || time.Since(began) != 1500*time.Millisecond {
				t.Errorf("after %s: %v", time.Since(began), err)
			}
			wantFailure(t, err, bridge.CodeUnavailable, "not handed on", "")
		})
	})
	t.Run("in an attempt", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		bot, requests := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			cancel()
			<-r.Context().Done()
		})
		sink := &eventSink{}
		_, err := (&handler.Relay{URL: bot.URL, Sink: sink}).Handle(ctx, mention(t))
		if !errors.Is(err, context.Canceled) || len(requests) != 1 || len(sink.events) != 0 {
			t.Errorf("%d requests, events %+v: %v", len(requests), sink.events, err)
		}
	})
}

func TestRelayBoundsAnAttempt(t *testing.T) {
	var hung atomic.Bool
	bot, requests := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		if hung.CompareAndSwap(false, true) {
			<-r.Context().Done()
		}
	})
	sink := &eventSink{}
	relay := &handler.Relay{URL: bot.URL, Sink: sink, Timeout: 100 * time.Millisecond}
	if _, err := relay.Handle(t.Context(), mention(t)); !errors.Is(err, bridge.ErrPassedOn) {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{isDown, isBack, isTaken}, sink.titles(bot.Listener.Addr().String())); diff != "" || len(requests) != 2 {
		t.Errorf("%d requests %s", len(requests), diff)
	}
	if got := sink.events[0].Reason.String(); !strings.Contains(got, "did not answer in time") {
		t.Error(got)
	}
}

// Many messages wait for one bot: it is said once that it is away, and once
// that it is back.
func TestRelayTellsOnceThatABotIsAway(t *testing.T) {
	var up atomic.Bool
	bot := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !up.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	t.Cleanup(bot.Close)
	host := bot.Listener.Addr().String()
	synctest.Test(t, func(t *testing.T) {
		sink := &eventSink{}
		relay := &handler.Relay{URL: bot.URL, Sink: sink}
		away := func() {
			up.Store(false)
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					if _, err := relay.Handle(t.Context(), mention(t)); !errors.Is(err, bridge.ErrPassedOn) {
						t.Error(err)
					}
				})
			}
			time.Sleep(time.Hour)
			up.Store(true)
			wg.Wait()
		}
		away()
		away()
		once := []string{isDown, isBack, isTaken, isTaken, isTaken}
		if diff := cmp.Diff(append(once, once...), sink.titles(host)); diff != "" {
			t.Error(diff)
		}
	})
}

// A message that the other bot never takes says nothing about the others.
func TestRelayTellsOnceOfEachMessageAtMost(t *testing.T) {
	bot := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Poison") != "" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(bot.Close)
	synctest.Test(t, func(t *testing.T) {
		sink := &eventSink{}
		relay := &handler.Relay{URL: bot.URL, Sink: sink}
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan error)
		go func() {
			m := mention(t)
			m.Webhook.Header["X-Poison"] = []string{"1"}
			_, err := relay.Handle(ctx, m)
			stopped <- err
		}()
		for range 2 {
			time.Sleep(time.Hour)
			if _, err := relay.Handle(t.Context(), mention(t)); !errors.Is(err, bridge.ErrPassedOn) {
				t.Error(err)
			}
		}
		cancel()
		if err := <-stopped; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{isDown, isBack, isTaken, isTaken}, sink.titles(bot.Listener.Addr().String())); diff != "" {
			t.Error(diff)
		}
	})
}
