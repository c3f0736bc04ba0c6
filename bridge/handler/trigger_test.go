package handler

import (
	"strings"
	"testing"

	"perch/bridge"
	"perch/bridge/config"
)

func TestTrigger(t *testing.T) {
	perch := []string{"Perch"}
	tests := []struct {
		name       string
		on         config.Trigger
		prefix     string
		names      []string
		say, asked string // asked "-": it is not
	}{
		{"all", config.OnAll, "!", perch, " Perch, !ping ", " Perch, !ping "},
		{"all, without a text", config.OnAll, "!", perch, "", ""},

		{"prefix", config.OnPrefix, "!", nil, "!ping me", "ping me"},
		{"prefix after space", config.OnPrefix, "!", nil, " \n!ping \t", "ping \t"},
		{"no prefix", config.OnPrefix, "!", nil, "ping", "-"},
		{"prefix in the middle", config.OnPrefix, "!", nil, "say !ping", "-"},
		{"nothing", config.OnPrefix, "!", nil, "", "-"},
		{"only the prefix", config.OnPrefix, "!", nil, "! ", "-"},
		{"surprise", config.OnPrefix, "!", nil, "!!! what", "-"},
		{"doubt", config.OnPrefix, "!", nil, "!? what", "-"},
		{"space behind the prefix", config.OnPrefix, "!", nil, "! what", "-"},
		{"a number behind the prefix", config.OnPrefix, "!", nil, "!8ball", "8ball"},
		{"two dots", config.OnPrefix, ".", nil, "..", "-"},
		{"slash", config.OnPrefix, "/", nil, "/ ask", "ask"},
		{"colon", config.OnPrefix, "bot:", nil, "bot: hello", "hello"},
		{"colon alone", config.OnPrefix, "bot:", nil, "bot:", "-"},
		{"word", config.OnPrefix, "bot", nil, "bot hello", "hello"},
		{"word in a longer one", config.OnPrefix, "bot", nil, "bottle", "-"},
		{"word in other letters", config.OnPrefix, "bot", nil, "Bot hello", "-"},
		{"emoji", config.OnPrefix, "🐦", nil, "🐦ping", "ping"},
		{"empty prefix", config.OnPrefix, "", nil, "ping", "-"},

		{"name and comma", config.OnMention, "!", perch, "Perch, ping", "ping"},
		{"with @ and colon", config.OnMention, "!", perch, "@perch: ping", "ping"},
		{"only space", config.OnMention, "!", perch, "PERCH ping", "ping"},
		{"after space", config.OnMention, "!", perch, "\n Perch ping ", "ping "},
		{"alone", config.OnMention, "!", perch, "Perch", ""},
		{"a question", config.OnMention, "!", perch, "Perch?", ""},
		{"dots", config.OnMention, "!", perch, "Perch ... are you there", "... are you there"},
		{"full width", config.OnMention, "!", perch, "Perch，你好", "你好"},
		{"number", config.OnMention, "!", perch, "Perch: -5", "-5"},
		{"another word", config.OnMention, "!", perch, "perchance", "-"},
		{"another word, in umlauts", config.OnMention, "!", perch, "Perchä", "-"},
		{"another word, with a mark", config.OnMention, "!", perch, "Percha\u0308", "-"},
		{"owner", config.OnMention, "!", perch, "Perch's battery is low", "-"},
		{"compound", config.OnMention, "!", perch, "perch-like", "-"},
		{"host", config.OnMention, "!", perch, "perch.example.com is down", "-"},
		{"sentence", config.OnMention, "!", perch, "Perch. Listen", "Listen"},
		{"dash", config.OnMention, "!", perch, "Perch - listen", "- listen"},
		{"in the middle", config.OnMention, "!", perch, "hey Perch", "-"},
		{"prefix is not asked for", config.OnMention, "!", perch, "!ping", "-"},
		{"no names", config.OnMention, "!", nil, "Perch", "-"},
		{"an empty name", config.OnMention, "!", []string{"", "@"}, "hello", "-"},
		{"name with @", config.OnMention, "!", []string{" @Perch "}, "perch hello", "hello"},
		{"name of two words", config.OnMention, "!", []string{"Hey Perch"}, "hey perch, hello", "hello"},
		{"the longest name", config.OnMention, "!", []string{"Perch Bot", "Perch"}, "Perch Bot, hello", "hello"},
		{"the longest name, last", config.OnMention, "!", []string{"Perch", "Perch Bot"}, "Perch Bot, hello", "hello"},
		{"the only name that ends", config.OnMention, "!", []string{"Perch Bo", "Perch"}, "Perch Bot, hello", "Bot, hello"},
		{"other alphabets", config.OnMention, "!", []string{"Окунь"}, "@ОКУНЬ, привет", "привет"},
		{"a letter that folds to a longer one", config.OnMention, "!", []string{"kim"}, "\u212Aim, hello", "hello"},
		{"bytes that are no text", config.OnMention, "!", perch, "Perch\xff\xfe", "\xff\xfe"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text, ok := trigger{on: tt.on, prefix: tt.prefix, names: tt.names}.match(bridge.Message{Text: tt.say, RawText: tt.say})
			if want := tt.asked != "-"; ok != want || ok && text != tt.asked {
				t.Errorf("%q: asked %v with %q", tt.say, ok, text)
			}
		})
	}
}

// What a shared thing is called was not said to anybody.
func TestNamesOfSharedThingsAskNobody(t *testing.T) {
	file := bridge.Message{
		Text: "!ping.txt", RawText: "{file}",
		Parameters:  map[string]bridge.Parameter{"file": {"type": "file", "name": "!ping.txt"}},
		Attachments: []bridge.Attachment{{Type: "file", Name: "!ping.txt"}},
	}
	prefix, mention := trigger{on: config.OnPrefix, prefix: "!"}, trigger{on: config.OnMention, names: []string{"Perch"}}
	if _, ok := prefix.match(file); ok {
		t.Error("a file's name is a command")
	}
	file.Text = "Perch, all I know.txt"
	if _, ok := mention.match(file); ok {
		t.Error("a file's name calls the bot")
	}
	if text, ok := (trigger{on: config.OnAll}).match(file); !ok || text != file.Text {
		t.Errorf("who gets all gets %q %v", text, ok)
	}
	file.Text, file.RawText = "!echo a caption", "!echo a caption"
	if text, ok := prefix.match(file); !ok || text != "echo a caption" {
		t.Errorf("a caption: %q %v", text, ok)
	}
	braces := bridge.Message{Text: "{x} hi", RawText: "{x} hi"} // nothing shared
	if _, ok := (trigger{on: config.OnPrefix, prefix: "{x}"}).match(braces); !ok {
		t.Error("braces are taken for something shared")
	}
	user := bridge.Message{
		Text: "@Perch hello", RawText: "{mention-user1} hello",
		Parameters: map[string]bridge.Parameter{"mention-user1": {"type": "user", "name": "Perch"}},
	}
	if text, ok := mention.match(user); !ok || text != "hello" {
		t.Errorf("the user whose name we have: %q %v", text, ok)
	}
}

func TestReplyToABotCallsIt(t *testing.T) {
	m := bridge.Message{Text: "thanks", RawText: "thanks", InReplyTo: &bridge.Message{Author: bridge.Actor{Type: bridge.ActorBot, ID: "bot-1"}}}
	mention := trigger{on: config.OnMention, names: []string{"Perch"}, quoted: true}
	if text, ok := mention.match(m); !ok || text != "thanks" {
		t.Errorf("a reply: %q %v", text, ok)
	}
	m.Text = "Perch, thanks"
	if text, ok := mention.match(m); !ok || text != "thanks" {
		t.Errorf("a reply with the name: %q %v", text, ok)
	}
	m.Text = "thanks"
	for name, tr := range map[string]trigger{
		"commands":  {on: config.OnMention, names: []string{"Perch"}},
		"by prefix": {on: config.OnPrefix, prefix: "!", quoted: true},
	} {
		if _, ok := tr.match(m); ok {
			t.Errorf("%s: a reply calls it", name)
		}
	}
	m.InReplyTo.Author.Type = bridge.ActorUser
	if _, ok := mention.match(m); ok {
		t.Error("a reply to a person calls the bot")
	}
}

func FuzzTrigger(f *testing.F) {
	for _, say := range []string{"!ping", "Perch, ping", "@perch: hi", " ! ", "perchance", "\u212A", "Perch\xff", "{file}", ""} {
		f.Add(say, say, "!", "Perch")
	}
	f.Add("a.txt", "{file}", "", "a")
	f.Add("ẞ hi", "ẞ hi", "ß", "ß")
	f.Fuzz(func(t *testing.T, text, raw, prefix, name string) {
		m := bridge.Message{Text: text, RawText: raw, Parameters: map[string]bridge.Parameter{"file": {"type": "file"}}}
		for _, on := range []config.Trigger{config.OnAll, config.OnPrefix, config.OnMention} {
			rest, ok := trigger{on: on, prefix: prefix, names: []string{name, "Perch"}}.match(m)
			switch {
			case ok && !strings.HasSuffix(text, rest):
				t.Errorf("%s: %q is no end of %q", on, rest, text)
			case ok && on != config.OnAll && len(rest) == len(text):
				t.Errorf("%s: nothing of %q called it", on, text)
			case ok && on == config.OnPrefix && !strings.HasPrefix(strings.TrimSpace(text), prefix) && strings.TrimSpace(prefix) == prefix:
				t.Errorf("%q does not begin with %q", text, prefix)
			}
		}
	})
}
