package ui

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
	"perch/bridge/config"
	"perch/ui/kit"
)

// saved returns settings that have something of everything.
func saved() config.Config {
	c := config.Default()
	c.Talk.BaseURL, c.Talk.AllowedUsers, c.Talk.CAFile = "https://cloud.example.com", []string{"alice", "guests/0a1b"}, "my-ca.pem"
	c.Handler.Commands = []config.Command{{Name: "wifi", Help: "how to get online", Reply: "On the fridge,\n{author}."}}
	c.Handlers = map[string]config.Handler{"house": config.DefaultHandler(config.Commands)}
	c.Rooms = map[string]config.Room{"knzaftd5": {Enabled: true, Handler: "house", AllowedUsers: []string{"bob"}}}
	c.Handler.AtOnce, c.Handler.Queue = 7, 9
	return c
}

func with(change func(c *config.Config)) config.Config {
	c := saved()
	change(&c)
	return c
}

// ofKind returns saved with another handler.
func ofKind(kind string, change func(h *config.Handler)) config.Config {
	return with(func(c *config.Config) {
		c.Handler = config.DefaultHandler(kind)
		change(&c.Handler)
	})
}

// manyConfigs returns settings of all sorts.
func manyConfigs() map[string]config.Config {
	return map[string]config.Config{
		"default":    config.Default(),
		"everything": saved(),
		"nobody":     with(func(c *config.Config) { c.Talk.AllowedUsers = nil }),
		"as user":    with(func(c *config.Config) { c.Talk.ReplyAs = config.User }),
		"quick tunnel": with(func(c *config.Config) {
			c.Tunnel = config.Tunnel{Mode: config.TunnelQuick, Hostname: "old.example.com", Protocol: "http2"}
		}),
		"named tunnel": with(func(c *config.Config) {
			c.Tunnel = config.Tunnel{Mode: config.TunnelNamed, Hostname: "bot.example.com", Protocol: "quic"}
			c.Webhook.PublicURL = "https://left.example.com"
		}),
		"proxy":          with(func(c *config.Config) { c.Webhook.PublicURL = "https://bot.example.com/perch" }),
		"same network":   with(func(c *config.Config) { c.Webhook.Listen = "192.168.1.20:8460" }),
		"every network":  with(func(c *config.Config) { c.Webhook.Listen = ":8460" }),
		"IPv6":           with(func(c *config.Config) { c.Webhook.Listen = "[::1]:9000" }),
		"no signature":   with(func(c *config.Config) { c.Webhook.RequireSignature = false }),
		"hostname alone": with(func(c *config.Config) { c.Tunnel.Hostname = "old.example.com" }),
		"explicit trigger": with(func(c *config.Config) {
			c.Handler.Trigger, c.Handler.Names = config.OnPrefix, []string{"Perch", "Birdie, the bot"}
		}),
		"program": ofKind(config.Exec, func(h *config.Handler) {
			h.Command, h.Files = []string{"/opt/my bot", `it's "x"`, "", "a\tb", `C:\bot\x`}, config.FileCopy
		}),
		"web hook": ofKind(config.HTTP, func(h *config.Handler) {
			h.URL, h.OnError, h.Silent = "http://127.0.0.1:5678/webhook/perch?x=1", "Sorry.", true
		}),
		"web hook with commands": ofKind(config.HTTP, func(h *config.Handler) {
			h.URL, h.Commands, h.Model = "http://127.0.0.1:5678", []config.Command{{Name: "a", Reply: "b"}}, "idle"
		}),
		"model": ofKind(config.LLM, func(h *config.Handler) {
			h.BaseURL, h.Model, h.SystemPrompt = "http://127.0.0.1:11434/v1", "llama3.2", "Be brief.\nBe kind."
			h.Temperature, h.History, h.MaxTokens, h.Ack = 0.7, 5, 300, "👀"
		}),
		"model by itself": ofKind(config.LLM, func(h *config.Handler) { h.BaseURL, h.Model = "http://127.0.0.1:11434/v1", "llama3.2" }),
		"cold model": ofKind(config.LLM, func(h *config.Handler) {
			h.BaseURL, h.Model, h.Temperature = "http://127.0.0.1:11434/v1", "llama3.2", 0
		}),
		"relay": ofKind(config.Relay, func(h *config.Handler) {
			h.URL, h.Timeout = "http://127.0.0.1:9000/talk", config.Duration(90*time.Second)
		}),
		"program of its own": with(func(c *config.Config) {
			c.Journal = config.Journal{Keep: config.Span(90 * time.Minute)}
			c.Window = config.Window{Language: "de", OnClose: config.CloseQuits}
		}),
	}
}

// handlerKinds returns every kind of handler.
func handlerKinds(f *form) (kinds []string) {
	for _, c := range f.setting(kindKey).Choices {
		kinds = append(kinds, c.Value)
	}
	return kinds
}

func noSecretErrors(string, bridge.Secret) error { return nil }

// formOf returns a form of c, in which every secret is stored.
func formOf(c config.Config) *form {
	f := newForm(c, nil, true, false)
	for _, s := range f.secrets {
		s.known, s.stored = true, true
	}
	return f
}

func TestFormKeepsWhatIsNotChanged(t *testing.T) {
	for name, c := range manyConfigs() {
		f := formOf(c)
		want := c
		_, _ = want.Validate() // the normal form
		r := f.check(noSecretErrors)
		if diff := cmp.Diff(want, r.config); diff != "" {
			t.Errorf("%s: (-saved +form)\n%s", name, diff)
		}
		if r.changes != 0 || r.ready() {
			t.Errorf("%s: %d changes, though nobody changed anything", name, r.changes)
		}
	}
}

// Whatever is chosen and chosen back is as it was.
func TestFormGoesBack(t *testing.T) {
	for name, c := range manyConfigs() {
		f := formOf(c)
		before := f.check(noSecretErrors)
		for _, r := range []reach{reachTunnel, reachLocal, reachProxy, reachSelf, f.saved.reach} {
			f.takeReach(r, []string{"192.168.1.20"})
		}
		for _, kind := range append(handlerKinds(f), f.base.Handler.Kind) {
			f.takeKind(kind)
		}
		for _, trigger := range []config.Trigger{config.OnAll, config.OnPrefix, config.OnMention, f.base.Handler.Asked()} {
			f.takeTrigger(trigger)
		}
		after := f.check(noSecretErrors)
		before.config.Handler.Trigger, after.config.Handler.Trigger = "", ""
		if diff := cmp.Diff(before.config, after.config); diff != "" {
			t.Errorf("%s: (-before +after)\n%s", name, diff)
		}
	}
}

func TestFormTakesEveryValue(t *testing.T) {
	model := ofKind(config.LLM, func(h *config.Handler) { h.BaseURL, h.Model = "http://127.0.0.1:11434/v1", "llama3.2" })
	for name, tt := range map[string]struct {
		base   config.Config
		change func(f *form)
		want   func(c *config.Config)
	}{
		"server":     {saved(), func(f *form) { f.set(serverKey, " https://other.example.com/index.php/ ") }, func(c *config.Config) { c.Talk.BaseURL = "https://other.example.com" }},
		"users":      {saved(), func(f *form) { f.set(usersKey, "bob,, users/carol ,bob") }, func(c *config.Config) { c.Talk.AllowedUsers = []string{"bob", "carol"} }},
		"nobody":     {saved(), func(f *form) { f.set(usersKey, " ") }, func(c *config.Config) { c.Talk.AllowedUsers = nil }},
		"reply as":   {saved(), func(f *form) { f.set("channels_config.nextcloud_talk.reply_as", string(config.User)) }, func(c *config.Config) { c.Talk.ReplyAs = config.User }},
		"path":       {saved(), func(f *form) { f.set("webhook.path", "/bot") }, func(c *config.Config) { c.Webhook.Path = "/bot" }},
		"listen":     {saved(), func(f *form) { f.set(listenKey, "127.0.0.1:1234") }, func(c *config.Config) { c.Webhook.Listen = "127.0.0.1:1234" }},
		"commands":   {saved(), func(f *form) { f.values.commands = nil }, func(c *config.Config) { c.Handler.Commands = nil }},
		"prefix":     {saved(), func(f *form) { f.set(prefixKey, "?") }, func(c *config.Config) { c.Handler.Prefix = "?" }},
		"names":      {saved(), func(f *form) { f.set(namesKey, "Perch,@Birdie") }, func(c *config.Config) { c.Handler.Names = []string{"Perch", "Birdie"} }},
		"trigger":    {saved(), func(f *form) { f.takeTrigger(config.OnMention) }, func(c *config.Config) { c.Handler.Trigger = config.OnMention }},
		"quote":      {saved(), func(f *form) { f.set("handler.quote", "false") }, func(c *config.Config) { c.Handler.Quote = false }},
		"silent":     {saved(), func(f *form) { f.set("handler.silent", "true") }, func(c *config.Config) { c.Handler.Silent = true }},
		"ack":        {saved(), func(f *form) { f.set("handler.ack", "⏳") }, func(c *config.Config) { c.Handler.Ack = "⏳" }},
		"on error":   {saved(), func(f *form) { f.set("handler.on_error", "Sorry.") }, func(c *config.Config) { c.Handler.OnError = "Sorry." }},
		"timeout":    {saved(), func(f *form) { f.set("handler.timeout", "1m 30s") }, func(c *config.Config) { c.Handler.Timeout = config.Duration(90 * time.Second) }},
		"keep":       {saved(), func(f *form) { f.set("journal.keep", "12h") }, func(c *config.Config) { c.Journal.Keep = config.Span(12 * time.Hour) }},
		"store text": {saved(), func(f *form) { f.set("journal.store_text", "false") }, func(c *config.Config) { c.Journal.StoreText = false }},
		"programs": {saved(), func(f *form) {
			f.set("notify.listen", "127.0.0.1:8461")
			f.secrets[bridge.NotifyToken].typed = "x"
		}, func(c *config.Config) { c.Notify.Listen = "127.0.0.1:8461" }},
		"language":      {saved(), func(f *form) { f.set("window.language", "fr") }, func(c *config.Config) { c.Window.Language = "fr" }},
		"on close":      {saved(), func(f *form) { f.set("window.on_close", config.CloseQuits) }, func(c *config.Config) { c.Window.OnClose = config.CloseQuits }},
		"model":         {model, func(f *form) { f.set(modelKey, "qwen3") }, func(c *config.Config) { c.Handler.Model = "qwen3" }},
		"model server":  {model, func(f *form) { f.set(modelHostKey, "http://10.0.0.2:8080/v1/") }, func(c *config.Config) { c.Handler.BaseURL = "http://10.0.0.2:8080/v1" }},
		"system prompt": {model, func(f *form) { f.set("handler.system_prompt", "a\nb") }, func(c *config.Config) { c.Handler.SystemPrompt = "a\nb" }},
		"temperature":   {model, func(f *form) { f.set("handler.temperature", "0,5") }, func(c *config.Config) { c.Handler.Temperature = 0.5 }},
		"history":       {model, func(f *form) { f.set("handler.history", " 3 ") }, func(c *config.Config) { c.Handler.History = 3 }},
		"tokens":        {model, func(f *form) { f.set("handler.max_tokens", "100") }, func(c *config.Config) { c.Handler.MaxTokens = 100 }},
		"files":         {model, func(f *form) { f.set("handler.attachments", string(config.FileCopy)) }, func(c *config.Config) { c.Handler.Files = config.FileCopy }},
		"program": {saved(), func(f *form) {
			f.takeKind(config.Exec)
			f.set(commandKey, `python3 "/home/alice/my bot.py"`)
		}, func(c *config.Config) {
			c.Handler = config.DefaultHandler(config.Exec)
			c.Handler.Command, c.Handler.AtOnce, c.Handler.Queue = []string{"python3", "/home/alice/my bot.py"}, 7, 9
		}},
		"language model": {with(func(c *config.Config) { c.Handler.AtOnce = 4 }), func(f *form) {
			f.takeKind(config.LLM)
			f.set(modelHostKey, "http://127.0.0.1:11434/v1")
			f.set(modelKey, "llama3.2")
		}, func(c *config.Config) {
			c.Handler = config.DefaultHandler(config.LLM) // with its own time limit, one at a time
			c.Handler.BaseURL, c.Handler.Model, c.Handler.Queue = "http://127.0.0.1:11434/v1", "llama3.2", 9
		}},
		"relay": {saved(), func(f *form) {
			f.takeKind(config.Relay)
			f.set("handler.url", "http://127.0.0.1:9000/talk")
		}, func(c *config.Config) {
			c.Handler = config.DefaultHandler(config.Relay)
			c.Handler.URL, c.Handler.AtOnce, c.Handler.Queue = "http://127.0.0.1:9000/talk", 7, 9
		}},
		"quick tunnel": {saved(), func(f *form) { f.takeReach(reachTunnel, nil) }, func(c *config.Config) { c.Tunnel.Mode = config.TunnelQuick }},
		"named tunnel": {saved(), func(f *form) {
			f.takeReach(reachTunnel, nil)
			f.set(tunnelKey, string(config.TunnelNamed))
			f.set(hostnameKey, "https://Bot.example.com/")
			f.set(protocolKey, "http2")
		}, func(c *config.Config) {
			c.Tunnel = config.Tunnel{Mode: config.TunnelNamed, Hostname: "bot.example.com", Protocol: "http2"}
		}},
		"same network": {saved(), func(f *form) { f.takeReach(reachLocal, []string{"192.168.1.20", "10.0.0.3"}) }, func(c *config.Config) {
			c.Webhook.Listen = "192.168.1.20:8460"
		}},
		"proxy": {saved(), func(f *form) {
			f.takeReach(reachProxy, nil)
			f.set(publicKey, "https://bot.example.com")
		}, func(c *config.Config) { c.Webhook.PublicURL = "https://bot.example.com" }},
		"from the network to a tunnel": {
			with(func(c *config.Config) { c.Webhook.Listen = "192.168.1.20:9999" }), func(f *form) { f.takeReach(reachTunnel, nil) },
			func(c *config.Config) { c.Webhook.Listen, c.Tunnel.Mode = "127.0.0.1:9999", config.TunnelQuick },
		},
		"from a proxy to this computer": {
			with(func(c *config.Config) { c.Webhook.PublicURL = "https://bot.example.com" }), func(f *form) { f.takeReach(reachSelf, nil) },
			func(c *config.Config) { c.Webhook.PublicURL = "" },
		},
		"from a named tunnel to a quick one": {
			with(func(c *config.Config) {
				c.Tunnel = config.Tunnel{Mode: config.TunnelNamed, Hostname: "bot.example.com", Protocol: "auto"}
			}), func(f *form) { f.set(tunnelKey, string(config.TunnelQuick)) },
			func(c *config.Config) { c.Tunnel.Mode, c.Tunnel.Hostname = config.TunnelQuick, "" },
		},
	} {
		f := formOf(tt.base)
		tt.change(f)
		want := tt.base
		tt.want(&want)
		_, _ = want.Validate()
		r := f.check(noSecretErrors)
		if diff := cmp.Diff(want, r.config); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
		if !r.ready() {
			t.Errorf("%s: %d changes, but not ready: %v", name, r.changes, r.errors)
		}
	}
}

func TestFormErrors(t *testing.T) {
	model := func(f *form) {
		f.takeKind(config.LLM)
		f.set(modelHostKey, "http://127.0.0.1:11434/v1")
		f.set(modelKey, "llama3.2")
	}
	for name, tt := range map[string]struct {
		change func(f *form)
		key    string
		says   string
	}{
		"no server":    {func(f *form) { f.set(serverKey, "") }, serverKey, "is required, such as https://cloud.example.com"},
		"no address":   {func(f *form) { f.set(serverKey, "cloud") }, serverKey, "must be an http or https address, such as https://cloud.example.com"},
		"no user id":   {func(f *form) { f.set(usersKey, "alice, guests/") }, usersKey, `must be user ids, "guests/<id>" or "*"; "guests/" is none`},
		"listen":       {func(f *form) { f.set(listenKey, "8460") }, "webhook.listen", "must be host:port with a port up to 65535, such as 127.0.0.1:8460"},
		"path":         {func(f *form) { f.set("webhook.path", "talk") }, "webhook.path", "must begin with a slash"},
		"no proxy":     {func(f *form) { f.takeReach(reachProxy, nil) }, "webhook.public_url", "is required, such as https://bot.example.com"},
		"wrong proxy":  {func(f *form) { f.takeReach(reachProxy, nil); f.set(publicKey, "bot") }, "webhook.public_url", "must be an http or https address"},
		"no network":   {func(f *form) { f.takeReach(reachLocal, nil) }, "webhook.listen", "must be an address of this computer in your network"},
		"no host name": {func(f *form) { f.takeReach(reachTunnel, nil); f.set(tunnelKey, string(config.TunnelNamed)) }, "tunnel.hostname", "is required, such as bot.example.com"},
		"wrong host name": {func(f *form) {
			f.takeReach(reachTunnel, nil)
			f.set(tunnelKey, string(config.TunnelNamed))
			f.set(hostnameKey, "bot")
		}, "tunnel.hostname", "must be a host name alone, such as bot.example.com"},
		"no program":         {func(f *form) { f.takeKind(config.Exec) }, "handler.command", "is required, such as python3 /home/alice/bot.py"},
		"open quote":         {func(f *form) { f.takeKind(config.Exec); f.set(commandKey, `bot "a`) }, "handler.command", "has a quote that does not end"},
		"quoted line":        {func(f *form) { f.takeKind(config.Exec); f.set(commandKey, `"python3 bot.py"`) }, "handler.command", "is a single word as it is in quotes: leave them out"},
		"home":               {func(f *form) { f.takeKind(config.Exec); f.set(commandKey, "~/bot.py") }, "handler.command", "there is no shell that fills in ~"},
		"no address of hook": {func(f *form) { f.takeKind(config.HTTP) }, "handler.url", "is required"},
		"no address of bot":  {func(f *form) { f.takeKind(config.Relay); f.set("handler.url", "x") }, "handler.url", "must be an http or https address"},
		"no model server":    {func(f *form) { f.takeKind(config.LLM) }, "handler.base_url", "is required"},
		"no model":           {func(f *form) { model(f); f.set(modelKey, " ") }, "handler.model", "is required"},
		"temperature":        {func(f *form) { model(f); f.set("handler.temperature", "warm") }, "handler.temperature", "must be a number"},
		"too hot":            {func(f *form) { model(f); f.set("handler.temperature", "2.1") }, "handler.temperature", "must be from 0 to 2"},
		"history":            {func(f *form) { model(f); f.set("handler.history", "") }, "handler.history", "must be a whole number"},
		"long history":       {func(f *form) { model(f); f.set("handler.history", "1001") }, "handler.history", "must be a whole number from 0 to 1000"},
		"tokens":             {func(f *form) { model(f); f.set("handler.max_tokens", "many") }, "handler.max_tokens", "must be a whole number"},
		"command without":    {func(f *form) { f.values.commands = []config.Command{{Name: "x"}} }, "handler.command[1].reply", "is required"},
		"command's name":     {func(f *form) { f.values.commands = append(f.values.commands, config.Command{Name: "a b", Reply: "c"}) }, "handler.command[2].name", "must have 1 to 32 letters"},
		"no prefix":          {func(f *form) { f.set(prefixKey, "") }, "handler.prefix", "is required, such as !"},
		"no names":           {func(f *form) { f.takeTrigger(config.OnMention); f.set(namesKey, "") }, "handler.names", "is required, such as Perch"},
		"ack":                {func(f *form) { f.set("handler.ack", "ok") }, "handler.ack", "must be a single emoji, such as 👀"},
		"timeout":            {func(f *form) { f.set("handler.timeout", "soon") }, "handler.timeout", "must be a length of time from 100ms to 24h, such as 30s"},
		"keep":               {func(f *form) { f.set("journal.keep", "30") }, "journal.keep", "must be a whole number of days, hours or minutes"},
		"language":           {func(f *form) { f.set("window.language", "tlh") }, "window.language", "must be one of"},
		"short secret":       {func(f *form) { f.secrets[bridge.WebhookSecret].typed = "short" }, bridge.WebhookSecret, "too short"},
		"user without token": {func(f *form) {
			f.set("channels_config.nextcloud_talk.reply_as", string(config.User))
			f.secrets[bridge.AppToken].remove = true
		}, bridge.AppToken, "is required to reply as you"},
		"programs without token": {func(f *form) {
			f.set("notify.listen", "127.0.0.1:8461")
			f.secrets[bridge.NotifyToken].stored = false
		}, bridge.NotifyToken, "is required for other programs to post"},
		"programs at no address": {func(f *form) { f.set("notify.listen", "here") }, "notify.listen", "must be host:port with a port up to 65535, such as 127.0.0.1:8461"},
		"tunnel without token": {func(f *form) {
			f.takeReach(reachTunnel, nil)
			f.set(tunnelKey, string(config.TunnelNamed))
			f.set(hostnameKey, "bot.example.com")
			f.secrets[bridge.TunnelToken].stored = false
		}, bridge.TunnelToken, "is required: the line with the token"},
	} {
		f := formOf(saved())
		tt.change(f)
		r := f.check(func(string, bridge.Secret) error { return errors.New("too short") })
		if got := r.errors[tt.key].String(); !strings.HasPrefix(got, tt.says) {
			t.Errorf("%s: %s %q; want %q. All: %v", name, tt.key, got, tt.says, r.errors)
		}
		if r.ready() {
			t.Errorf("%s: can be saved", name)
		}
		want := 1
		if name == "no model server" {
			want = 2 // the model is missing, too
		}
		if len(r.errors) != want {
			t.Errorf("%s: %d fields are wrong: %v", name, len(r.errors), r.errors)
		}
	}
}

// What cannot be known to be wrong does not hold up the rest.
func TestFormSecretsThatAreNotKnown(t *testing.T) {
	f := newForm(with(func(c *config.Config) { c.Talk.ReplyAs = config.User }), nil, true, false)
	f.set(serverKey, "https://other.example.com")
	if r := f.check(noSecretErrors); !r.ready() {
		t.Errorf("before the keychain has answered: %v", r.errors)
	}
	f.secrets[bridge.AppToken] = &secretValue{known: true, err: errors.New("locked")}
	if r := f.check(noSecretErrors); !r.ready() {
		t.Errorf("with a locked keychain: %v", r.errors)
	}
	f.secrets[bridge.AppToken] = &secretValue{known: true}
	if r := f.check(noSecretErrors); r.ready() {
		t.Error("ready without the app token")
	}
	f.secrets[bridge.AppToken].typed = "app-token"
	if r := f.check(noSecretErrors); !r.ready() || r.changes != 2 {
		t.Errorf("%d changes, %v", r.changes, r.errors)
	}
}

func TestFormRevert(t *testing.T) {
	f := formOf(saved())
	f.set(serverKey, "x")
	f.takeKind(config.LLM)
	f.values.login = true
	f.secrets[bridge.AppToken].typed, f.secrets[bridge.TunnelToken].remove = "y", true
	if r := f.check(noSecretErrors); r.changes != 5 {
		t.Errorf("%d changes, want 5", r.changes)
	}
	f.revert()
	if r := f.check(noSecretErrors); r.changes != 0 || len(r.errors) > 0 {
		t.Errorf("after Revert: %d changes, %v", r.changes, r.errors)
	}
}

// What was changed elsewhere is taken over, but for what a person has changed
// in the form.
func TestFormFollowsTheFile(t *testing.T) {
	f := formOf(saved())
	f.set(serverKey, "https://mine.example.com")
	f.rebase(with(func(c *config.Config) {
		c.Talk.BaseURL, c.Talk.AllowedUsers = "https://theirs.example.com", []string{"carol"}
		c.Rooms, c.Handlers = nil, nil
	}), nil, true, true)
	want := with(func(c *config.Config) {
		c.Talk.BaseURL, c.Talk.AllowedUsers = "https://mine.example.com", []string{"carol"}
		c.Rooms, c.Handlers = nil, nil
	})
	r := f.check(noSecretErrors)
	if diff := cmp.Diff(want, r.config); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if r.changes != 1 || !f.values.login {
		t.Errorf("%d changes, login %t", r.changes, f.values.login)
	}
}

// What Perch could not take of the file is told apart from what is to be seen
// in a field.
func TestFormKnowsWhatIsLost(t *testing.T) {
	unknown := config.Problem{File: "config.toml", Line: 3, Key: "webhok", Text: bridge.Say("unknown key")}
	c := config.Default() // lacks the server and has nobody allowed
	warnings, err := c.Validate()
	problems := slices.Concat([]config.Problem{unknown}, problemsOf(err), warnings)
	f := newForm(c, problems, true, false)
	if diff := cmp.Diff([]config.Problem{unknown}, f.lost); diff != "" {
		t.Error(diff)
	}
	f.set(serverKey, "https://cloud.example.com")
	if r := f.check(noSecretErrors); !r.ready() {
		t.Error("cannot be written anew")
	}
}

func TestFormForgets(t *testing.T) {
	f := formOf(saved())
	if got := f.forgets(); got != "" {
		t.Errorf("forgets %q", got)
	}
	if f.takeKind(config.LLM); f.forgets() != config.Commands {
		t.Error("says nothing of the commands that go")
	}
	f = formOf(config.Default())
	if f.takeKind(config.LLM); f.forgets() != "" {
		t.Error("something goes where nothing was")
	}
}

func TestFormFollowsTypedAddress(t *testing.T) {
	f := formOf(saved())
	for _, step := range []struct {
		listen string
		want   reach
	}{{"192.168.1.20:8460", reachLocal}, {"192.168.1.:8460", reachLocal}, {"127.0.0.1:8460", reachSelf}, {"127.0.0:8460", reachSelf}, {"localhost:1", reachSelf}} {
		f.set(listenKey, step.listen)
		if f.followListen(); f.values.reach != step.want {
			t.Errorf("%s: %d, want %d", step.listen, f.values.reach, step.want)
		}
	}
}

func TestAddressOfForm(t *testing.T) {
	const now = "https://now.example.com/nextcloud-talk"
	for name, tt := range map[string]struct {
		change  func(f *form)
		address string
		moved   bool
	}{
		"as it is":      {func(f *form) {}, now, false},
		"another path":  {func(f *form) { f.set("webhook.path", "/x") }, "http://127.0.0.1:8460/x", true},
		"quick tunnel":  {func(f *form) { f.takeReach(reachTunnel, nil) }, "", true},
		"every network": {func(f *form) { f.set(listenKey, "0.0.0.0:8460"); f.followListen() }, "", true},
		"network":       {func(f *form) { f.takeReach(reachLocal, []string{"10.0.0.3"}) }, "http://10.0.0.3:8460/nextcloud-talk", true},
		"named tunnel": {func(f *form) {
			f.takeReach(reachTunnel, nil)
			f.set(tunnelKey, string(config.TunnelNamed))
			f.set(hostnameKey, "now.example.com")
		}, now, false},
		"proxy": {func(f *form) {
			f.takeReach(reachProxy, nil)
			f.set(publicKey, "https://bot.example.com")
		}, "https://bot.example.com/nextcloud-talk", true},
		"something else": {func(f *form) { f.set(usersKey, "carol") }, now, false},
	} {
		f := formOf(saved())
		tt.change(f)
		address, moved := f.address(f.check(noSecretErrors).config, now)
		if address != tt.address || moved != tt.moved {
			t.Errorf("%s: %q, moved %t", name, address, moved)
		}
	}
}

func TestInstallWords(t *testing.T) {
	const was, is = "https://was.example.com", "https://is.example.com"
	for name, tt := range map[string]struct {
		installed, address string
		moved, renewed     bool
		says               string
		tone               kit.Tone
	}{
		"never installed":   {"", is, false, false, "Type this on the server. BOT-ID", kit.Neutral},
		"as installed":      {is, is, false, false, "Talk has the bot at https://is.example.com.", kit.Neutral},
		"will move":         {was, is, true, false, "When you apply, the bot moves to https://is.example.com. Talk knows it at https://was.example.com", kit.Warn},
		"will move to ?":    {was, "", true, false, "When you apply, the bot gets another address. Talk knows it at https://was.example.com", kit.Warn},
		"will move back":    {is, is, true, false, "Talk has the bot at", kit.Neutral},
		"has moved":         {was, is, false, false, "Talk sends messages to https://was.example.com, but the bot is at https://is.example.com now.", kit.Warn},
		"another secret":    {is, is, false, true, "Talk knows the bot by its old secret.", kit.Warn},
		"address not known": {was, "", false, false, "Talk has the bot at", kit.Neutral},
	} {
		words, got := installWords(tt.installed, tt.address, tt.moved, tt.renewed)
		if !strings.HasPrefix(words.String(), tt.says) || got != tt.tone {
			t.Errorf("%s: %q, %d", name, words, got)
		}
	}
}

func TestUninstallBeforeInstall(t *testing.T) {
	const install = "sudo nextcloud.occ talk:bot:install -f webhook -- 'Perch' 's3 cret' 'https://bot.example.com/x'\nsudo nextcloud.occ talk:bot:list"
	const want = "sudo nextcloud.occ talk:bot:uninstall --url='https://bot.example.com/x'\n" + install
	if got := withUninstall(install); got != want {
		t.Errorf("%s", got)
	}
	if got := withUninstall(want); got != want {
		t.Errorf("twice: %s", got)
	}
	if got := withUninstall("occ talk:bot:list"); got != "occ talk:bot:list" {
		t.Errorf("without an installation: %s", got)
	}
}

// Whatever is done to it, the form has no settings that it says are right and
// Validate does not, and loses nothing that it does not show.
func TestFormAtRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	texts := []string{"", " ", "x", "https://a.example.com", "127.0.0.1:1", "10.0.0.3:8460", "bot --x 'y z'", "5", "0.5", "30d", "2m", "bot.example.com", "/p", "alice, bob", "👀"}
	configs := manyConfigs()
	for _, name := range slices.Sorted(maps.Keys(configs)) {
		for range 12 {
			f := formOf(configs[name])
			fields := slices.DeleteFunc(slices.Clone(f.keys), func(k config.Key) bool { return k.Bool || len(k.Choices) > 0 || k.Label.IsZero() })
			for range 1 + random.IntN(6) {
				text := texts[random.IntN(len(texts))]
				f.set(fields[random.IntN(len(fields))].Name, text)
				switch random.IntN(4) {
				case 0:
					f.takeReach(reach(random.IntN(4)), []string{"192.168.1.20"})
				case 1:
					f.takeKind(handlerKinds(f)[random.IntN(5)])
				}
			}
			r := f.check(noSecretErrors)
			c := r.config
			if _, err := c.Validate(); err != nil && len(r.errors) == 0 {
				t.Fatalf("%s: %+v: %v", name, f.values, err)
			}
			if diff := cmp.Diff([]any{f.base.Rooms, f.base.Handlers, f.base.Talk.CAFile}, []any{c.Rooms, c.Handlers, c.Talk.CAFile}); diff != "" {
				t.Fatalf("%s: %+v:\n%s", name, f.values, diff)
			}
			if len(r.errors) == 0 {
				again := formOf(c)
				if next := again.check(noSecretErrors); next.changes != 0 || !cmp.Equal(next.config, c) {
					t.Fatalf("%s: what was saved is not what is shown:\n%s", name, cmp.Diff(c, next.config))
				}
			}
		}
	}
}
