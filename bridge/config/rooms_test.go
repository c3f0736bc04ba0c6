package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRoom(t *testing.T) {
	c := Default()
	c.Talk.AllowedUsers = []string{"alice"}
	house := DefaultHandler(Exec)
	house.Trigger = OnMention
	c.Handlers = map[string]Handler{"house": house, "model": DefaultHandler(LLM)}
	c.Rooms = map[string]Room{
		"off":     {},
		"nobody":  {Enabled: true, AllowedUsers: []string{}},
		"bob":     {Enabled: true, AllowedUsers: []string{"bob"}},
		"house":   {Enabled: true, Handler: "house"},
		"model":   {Enabled: true, Handler: "model"},
		"trigger": {Enabled: true, Handler: "house", Trigger: OnAll},
		"missing": {Enabled: true, Handler: "missing"},
	}
	alice := []string{"alice"}
	for token, want := range map[string]Room{
		"unknown": {Enabled: true, Trigger: OnPrefix, AllowedUsers: alice},
		"off":     {Trigger: OnPrefix, AllowedUsers: alice},
		"nobody":  {Enabled: true, Trigger: OnPrefix, AllowedUsers: []string{}},
		"bob":     {Enabled: true, Trigger: OnPrefix, AllowedUsers: []string{"bob"}},
		"house":   {Enabled: true, Trigger: OnMention, AllowedUsers: alice, Handler: "house"},
		"model":   {Enabled: true, Trigger: OnAll, AllowedUsers: alice, Handler: "model"},
		"trigger": {Enabled: true, Trigger: OnAll, AllowedUsers: alice, Handler: "house"},
		"missing": {Enabled: true, AllowedUsers: alice, Handler: "missing"},
	} {
		if diff := cmp.Diff(want, c.Room(token)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", token, diff)
		}
	}
}

func TestHandlerBy(t *testing.T) {
	c := Default()
	c.Handlers = map[string]Handler{"model": DefaultHandler(LLM)}
	if h, ok := c.HandlerBy(""); !ok || h.Kind != Commands {
		t.Errorf("without a name: %q %v", h.Kind, ok)
	}
	if h, ok := c.HandlerBy("model"); !ok || h.Kind != LLM {
		t.Errorf("by its name: %q %v", h.Kind, ok)
	}
	if _, ok := c.HandlerBy("missing"); ok {
		t.Error("there is none by that name")
	}
}
