package handler_test

import (
	"context"
	"strings"
	"testing"

	"perch/bridge"
	"perch/bridge/handler"
)

func TestCommands(t *testing.T) {
	c := handler.Commands{Status: func(context.Context) []string { return []string{"fine", "thanks"} }}
	tests := []struct {
		name, say, want string // want "": no reply
	}{
		{"ping", "!ping", "pong"},
		{"in any case, with space around", " \n!PiNg \t", "pong"},
		{"with more behind it", "!ping please", "pong"},
		{"echo", "!echo  two  spaces\nand a line ", "two  spaces\nand a line"},
		{"echo on the next line", "!echo\nhello", "hello"},
		{"echo of a command", "!echo !ping", "!ping"},
		{"echo of nothing", "!echo", "Nothing to echo. Try: `!echo hello`"},
		{"who am I", "!whoami", "You are Alice (`users/alice`) in Kitchen (`knzaftd5`)."},
		{"status", "!status", "fine\nthanks"},
		{"unknown", "!nonsense", "I do not know `!nonsense`. Try `!help`."},
		{"unknown, with an accent grave", "!a`b", "I do not know `!a'b`. Try `!help`."},
		{"no command", "ping", ""},
		{"a command in the middle", "say !ping", ""},
		{"only the prefix", "!", ""},
		{"surprise", "!!! what", ""},
		{"doubt", "!? what", ""},
		{"space behind the prefix", "! ping", ""},
		{"nothing", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			replies, err := c.Handle(t.Context(), bridge.Message{
				Text:   tt.say,
				Author: bridge.Actor{Type: bridge.ActorUser, ID: "alice", Name: "Alice"},
				Room:   bridge.Room{Token: "knzaftd5", Name: "Kitchen"},
			})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if len(replies) > 0 {
				got = replies[0].Text
			}
			if got != tt.want || len(replies) > 1 {
				t.Errorf("got %+v, want %q", replies, tt.want)
			}
		})
	}
}

func TestHelpNamesEveryCommand(t *testing.T) {
	replies, err := handler.Commands{}.Handle(t.Context(), bridge.Message{Text: "!help"})
	if err != nil || len(replies) != 1 {
		t.Fatalf("%v %v", replies, err)
	}
	for _, name := range []string{"!help", "!ping", "!echo TEXT", "!whoami", "!status"} {
		if !strings.Contains(replies[0].Text, "`"+name+"`") {
			t.Errorf("%s is not in:\n%s", name, replies[0].Text)
		}
	}
}
