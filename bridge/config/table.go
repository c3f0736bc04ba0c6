package config

import (
	"time"

	"perch/bridge"
)

// Tables and keys of config.toml that more than one place knows.
const (
	talkTable     = "channels_config.nextcloud_talk" // as PRX and ZeroClaw have it
	handlerTable  = "handler"
	handlersTable = "handlers"
	roomsTable    = "rooms"

	KeyServer       = talkTable + ".base_url"
	KeyAllowedUsers = talkTable + ".allowed_users"
	KeyVoiceServer  = "voice.base_url"
	caFile          = talkTable + ".ca_file"
)

// configRows returns the keys outside of handlers and rooms, in the order of a
// written file.
func configRows() []row[Config] {
	return []row[Config]{
		{
			Key: Key{Name: "version", Help: bridge.Say("The format of this file; Perch writes it.")},
			at:  func(c *Config) any { return &c.Version }, normal: len(migrations()) + 1,
		},

		{
			Key: Key{
				Name: KeyServer, Required: true, Label: bridge.Say("Server address"), Example: "https://cloud.example.com",
				Help: bridge.Say("The address of your Nextcloud, as in the browser."),
			},
			at: func(c *Config) any { return &c.Talk.BaseURL }, check: checkBaseURL,
		},
		{
			Key: Key{
				Name: KeyAllowedUsers, Label: bridge.Say("Allowed users"), Example: "alice, bob",
				Help: bridge.Say("Who is answered: user ids, guests/<id> for a guest, * for everybody. Empty: nobody."),
			},
			at: func(c *Config) any { return &c.Talk.AllowedUsers }, check: checkAllowedUsers,
		},
		{
			Key: Key{
				Name: talkTable + ".reply_as", Label: bridge.Say("Replies are by"),
				Help: bridge.Say("In whose name Perch writes."),
				Choices: []Choice{
					{string(Bot), bridge.Say("the bot"), bridge.Text{}},
					{string(User), bridge.Say("you, with the app token"), bridge.Text{}},
				},
			},
			at: func(c *Config) any { return &c.Talk.ReplyAs }, normal: Bot,
		},
		{
			Key: Key{Name: caFile, Help: bridge.Say("PEM file of a private CA or a self-signed certificate. A relative path starts in the folder of config.toml.")},
			at:  func(c *Config) any { return &c.Talk.CAFile }, check: checkCAFile,
		},
		{
			Key: Key{
				Name: talkTable + ".receive", Label: bridge.Say("Messages come"),
				Help: bridge.Say("How messages get here. With an account, Perch logs in with the app token and needs neither an administrator nor a port."),
				Choices: []Choice{
					{string(ByWebhook), bridge.Say("as a bot of the server"), bridge.Say("needs an administrator")},
					{string(ByAccount), bridge.Say("with an account"), bridge.Say("needs no administrator")},
				},
			},
			at: func(c *Config) any { return &c.Talk.Receive }, normal: ByWebhook,
		},
		{
			Key: Key{
				Name: talkTable + ".mark_read",
				Help: bridge.Say("With an account: mark what was received as read, for everybody to see."),
			},
			at: func(c *Config) any { return &c.Talk.MarkRead },
		},

		{
			Key: Key{
				Name: "webhook.listen", Label: bridge.Say("Perch listens at"), Example: "127.0.0.1:8460",
				Help: bridge.Say("Where Perch listens, as host:port. 127.0.0.1 is this computer alone."),
			},
			at: func(c *Config) any { return &c.Webhook.Listen }, normal: "127.0.0.1:8460", check: checkListen,
		},
		{
			Key: Key{
				Name: "webhook.path", Label: bridge.Say("Path"), Example: "/nextcloud-talk",
				Help: bridge.Say("What Talk posts to, at the end of the bot's address."),
			},
			at: func(c *Config) any { return &c.Webhook.Path }, normal: "/nextcloud-talk", check: checkPath,
		},
		{
			Key: Key{
				Name: "webhook.require_signature",
				Help: bridge.Say("Turn this off only for an old server with a custom webhook: then anybody can send messages."),
			},
			at: func(c *Config) any { return &c.Webhook.RequireSignature }, normal: true, check: checkSignature,
		},
		{
			Key: Key{
				Name: "webhook.public_url", Label: bridge.Say("Public address"), Example: "https://bot.example.com",
				Help: bridge.Say("Where Nextcloud reaches Perch through your own proxy. Empty: directly, or through the tunnel."),
			},
			at: func(c *Config) any { return &c.Webhook.PublicURL }, check: checkPublicURL,
		},
		{
			Key: Key{
				Name: "webhook.trusted_proxies", Example: "127.0.0.1, 10.0.0.0/8",
				Help: bridge.Say("Addresses or networks of your own proxies. For whom they forward is read from X-Forwarded-For, so that a stranger's wrong signatures are not held against everybody."),
			},
			at: func(c *Config) any { return &c.Webhook.TrustedProxies }, check: checkProxies,
		},

		{
			Key: Key{
				Name: "tunnel.mode", Help: bridge.Say("The way in through Cloudflare."),
				Choices: []Choice{
					{string(TunnelOff), bridge.Say("No tunnel"), bridge.Text{}},
					{string(TunnelQuick), bridge.Say("Quick tunnel"), bridge.Say("for trying, without an account")},
					{string(TunnelNamed), bridge.Say("Named tunnel"), bridge.Say("permanent, with your Cloudflare account")},
				},
			},
			at: func(c *Config) any { return &c.Tunnel.Mode }, normal: TunnelOff,
		},
		{
			Key: Key{
				Name: "tunnel.hostname", Label: bridge.Say("Host name"), Example: "bot.example.com",
				Help: bridge.Say("The public host name of the named tunnel, as the Cloudflare dashboard has it."),
			},
			at: func(c *Config) any { return &c.Tunnel.Hostname }, check: checkHostname,
		},
		{
			Key: Key{
				Name: "tunnel.protocol", Label: bridge.Say("Protocol"), Help: bridge.Say("How the tunnel talks to Cloudflare."),
				Choices: []Choice{
					{"auto", bridge.Say("QUIC, else HTTP/2"), bridge.Text{}},
					{"quic", bridge.Say("QUIC (UDP)"), bridge.Text{}},
					{"http2", bridge.Say("HTTP/2 (TCP)"), bridge.Text{}},
				},
			},
			at: func(c *Config) any { return &c.Tunnel.Protocol }, normal: "auto",
		},

		{
			Key: Key{
				Name: "notify.listen", Label: bridge.Say("Other programs post at"), Example: "127.0.0.1:8461",
				Help: bridge.Say("Where other programs post messages into conversations, as host:port, with the secret notify_token. Empty: nowhere."),
			},
			at: func(c *Config) any { return &c.Notify.Listen }, check: checkNotify,
		},

		{
			Key: Key{
				Name: KeyVoiceServer, Label: bridge.Say("Speech server"), Example: "http://127.0.0.1:8080/v1",
				Help: bridge.Say("The address of a server that turns speech into text as OpenAI does, with /v1 at the end. Then voice messages are heard, with the app token. Empty: they are files like others."),
			},
			at: func(c *Config) any { return &c.Voice.BaseURL }, check: checkSpeechServer,
		},
		{
			Key: Key{
				Name: "voice.model", Label: bridge.Say("Speech model"), Example: "whisper-1",
				Help: bridge.Say("The name of the model, as the server has it. Some servers have one and take any name."),
			},
			at: func(c *Config) any { return &c.Voice.Model }, normal: "whisper-1", check: checkSpeechModel,
		},
		{
			Key: Key{
				Name: "voice.language", Label: bridge.Say("Spoken language"), Example: "de",
				Help: bridge.Say("The language that people speak, in two letters, such as de. Empty: the server finds out."),
			},
			at: func(c *Config) any { return &c.Voice.Language }, check: checkSpeechLanguage,
		},

		{
			Key: Key{
				Name: "limits.user_messages", Label: bridge.Say("Messages of a person"), Least: 0, Most: 10_000, Unset: bridge.Say("no limit"),
				Help: bridge.Say("How many messages of one person are answered within an hour. 0: any number."),
			},
			at: func(c *Config) any { return &c.Limits.UserMessages },
		},
		{
			Key: Key{
				Name: "limits.room_messages", Label: bridge.Say("Messages in a conversation"), Least: 0, Most: 10_000, Unset: bridge.Say("no limit"),
				Help: bridge.Say("How many messages are answered in one conversation within an hour. 0: any number."),
			},
			at: func(c *Config) any { return &c.Limits.RoomMessages },
		},
		{
			Key: Key{
				Name: "limits.user_tokens", Label: bridge.Say("Tokens for a person"), Least: 0, Most: 1_000_000_000, Unset: bridge.Say("no limit"),
				Help: bridge.Say("How many tokens language models may use for one person in a day: what they read and write, about four letters each. 0: any number."),
			},
			at: func(c *Config) any { return &c.Limits.UserTokens },
		},
		{
			Key: Key{
				Name: "limits.room_tokens", Label: bridge.Say("Tokens in a conversation"), Least: 0, Most: 1_000_000_000, Unset: bridge.Say("no limit"),
				Help: bridge.Say("How many tokens language models may use in one conversation in a day. 0: any number."),
			},
			at: func(c *Config) any { return &c.Limits.RoomTokens },
		},

		{
			Key: Key{
				Name: "journal.keep", Label: bridge.Say("The log keeps"), Example: "30d",
				Help: bridge.Say("How long messages and events are kept, such as 30d, 12h or 90m. From 1h to 3650d."),
			},
			at: func(c *Config) any { return &c.Journal.Keep }, normal: 30 * day, check: checkKeep,
		},
		{
			Key: Key{Name: "journal.store_text", Label: bridge.Say("Texts"), Help: bridge.Say("Keep the text of messages that are answered.")},
			at:  func(c *Config) any { return &c.Journal.StoreText }, normal: true,
		},
		{
			Key: Key{
				Name: "journal.catch_up", Help: bridge.Say("What was missed is answered if it is not older than this, such as 1h or 30m. Up to 24h."),
			},
			at: func(c *Config) any { return &c.Journal.CatchUp }, normal: Duration(time.Hour),
		},

		{
			Key: Key{
				Name: "window.language", Label: bridge.Say("Language"), Help: bridge.Say("The language of the window, from the next start on."),
				Choices: []Choice{
					{"", bridge.Say("As the system"), bridge.Text{}},
					{"en", bridge.Say("%s", "English"), bridge.Text{}},
					{"fr", bridge.Say("%s", "Français"), bridge.Text{}},
					{"de", bridge.Say("%s", "Deutsch"), bridge.Text{}},
				},
			},
			at: func(c *Config) any { return &c.Window.Language },
		},
		{
			Key: Key{
				Name: "window.on_close", Label: bridge.Say("Closing the window"), Help: bridge.Say("What closing the window does."),
				Choices: []Choice{
					{CloseHides, bridge.Say("keeps Perch running in the tray"), bridge.Text{}},
					{CloseQuits, bridge.Say("quits Perch"), bridge.Text{}},
				},
			},
			at: func(c *Config) any { return &c.Window.OnClose }, normal: CloseHides,
		},
	}
}

// handlerRows returns the keys of [handler] and [handlers.<name>].
func handlerRows() []row[Handler] {
	return []row[Handler]{
		{
			Key: Key{
				Name: "kind", Help: bridge.Say("What answers messages."),
				Choices: []Choice{
					{Commands, bridge.Say("Commands"), bridge.Say("built in and yours")},
					{Exec, bridge.Say("Program"), bridge.Say("in any language")},
					{HTTP, bridge.Say("Web hook"), bridge.Say("n8n, Node-RED, …")},
					{LLM, bridge.Say("Language model"), bridge.Say("Ollama, OpenAI, …")},
					{Relay, bridge.Say("Other bot"), bridge.Say("on this network")},
				},
			},
			at: func(h *Handler) any { return &h.Kind }, normal: Commands,
		},
		{
			Key: Key{
				Name: "url", Required: true, Label: bridge.Say("Address"), Example: "http://127.0.0.1:5678/webhook/perch",
				Help: bridge.Say("Where messages are posted to."), Kinds: []string{HTTP, Relay},
			},
			at: func(h *Handler) any { return &h.URL }, check: checkHandlerURL,
		},
		{
			Key: Key{
				Name: "base_url", Required: true, Label: bridge.Say("Server"), Example: "http://127.0.0.1:11434/v1",
				Help: bridge.Say("The address of a server that talks as OpenAI does, with /v1 at the end."), Kinds: []string{LLM},
			},
			at: func(h *Handler) any { return &h.BaseURL }, check: checkModelServer,
		},
		{
			Key: Key{
				Name: "model", Required: true, Label: bridge.Say("Model"), Example: "llama3.2",
				Help: bridge.Say("The model's name, as the server has it."), Kinds: []string{LLM},
			},
			at: func(h *Handler) any { return &h.Model }, check: checkModel,
		},
		{
			Key: Key{
				Name: "system_prompt", Label: bridge.Say("Instructions"), Lines: 4,
				Sample: bridge.Say("You are Perch, a friendly bird in a family's chat. Answer briefly."),
				Help:   bridge.Say("What the model is told before each conversation."), Kinds: []string{LLM},
			},
			at: func(h *Handler) any { return &h.SystemPrompt },
		},
		{
			Key: Key{
				Name: "temperature", Label: bridge.Say("Temperature"), Help: bridge.Say("How freely the model writes: 0 to 2."), Kinds: []string{LLM},
				Unset: bridge.Say("the server's own"),
			},
			at: func(h *Handler) any { return &h.Temperature }, normal: -1.0, check: checkTemperature,
		},
		{
			Key: Key{
				Name: "history", Label: bridge.Say("Remembers"), Example: "20", Least: 0, Most: 1000,
				Help: bridge.Say("How many earlier messages and answers of a conversation the model is shown; !forget clears them."), Kinds: []string{LLM},
			},
			at: func(h *Handler) any { return &h.History }, normal: 20,
		},
		{
			Key: Key{
				Name: "max_tokens", Label: bridge.Say("Longest answer"), Least: 0, Most: 1_000_000,
				Help: bridge.Say("The longest answer, in tokens of about four letters."), Kinds: []string{LLM}, Unset: bridge.Say("the server's own"),
			},
			at: func(h *Handler) any { return &h.MaxTokens },
		},
		{
			Key: Key{
				Name: "stream", Label: bridge.Say("Growing answers"),
				Help: bridge.Say("An answer is posted with its first sentence and grows there. It needs an account, or replies with the app token: a bot cannot edit."), Kinds: []string{LLM},
			},
			at: func(h *Handler) any { return &h.Stream }, check: checkStream,
		},

		{
			Key: Key{
				Name: "trigger", Label: bridge.Say("It answers"),
				Help: bridge.Say("Which messages it answers. Empty: those with the prefix for commands, else every one."),
				Choices: []Choice{
					{"", bridge.Text{}, bridge.Text{}},
					{string(OnAll), bridge.Say("every message of an allowed user"), bridge.Text{}},
					{string(OnPrefix), bridge.Say("messages that begin with the prefix"), bridge.Text{}},
					{string(OnMention), bridge.Say("messages that begin with its name"), bridge.Text{}},
				},
			},
			at: func(h *Handler) any { return &h.Trigger },
		},
		{
			Key: Key{Name: "prefix", Label: bridge.Say("Prefix"), Example: "!", Help: bridge.Say("What messages to the bot begin with: for commands, and where it answers by the prefix.")},
			at:  func(h *Handler) any { return &h.Prefix }, normal: "!", check: checkPrefix,
		},
		{
			Key: Key{
				Name: "names", Label: bridge.Say("Its names"), Example: "Perch",
				Help: bridge.Say("What the bot is called at the start of a message; Talk cannot mention bots."),
			},
			at: func(h *Handler) any { return &h.Names }, normal: []string{"Perch"}, check: checkNames,
		},
		{
			Key: Key{Name: "quote", Label: bridge.Say("Quote"), Help: bridge.Say("An answer shows the message that it is for."), Kinds: []string{Commands, Exec, HTTP, LLM}},
			at:  func(h *Handler) any { return &h.Quote }, normal: true,
		},
		{
			Key: Key{Name: "silent", Label: bridge.Say("Notifications"), Help: bridge.Say("Answers notify nobody."), Kinds: []string{Commands, Exec, HTTP, LLM}},
			at:  func(h *Handler) any { return &h.Silent },
		},
		{
			Key: Key{
				Name: "ack", Label: bridge.Say("While it works"), Example: "👀",
				Help: bridge.Say("An emoji on the message while it is answered, so that a slow answer does not look dead. Empty: none."),
			},
			at: func(h *Handler) any { return &h.Ack }, check: checkAck,
		},
		{
			Key: Key{
				Name: "on_error", Label: bridge.Say("If it fails"), Sample: bridge.Say("Sorry, that did not work."),
				Help: bridge.Say("What the conversation is told when there is no answer because of an error. Empty: nothing."),
			},
			at: func(h *Handler) any { return &h.OnError },
		},
		{
			Key: Key{Name: "timeout", Label: bridge.Say("It may take"), Example: "30s", Help: bridge.Say("How long a message may take, such as 30s or 5m; after that it counts as failed. From 100ms to 24h.")},
			at:  func(h *Handler) any { return &h.Timeout }, normal: Duration(time.Minute),
			normals: map[string]any{LLM: Duration(5 * time.Minute)}, check: checkTimeout,
		},
		{
			Key: Key{Name: "at_once", Help: bridge.Say("How many messages, of different conversations, are answered at once."), Least: 1, Most: 64},
			at:  func(h *Handler) any { return &h.AtOnce }, normal: 4, normals: map[string]any{LLM: 1},
		},
		{
			Key: Key{Name: "queue", Help: bridge.Say("How many messages of one conversation can wait; after that, people are told to try later."), Least: 1, Most: 10_000},
			at:  func(h *Handler) any { return &h.Queue }, normal: 100,
		},
		{
			Key: Key{
				Name: "attachments", Label: bridge.Say("Shared files"), Help: bridge.Say("What it gets of a shared file."), Kinds: []string{Exec, HTTP, LLM},
				Choices: []Choice{
					{string(FileLink), bridge.Say("it gets their names and links"), bridge.Text{}},
					{string(FileCopy), bridge.Say("it gets what is in them, with the app token"), bridge.Text{}},
				},
			},
			at: func(h *Handler) any { return &h.Files }, normal: FileLink,
		},

		{
			Key: Key{
				Name: "on_reaction", Label: bridge.Say("Reactions"), Kinds: []string{Exec, HTTP},
				Help: bridge.Say("It hears of reactions to its answers. It needs an account: a bot is not told who reacted."),
			},
			at: func(h *Handler) any { return &h.OnReaction }, check: checkOnReaction,
		},

		// The last ones, because they can be tables.
		{
			Key: Key{
				Name: "command", Required: true, Label: bridge.Say("Command"), Example: "python3 /home/alice/bot.py", Kinds: []string{Commands, Exec},
				Help: bridge.Say("The program and its arguments: a full path, a path relative to the folder of config.toml (./bot.py), or a name in PATH. No shell is involved. The program reads the message as JSON and writes the answer."),
			},
			at: func(h *Handler) any { return &commandValue{h} }, check: checkCommand,
		},
		{
			Key: Key{
				Name: "tool", Kinds: []string{LLM},
				Help: bridge.Say("What the model can use for an answer: [[handler.tool]] tables, each a program, a web hook or an MCP server."),
			},
			at: func(h *Handler) any { return &toolsValue{h} }, check: checkTools,
		},
	}
}

// ownCommands is the comment above the commands of a handler of that kind.
const ownCommands = `Commands of your own, each like this:
[[handler.command]]
name = "wifi"
help = "how to get online"
reply = "The password is on the fridge, {author}."
Filled in are {text}, {author}, {author_id}, {room}, {date} and {time}.`

// ownTools is the comment above the tools of a language model.
const ownTools = `What the model can use for an answer, each like this:
[[handler.tool]]
name = "light"
description = "Switches the light in a room on or off"
command = ["/home/alice/bin/light"]
schema = '''{"type": "object", "properties": {"room": {"type": "string"}, "on": {"type": "boolean"}}, "required": ["room", "on"]}'''
With url in place of command it is a web hook; with mcp = true either is an MCP server.`

// roomRows returns the keys of [rooms.<token>].
func roomRows() []row[Room] {
	return []row[Room]{
		{
			Key: Key{Name: "enabled", Help: bridge.Say("Turn this off to answer nobody in the conversation.")},
			at:  func(r *Room) any { return &r.Enabled }, normal: true,
		},
		{
			Key: Key{
				Name: "trigger", Help: bridge.Say("Which messages are answered there. Empty: as its handler has it."),
				Choices: handlerChoices("trigger"),
			},
			at: func(r *Room) any { return &r.Trigger }, check: checkRoomTrigger,
		},
		{
			Key: Key{Name: "allowed_users", Help: bridge.Say("Who is answered there. Without the key: those who are answered everywhere.")},
			at:  func(r *Room) any { return &r.AllowedUsers }, check: checkRoomUsers,
		},
		{
			Key: Key{Name: "handler", Help: bridge.Say("The name of the handler that answers there. Empty: the one in [handler].")},
			at:  func(r *Room) any { return &r.Handler }, check: checkRoomHandler,
		},
	}
}

// handlerChoices returns the values that a key of a handler can have.
func handlerChoices(name string) []Choice {
	for _, r := range handlerRows() {
		if r.Name == name {
			return r.Choices
		}
	}
	return nil
}
