package config

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every key has what its readers need of it, so that a new one cannot be half
// there.
func TestKeysAreWhole(t *testing.T) {
	c := Default()
	c.Handlers, c.Rooms = map[string]Handler{"h": DefaultHandler(LLM)}, map[string]Room{"r": defaultRoom()}
	names := map[string]bool{}
	for _, k := range newDraft(&c).keys() {
		name := k.name()
		if k.Help.IsZero() || !strings.HasSuffix(k.Help.String(), ".") {
			t.Errorf("%s: help %q", name, k.Help)
		}
		if names[name] {
			t.Errorf("%s: twice", name)
		}
		names[name] = true
		if k.Choices != nil && !slices.ContainsFunc(k.Choices, func(c Choice) bool { return c.Value == reflect.ValueOf(k.normal).Elem().String() }) {
			t.Errorf("%s: its default is none of its values", name)
		}
	}
}

// Every field of the configuration has a key.
func TestEveryFieldHasAKey(t *testing.T) {
	c := Default()
	have := map[any]bool{}
	for _, k := range newDraft(&c).keys() {
		have[k.value] = true
	}
	var look func(v reflect.Value, name string)
	look = func(v reflect.Value, name string) {
		for i := range v.NumField() {
			f, name := v.Field(i), name+"."+v.Type().Field(i).Name
			switch {
			case f.Kind() == reflect.Struct:
				look(f, name)
			case f.Kind() == reflect.Map, strings.HasPrefix(name, ".Handler.Command"), name == ".Handler.Tools": // of their own
			case !have[f.Addr().Interface()]:
				t.Errorf("%s has no key", name)
			}
		}
	}
	look(reflect.ValueOf(&c).Elem(), "")
}

// What a form shows of a value is read back as that value.
func TestTextOfEveryKey(t *testing.T) {
	full := readFull(t)
	named := full.Handlers
	named[""] = full.Handler
	for _, h := range named {
		want := full
		want.Handler = h
		got := Default()
		got.Handler = DefaultHandler(h.Kind)
		got.Handlers, got.Rooms, got.Handler.Commands, got.Handler.Tools = want.Handlers, want.Rooms, h.Commands, h.Tools
		for name, text := range want.Texts() {
			if wrong := got.SetText(name, text); !wrong.IsZero() {
				t.Errorf("%s: %s", name, wrong)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// Another kind of handler keeps what has an effect there, and the defaults of
// the old kind do not become settings of the new one.
func TestHandlerAsAnotherKind(t *testing.T) {
	h := DefaultHandler(HTTP)
	h.URL, h.OnError, h.AtOnce = "http://127.0.0.1:5678", "Sorry.", 7
	for _, tt := range []struct {
		kind string
		want func(h *Handler)
		lost bool
	}{
		{HTTP, func(h *Handler) { h.URL = "http://127.0.0.1:5678" }, false},
		{Relay, func(h *Handler) { h.URL = "http://127.0.0.1:5678" }, false},
		{LLM, func(*Handler) {}, true},
	} {
		want := DefaultHandler(tt.kind)
		want.OnError, want.AtOnce = "Sorry.", 7
		tt.want(&want)
		got, lost := h.As(tt.kind)
		if diff := cmp.Diff(want, got); diff != "" || lost != tt.lost {
			t.Errorf("as %s, lost %t (-want +got):\n%s", tt.kind, lost, diff)
		}
	}
	h = DefaultHandler(Commands)
	if got, lost := h.As(LLM); lost || !cmp.Equal(got, DefaultHandler(LLM)) {
		t.Errorf("the defaults became %+v, lost %t", got, lost)
	}
	h.Commands = []Command{{Name: "a", Reply: "b"}}
	if got, lost := h.As(Exec); !lost || got.Commands != nil {
		t.Errorf("commands became %+v, lost %t", got, lost)
	}
}

func TestTextThatCannotBeRead(t *testing.T) {
	for name, text := range map[string]string{
		"handler.history": "many", "handler.max_tokens": "1.5", "handler.temperature": "warm", "handler.timeout": "1 year",
		"journal.keep": "", "handler.command": `python "x`, "no.such": "x", "handler.at_once": "",
	} {
		c, before := Default(), Default()
		if wrong := c.SetText(name, text); wrong.IsZero() {
			t.Errorf("%s: %q can be read", name, text)
		}
		if diff := cmp.Diff(before, c); diff != "" {
			t.Errorf("%s (-before +after):\n%s", name, diff)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for line, want := range map[string][]string{
		"":                              nil,
		"  ":                            nil,
		"bot":                           {"bot"},
		" python3   bot.py\t-v ":        {"python3", "bot.py", "-v"},
		`"/opt/my bot" --name='a b'`:    {"/opt/my bot", "--name=a b"},
		`C:\bot\run.exe "C:\my files\"`: {`C:\bot\run.exe`, `C:\my files\`},
		`say "it's" '"x"'`:              {"say", "it's", `"x"`},
		`a"b"'c'd ""`:                   {"abcd", ""},
		`$HOME; rm *`:                   {"$HOME;", "rm", "*"},
	} {
		if got, closed := SplitCommand(line); !closed || !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	for _, line := range []string{`bot "a`, `bot 'a"`, `"`} {
		if _, closed := SplitCommand(line); closed {
			t.Errorf("%q: the quote ends", line)
		}
	}
}

// Any words come back from the line that they are shown as.
func TestCommandLineOfAnyWords(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	letters := []rune("ab \t'\"\\$\n…")
	for range 2000 {
		words := make([]string, random.IntN(4))
		for i := range words {
			for range random.IntN(5) {
				words[i] += string(letters[random.IntN(len(letters))])
			}
		}
		if got, closed := SplitCommand(JoinCommand(words)); !closed || !slices.Equal(got, words) {
			t.Fatalf("%q became %q through %s", words, got, JoinCommand(words))
		}
	}
}
