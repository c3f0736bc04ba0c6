package app_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/practice"
	"perch/bridge/secret"
	"perch/bridge/testenv"
)

// newAccount starts a server and a bot that logs in there as owl.
func newAccount(t *testing.T, change ...func(*config.Config)) (w *world, token string) {
	t.Helper()
	server, err := practice.Start(t.Context(), practice.Options{})
	check(t, err)
	t.Cleanup(server.Close)
	w = &world{t: t, server: server, cfg: config.Default(), secrets: secret.Memory()}
	w.cfg.Talk.BaseURL, w.cfg.Talk.AllowedUsers, w.cfg.Talk.Receive = server.URL(), []string{"alice"}, config.ByAccount
	w.cfg.Webhook.Listen = "192.0.2.1:1" // nothing can listen there
	for _, f := range change {
		f(&w.cfg)
	}
	dir := t.TempDir()
	w.home = config.Home{ConfigDir: dir, DataDir: dir}
	w.save()
	token = server.AppToken("owl")
	check(t, w.secrets.Set(t.Context(), bridge.AppToken, bridge.NewSecret(token)))
	w.room = server.AddRoom("Kitchen", "alice", "owl")
	w.start()
	return w, token
}

// told posts a text in a room and returns the reply to it, which owl has to
// write.
func (w *world) told(room, text string) string {
	w.t.Helper()
	r, err := w.server.Post(w.t.Context(), room, "alice", text)
	check(w.t, err)
	ctx, cancel := context.WithTimeout(w.t.Context(), testenv.Patience)
	defer cancel()
	e, err := w.server.WaitReply(ctx, room, r.ID)
	check(w.t, err)
	if e.Actor.ID != "owl" || e.ReferenceID == "" {
		w.t.Errorf("the reply is %+v", e)
	}
	return e.Text
}

func TestAccountAnswers(t *testing.T) {
	w, _ := newAccount(t)
	if w.app.Addr() != "" {
		t.Errorf("it listens at %s", w.app.Addr())
	}
	check(t, errOf(w.server.Post(t.Context(), w.room, "alice", "!echo nobody is meant")))
	if got := w.told(w.room, "@owl ping"); got != "pong" {
		t.Errorf("a mention is answered by %q", got)
	}
	if got := w.told(w.room, "@owl, !ping"); got != "pong" {
		t.Errorf("a mention with a prefix is answered by %q", got)
	}
	pair := w.server.AddOneToOne("alice", "owl")
	if got := w.told(pair, "echo just us"); got != "just us" {
		t.Errorf("alone it is answered by %q", got)
	}
	if got := w.told(pair, "what?"); !strings.Contains(got, "`help`") {
		t.Errorf("what is no command is answered by %q", got)
	}
	for _, e := range w.server.Transcript(w.room) {
		if e.Actor.ID == "owl" && strings.Contains(e.Text, "nobody") {
			t.Errorf("what was not for the account is answered by %q", e.Text)
		}
	}
	if s, ok := w.app.Account(); !ok || s.User.ID != "owl" || s.Err != nil {
		t.Errorf("%+v, %t", s, ok)
	}
}

func errOf(_ practice.Result, err error) error { return err }

func TestAccountIsSwitchedOnAndOff(t *testing.T) {
	w, token := newAccount(t)
	w.await("Logged in as owl")
	if got := w.told(w.room, "@owl ping"); got != "pong" {
		t.Errorf("answered by %q", got)
	}
	w.cfg.Talk.Receive, w.cfg.Webhook.Listen = config.ByWebhook, testenv.FreeAddr(t)
	check(t, w.secrets.Set(t.Context(), bridge.WebhookSecret, bridge.NewSecret(key)))
	w.save()
	w.await("Listening for webhooks")
	bot, err := w.server.InstallBot(practice.Bot{Name: "Perch", URL: w.url(), Secret: key})
	check(t, err)
	_, err = w.server.EnableBot(t.Context(), w.room, bot)
	check(t, err)
	if got := w.ask("!ping"); got != "pong" {
		t.Errorf("as a bot it answers %q", got)
	}
	w.cfg.Talk.Receive = config.ByAccount
	w.save()
	w.await("Logged in as owl")
	if got := w.told(w.room, "@owl ping"); got != "pong" {
		t.Errorf("with the account again it answers %q", got)
	}
	w.server.RevokeAppToken(token)
	w.await("The server refuses the account")
	if err := w.app.Facts().AccountErr; bridge.CodeOf(err) != bridge.CodeUnauthorized {
		t.Errorf("the account is refused: %v", err)
	}
	check(t, w.secrets.Set(t.Context(), bridge.AppToken, bridge.NewSecret(w.server.AppToken("owl"))))
	w.app.Reload()
	w.await("Logged in as owl")
	if got := w.told(w.room, "@owl ping"); got != "pong" {
		t.Errorf("logged in again it answers %q", got)
	}
	pongs := 0
	for _, e := range w.server.Transcript(w.room) {
		if e.Text == "pong" {
			pongs++
		}
	}
	if pongs != 4 {
		t.Errorf("%d answers to four questions", pongs)
	}
}

// What comes while it is away is answered once, as is what came both ways.
func TestAccountCatchesUp(t *testing.T) {
	w, _ := newAccount(t)
	w.told(w.room, "@owl ping")
	w.stop()
	r, err := w.server.Post(t.Context(), w.room, "alice", "@owl echo while away")
	check(t, err)
	w.start()
	if got := w.reply(r.ID); got != "while away" {
		t.Errorf("answered by %q", got)
	}
	w.stop()
	w.start()
	w.told(w.room, "@owl echo last")
	answers := map[string]int{}
	for _, e := range w.server.Transcript(w.room) {
		if e.Actor.ID == "owl" {
			answers[e.Text]++
		}
	}
	for text, n := range answers {
		if n != 1 {
			t.Errorf("%q was said %d times", text, n)
		}
	}
}

// Killed at any moment, under load, again and again: every message is answered
// exactly once.
func TestAccountKilledAtAnyMoment(t *testing.T) {
	const rounds, rooms, messages, ahead = 6, 4, 40, 5
	server, err := practice.Start(t.Context(), practice.Options{})
	check(t, err)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	home := config.Home{ConfigDir: dir, DataDir: dir}
	cfg := config.Default()
	cfg.Talk.BaseURL, cfg.Talk.AllowedUsers, cfg.Talk.Receive = server.URL(), []string{"alice"}, config.ByAccount
	_, err = config.Save(home.ConfigFile(), cfg)
	check(t, err)
	token := server.AppToken("owl")
	var tokens []string
	for range rooms {
		tokens = append(tokens, server.AddRoom("Room", "alice", "owl"))
	}
	perch := processUntil(t, home, token, "Logged in as owl")
	answered := make(chan struct{}, rooms*messages)
	var clients sync.WaitGroup
	for c, room := range tokens {
		clients.Go(func() {
			var asked []int
			for i := range messages + ahead {
				if i < messages {
					r, err := server.Post(t.Context(), room, "alice", fmt.Sprintf("@owl echo %d.%d", c, i))
					if err != nil {
						t.Error(err)
						return
					}
					asked = append(asked, r.ID)
				}
				if i >= ahead {
					ctx, cancel := context.WithTimeout(t.Context(), 4*testenv.Patience)
					_, err := server.WaitReply(ctx, room, asked[i-ahead])
					cancel()
					if err != nil {
						t.Errorf("message %d.%d was never answered: %v", c, i-ahead, err)
						return
					}
					answered <- struct{}{}
				}
			}
		})
	}
	for range rounds {
		for range 1 + rand.IntN(15) {
			<-answered
		}
		<-time.After(time.Duration(rand.IntN(30)) * time.Millisecond) // the moment of the crash is to be any
		check(t, perch.Process.Kill())
		_ = perch.Wait()
		perch = processUntil(t, home, token, "Logged in as owl")
	}
	clients.Wait()
	for c, room := range tokens {
		said := map[string]int{}
		for _, e := range server.Transcript(room) {
			if e.Actor.ID == "owl" {
				said[e.Text]++
			}
		}
		for i := range messages {
			if text := fmt.Sprintf("%d.%d", c, i); said[text] != 1 {
				t.Errorf("%s was answered %d times", text, said[text])
			}
		}
	}
	check(t, perch.Process.Signal(os.Interrupt))
	_ = perch.Wait()
}
