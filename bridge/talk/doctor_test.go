package talk_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/talk"
)

// examined returns a doctor for a server, and how often it was asked.
func examined(t *testing.T, o talk.Options, h http.HandlerFunc) (talk.Doctor, *atomic.Int32) {
	t.Helper()
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		h(w, r)
	}))
	t.Cleanup(server.Close)
	o.BaseURL = server.URL
	c, err := talk.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return talk.Doctor{
		Client: c, ConfigFile: "config.toml", SaveCAAs: "ca.pem", Address: "https://perch.example.com/nextcloud-talk",
		Lookup: net.DefaultResolver.LookupHost, Now: time.Now,
	}, &asked
}

// What a server was recorded to answer to the one signed attempt.
func TestBotSecretAsRecorded(t *testing.T) {
	for name, want := range map[string]struct {
		status bridge.Status
		seen   string
	}{
		"bot_reaction_unknown_message": {bridge.StatusOK, "took our signature in Kitchen"},
		"bot_message_wrong_secret":     {bridge.StatusFail, "refused our signature in Kitchen (401)"},
		"bot_message_throttled":        {bridge.StatusFail, "right signatures too (429)"},
		"bot_message_maintenance":      {bridge.StatusFail, "maintenance"},
	} {
		d, asked := examined(t, talk.Options{Secret: bridge.NewSecret("secret")}, func(w http.ResponseWriter, _ *http.Request) {
			recorded(t, name).answer(w)
		})
		r := d.BotSecret(t.Context(), kitchen(), talk.Capabilities{})
		if r.Status != want.status || !strings.Contains(r.Seen.String(), want.seen) || asked.Load() != 1 {
			t.Errorf("%s: %s: %s; asked %d times", name, r.Status, r.Seen, asked.Load())
		}
	}
}

// A refused signature has three causes, the likeliest first, each with its fix.
func TestBotSecretNamesThreeCauses(t *testing.T) {
	d, _ := examined(t, talk.Options{Secret: bridge.NewSecret("secret")}, func(w http.ResponseWriter, _ *http.Request) {
		recorded(t, "bot_message_wrong_secret").answer(w)
	})
	fix := d.BotSecret(t.Context(), kitchen(), talk.Capabilities{}).Fix.String()
	at := 0
	for _, part := range []string{
		"1. ", "occ talk:bot:setup BOT-ID knzaftd5", "2. ", "occ talk:bot:state -f webhook -f response BOT-ID 1", "3. ",
		"perch secret set webhook_secret", "perch doctor --only bot-secret --room knzaftd5", "perch retry",
	} {
		i := strings.Index(fix[at:], part)
		if i < 0 {
			t.Fatalf("%q is not where it should be in: %s", part, fix)
		}
		at += i
	}
}

// Where the server can be asked for the bot's features, it is, once the
// signature was taken, with a signature over the token.
func TestBotSecretAsksForFeatures(t *testing.T) {
	secret, token := bridge.NewSecret("secret"), kitchen().Token
	for answer, want := range map[string]struct {
		status bridge.Status
		seen   string
	}{
		`{"ocs":{"data":{"features":3}}}`: {bridge.StatusOK, "features: webhook, response"},
		`{"ocs":{"data":{"features":7}}}`: {bridge.StatusFail, "has the feature event"},
		`{"ocs":{"data":{"features":2}}}`: {bridge.StatusFail, "lacks the feature webhook"},
		`{"ocs":{"data":[]}}`:             {bridge.StatusOK, "took our signature"},
		`<html>`:                          {bridge.StatusOK, "took our signature"},
	} {
		d, _ := examined(t, talk.Options{Secret: secret}, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if !strings.HasSuffix(r.URL.Path, "/bot/ask-features") {
				recorded(t, "bot_reaction_unknown_message").answer(w)
				return
			}
			if string(body) != `{"token":"`+token+`"}` ||
				r.Header.Get("X-Nextcloud-Talk-Bot-Signature") != talk.Sign(secret, r.Header.Get("X-Nextcloud-Talk-Bot-Random"), kitchen().Token) {
				t.Errorf("asked with %s", body)
			}
			_, _ = io.WriteString(w, answer)
		})
		r := d.BotSecret(t.Context(), kitchen(), talk.Capabilities{Features: []string{"bots-v1", "bot-features-api"}})
		if r.Status != want.status || !strings.Contains(r.Seen.String(), want.seen) {
			t.Errorf("%s: %s: %s", answer, r.Status, r.Seen)
		}
	}
}

func TestFeaturesAsOccListsThem(t *testing.T) {
	for f, want := range map[talk.Features]string{0: "none", 1: "webhook", 11: "webhook, response, reaction", 15: "webhook, response, event, reaction"} {
		if f.String() != want {
			t.Errorf("%d is %q", int(f), f)
		}
	}
}

// The recorded list of an administrator is understood.
func TestBotEntryAsRecorded(t *testing.T) {
	d, _ := examined(t, talk.Options{AppToken: bridge.NewSecret("token")}, func(w http.ResponseWriter, _ *http.Request) {
		recorded(t, "admin_bots").answer(w)
	})
	d.Address = "http://127.0.0.1:8790/nextcloud-talk"
	id, r := d.BotEntry(t.Context(), bridge.Actor{ID: "admin"}, "")
	if id != 1 || r.Status != bridge.StatusOK || r.Seen.String() != "bot 1, Perch, features: webhook, response, reaction" {
		t.Errorf("bot %d, %s: %s", id, r.Status, r.Seen)
	}
	d.Address = "https://new.example.com/nextcloud-talk"
	if _, r = d.BotEntry(t.Context(), bridge.Actor{ID: "admin"}, ""); r.Status != bridge.StatusFail ||
		!strings.Contains(r.Fix.String(), "occ talk:bot:uninstall --url='http://127.0.0.1:8790/nextcloud-talk'") {
		t.Errorf("%s: %s: %s", r.Status, r.Seen, r.Fix)
	}
	d, _ = examined(t, talk.Options{AppToken: bridge.NewSecret("token")}, func(w http.ResponseWriter, _ *http.Request) {
		recorded(t, "admin_bots_as_user").answer(w)
	})
	if _, r = d.BotEntry(t.Context(), bridge.Actor{ID: "alice"}, ""); r.Status != bridge.StatusSkip {
		t.Errorf("%s: %s", r.Status, r.Seen)
	}
}

func TestRoomBotAsRecorded(t *testing.T) {
	d, _ := examined(t, talk.Options{AppToken: bridge.NewSecret("token")}, func(w http.ResponseWriter, _ *http.Request) {
		recorded(t, "room_bots").answer(w)
	})
	for id, want := range map[int]struct {
		status    bridge.Status
		seen, fix string
	}{
		0: {bridge.StatusOK, "enabled in Kitchen: Perch", ""},
		1: {bridge.StatusOK, "bot 1, Perch, is enabled in Kitchen", ""},
		2: {bridge.StatusFail, "bot 2 is not enabled in Kitchen", "occ talk:bot:setup 2 knzaftd5"},
	} {
		r := d.RoomBot(t.Context(), kitchen(), id, bridge.Actor{ID: "alice"})
		if r.Status != want.status || r.Seen.String() != want.seen || !strings.Contains(r.Fix.String(), want.fix) {
			t.Errorf("bot %d: %s: %s", id, r.Status, r.Seen)
		}
	}
}

func TestBackend(t *testing.T) {
	d, _ := examined(t, talk.Options{}, http.NotFound)
	own := clientURL(d)
	for header, want := range map[string]bridge.Status{
		"":                           bridge.StatusSkip,
		own + "/":                    bridge.StatusOK,
		own + "/index.php/":          bridge.StatusOK,
		"https://other.example.com/": bridge.StatusWarn,
		own + "/nextcloud/":          bridge.StatusWarn,
		"not an address \x1b[2J":     bridge.StatusWarn,
	} {
		if r := d.Backend(header); r.Status != want {
			t.Errorf("%q: %s: %s", header, r.Status, r.Seen)
		}
	}
}

// clientURL returns the base_url that the doctor names in a fix.
func clientURL(d talk.Doctor) string {
	_, address, _ := strings.Cut(d.Backend("https://other.example.com/").Seen.String(), "base_url is ")
	return address
}
