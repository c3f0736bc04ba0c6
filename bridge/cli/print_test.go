package cli

import (
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
	"perch/bridge/config"
)

// Events as they stand in a terminal of 2026-11-22.
func TestTextPrinter(t *testing.T) {
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.Local)
	kitchen := bridge.Room{Token: "abcd1234", Name: "Kitchen"}
	failed := &bridge.Error{
		Code: bridge.CodeUnavailable, Text: bridge.Say("the server is away"),
		Hint: bridge.Say("start it:\nocc up"), Cause: errors.New("no route"),
	}
	for _, test := range []struct {
		name  string
		event bridge.Event
		want  string
	}{
		{"title", bridge.Event{Stage: bridge.StageApp, Title: bridge.Say("Perch has stopped")}, "12:00:00    Perch has stopped\n"},
		{
			"title with a cause",
			bridge.Event{Stage: bridge.StageApp, Title: bridge.Say("http: odd request"), Cause: "a=b"},
			"12:00:00    http: odd request  a=b\n",
		},
		{"below the level", bridge.Event{Level: slog.LevelDebug, Title: bridge.Say("x")}, ""},
		{
			"message",
			bridge.Event{Stage: bridge.StageIntake, Room: kitchen, Actor: bridge.Actor{Type: "users", ID: "alice", Name: "Alice"}, Text: "one\r\ntwo\n\nthree\n", Duration: 420 * time.Microsecond},
			"12:00:00  → Kitchen  Alice: one\n                            two\n\n                            three  0.4 ms\n",
		},
		{
			"what Talk wrote",
			bridge.Event{Stage: bridge.StageIntake, Kind: bridge.EventRoomChanged, Room: kitchen, Title: bridge.Say("Not answered"), Text: "Alice left"},
			"12:00:00    Not answered\n",
		},
		{
			"reply",
			bridge.Event{Stage: bridge.StageSender, Room: kitchen, Text: "one\ntwo"},
			"12:00:00  ← Kitchen  one\n                     two\n",
		},
		{
			"room with a name of wide letters",
			bridge.Event{Stage: bridge.StageSender, Room: bridge.Room{Name: "台所🍳"}, Text: "one\ntwo"},
			"12:00:00  ← 台所🍳  one\n                    two\n",
		},
		{
			"room and author who pretend",
			bridge.Event{
				Stage: bridge.StageIntake, Room: bridge.Room{Name: "A\nB"}, Actor: bridge.Actor{Name: "Eve\n12:00:00  ← Kitchen\t\u202ex"},
				Text: "long\nname",
			},
			"12:00:00  → A B  Eve 12:00:00  ← Kitchen ·x: long\n                                        name\n",
		},
		{
			"warning",
			bridge.Event{Level: slog.LevelWarn, Stage: bridge.StageIntake, Title: bridge.Say("Eve\n was refused"), Text: "not shown", Hint: bridge.Say("to allow her: do\nthis")},
			"12:00:00  ! Eve  was refused\n            To allow her: do\n            this\n",
		},
		{
			"warning with a place",
			bridge.Event{Level: slog.LevelWarn, Title: bridge.Say("nobody is allowed"), Cause: "config.toml:3: x"},
			"12:00:00  ! nobody is allowed\n            config.toml:3: x\n",
		},
		{
			"warning, with details that are left out",
			bridge.Event{Level: slog.LevelWarn, Title: bridge.Say("It failed"), Reason: failed.Text, Cause: failed.Error()},
			"12:00:00  ! It failed\n            The server is away\n",
		},
		{
			"error",
			bridge.Event{Title: bridge.Say("It failed")}.Failed(failed),
			"12:00:00  ✕ It failed\n            The server is away\n            no route\n            Start it:\n            occ up\n",
		},
		{
			"error that is its own title",
			bridge.Event{Level: slog.LevelError, Title: failed.Text, Reason: failed.Text, Cause: failed.Error()},
			"12:00:00  ✕ the server is away\n            no route\n",
		},
		{
			"several errors",
			bridge.Event{Title: bridge.Say("Not taken over")}.Failed(&config.InvalidError{Problems: []config.Problem{
				{File: "c", Line: 1, Key: "a", Text: bridge.Say("must be b")}, {File: "c", Line: 2, Key: "d", Text: bridge.Say("must be e")},
			}}),
			"12:00:00  ✕ Not taken over\n            c:1: a: must be b\n            c:2: d: must be e\n",
		},
		{
			"another day",
			bridge.Event{Time: noon.AddDate(0, 0, -1), Title: bridge.Say("x")},
			"2026-11-21\n12:00:00    x\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var b strings.Builder
			p := &textPrinter{say: bridge.Text.String, w: &b, day: "2026-11-22"}
			if test.event.Time.IsZero() {
				test.event.Time = noon
			}
			p.print(test.event)
			if diff := cmp.Diff(test.want, b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTextPrinterTellsEachDayOnce(t *testing.T) {
	var b strings.Builder
	p := &textPrinter{say: bridge.Text.String, w: &b, day: "2026-11-22"}
	for _, day := range []int{20, 20, 21, 22} {
		p.print(bridge.Event{Time: time.Date(2026, 11, day, 12, 0, 0, 0, time.Local), Title: bridge.Say("x")})
	}
	want := "2026-11-20\n12:00:00    x\n12:00:00    x\n2026-11-21\n12:00:00    x\n2026-11-22\n12:00:00    x\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestTextPrinterBegins(t *testing.T) {
	users := strings.Fields("a b c d e f g h i j")
	for _, test := range []struct {
		opening opening
		want    string
	}{
		{
			opening{"1.0", "/h/config.toml", "127.0.0.1:1", "https://x/y", []string{"alice", "bob"}, config.Bot},
			"Perch 1.0 · settings in /h/config.toml · listens on 127.0.0.1:1\nNextcloud must reach https://x/y · answers alice, bob · replies as the bot\n",
		},
		{
			opening{"1.0", "/h/config.toml", "0.0.0.0:1", "", nil, config.User},
			"Perch 1.0 · settings in /h/config.toml · listens on 0.0.0.0:1\nNextcloud cannot know where: set public_url · answers nobody · replies as the user\n",
		},
		{
			opening{"1.0", "c", "l", "u", users, config.Bot},
			"Perch 1.0 · settings in c · listens on l\nNextcloud must reach u · answers a, b, c, d, e, f, g, h and 2 more · replies as the bot\n",
		},
	} {
		var b strings.Builder
		(&textPrinter{say: bridge.Text.String, w: &b}).begin(test.opening)
		if diff := cmp.Diff(test.want, b.String()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestColours(t *testing.T) {
	var b strings.Builder
	p := &textPrinter{say: bridge.Text.String, w: &b, colour: true, day: "2026-11-22"}
	p.print(bridge.Event{Time: time.Date(2026, 11, 22, 12, 0, 0, 0, time.Local), Level: slog.LevelError, Title: bridge.Say("a\x1b[0mb")})
	if want := "\x1b[2m12:00:00\x1b[0m  \x1b[31m✕\x1b[0m \x1b[31ma·[0mb\x1b[0m\n"; b.String() != want {
		t.Errorf("%q", b.String())
	}
}

func TestTook(t *testing.T) {
	for d, want := range map[time.Duration]string{
		40 * time.Microsecond:    "0.0 ms",
		420 * time.Microsecond:   "0.4 ms",
		9400 * time.Microsecond:  "9.4 ms",
		12345 * time.Microsecond: "12 ms",
		1500 * time.Millisecond:  "1.5 s",
	} {
		if got := took(d); got != want {
			t.Errorf("%s is %q, not %q", d, got, want)
		}
	}
}

func TestHarmless(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"plain", "Grüße, 你好 \t🍲\nמה נשמע", "Grüße, 你好 \t🍲\nמה נשמע"},
		{"escape", "\x1b]0;title\x07\x1b[2J", "·]0;title··[2J"},
		{"C1", "\u009b2J", "·2J"},
		{"bytes that are no text", "a\x9b2J\xff", "a�2J�"},
		{"carriage return", "safe\rrisk", "safe·risk"},
		{"delete and backspace", "a\x7f\b", "a··"},
		{"line separators", "a\u2028b\u2029c\u0085d\vf\f", "a·b·c·d·f·"},
		{"direction", "a\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061cb", "a············b"},
		{"not seen", "a\u200b\u2060\ufeff\u00ad\u180eb", "a·····b"},
		{"joiners in emoji and scripts", "👨\u200d👩 می\u200cخواهم", "👨\u200d👩 می\u200cخواهم"},
		{"joiners where they join nothing", "ad\u200dmin \u200cx", "ad·min ·x"},
	} {
		if got := harmless(test.text); got != test.want {
			t.Errorf("%s: %q, not %q", test.name, got, test.want)
		}
	}
	if got := oneLine("a\nb\tc\r\nd"); got != "a b c d" {
		t.Errorf("on one line it is %q", got)
	}
}

// Whatever somebody writes, what is printed of it cannot steer the terminal, no
// line of it looks like one of ours, and JSON still says the same.
func FuzzPrinters(f *testing.F) {
	for _, text := range []string{"hello", "a\nb\r\nc", "\x1b[2J\u009b\u202e\u200b", "00:00:00  ← Kitchen  pong", "\xff\ufeff\u2028\x7f", `\u001b"`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		e := bridge.Event{
			Time: time.Now(), Stage: bridge.StageIntake, Title: bridge.Say("%s", text), Text: "x" + text,
			Room: bridge.Room{Token: "t", Name: text}, Actor: bridge.Actor{Type: "users", ID: "u", Name: text},
		}
		var plain, object strings.Builder
		(&textPrinter{say: bridge.Text.String, w: &plain, day: time.Now().Format(time.DateOnly)}).print(e)
		jsonPrinter{bridge.NewJSONLines(&object, slog.LevelInfo)}.print(e)
		for _, out := range []string{plain.String(), object.String()} {
			for _, r := range out {
				if r != '\n' && r != '\t' && bridge.IsHarmful(r) {
					t.Fatalf("%U is in %q", r, out)
				}
			}
		}
		for i, line := range strings.Split(strings.TrimSuffix(plain.String(), "\n"), "\n") {
			if i > 0 && line != "" && !strings.HasPrefix(line, strings.Repeat(" ", titleColumn)) {
				t.Fatalf("line %d is %q", i, line)
			}
		}
		var back struct {
			Text string `json:"text"`
		}
		if err := json.Unmarshal([]byte(object.String()), &back); err != nil || back.Text != string([]rune(e.Text)) {
			t.Fatalf("%q came back as %q, error %v", e.Text, back.Text, err)
		}
		if strings.Count(object.String(), "\n") != 1 {
			t.Fatalf("not one line: %q", object.String())
		}
	})
}
