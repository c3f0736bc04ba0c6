package bridge_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"perch/bridge"
)

func TestCleanText(t *testing.T) {
	for in, want := range map[string]string{
		"": "",
		"plain, Grüße 👩‍👩‍👧\n\tשלום\u200f":                         "plain, Grüße 👩‍👩‍👧\n\tשלום\u200f",
		"a\r\nb\rc\r\r\nd\r\n":                                     "a\nb\nc\nd\n",
		"\x1b[1;32mok\x1b[0m":                                      "ok",
		"\x1b[38:2::255:0:0mred\x1b[m \x1b[?25h":                   "red ",
		"\x1b[2 qshape":                                            "shape",
		"\x1b]0;a title\adone":                                     "done",
		"\x1b]0;a title\x1b\\done":                                 "done",
		"\x1b]2;a title\u009cdone":                                 "done",
		"\x1b]0;without an end\nnext":                              "\nnext",
		"\x1b]8;;https://example.com\x1b\\link\x1b]8;;\x1b\\":      "link",
		"\x1bP1$r0m\x1b\\a\x1b_x\x1b\\b\x1b^y\x1b\\c\x1bXz\x1b\\d": "abcd",
		"\u009b31mred\u009b0m \u009d0;title\u009cdone":             "red done",
		"\x1b(Bcharset \x1b=\x1b7\x1b#8mode":                       "charset mode",
		"the end is cut \x1b[3":                                    "the end is cut ",
		"the end is cut \x1b":                                      "the end is cut ",
		"\x1b\x1b[31mtwice":                                        "twice",
		"\x1bäx \x1b\nx":                                           "äx \nx",
		"N\bNA\bAM\bME\bE":                                         "NAME",
		"_\bx\n\b\by\b":                                            "x\n",
		"\b\bx":                                                    "x",
		"a\x00b\x7fc\u0085d\x07":                                   "abcd",
		"a\xff\xfeb\xc3":                                           "a\ufffdb\ufffd",
		"kept \ufffd":                                              "kept \ufffd",
	} {
		if got := bridge.CleanText(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzCleanText(f *testing.F) {
	for _, s := range []string{"a\r\nb", "\x1b[1;32mok\x1b]0;t\a", "\u009d0;x\u009c", "\xff\b\x00", "\x1b("} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := bridge.CleanText(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }) {
			t.Errorf("%q: %q", s, got)
		}
		if again := bridge.CleanText(got); again != got {
			t.Errorf("%q: %q, then %q", s, got, again)
		}
	})
}

func TestTextWith(t *testing.T) {
	how := bridge.Say("perch secret set %s", "app_token")
	text := bridge.Say("%[2]s, in %[1]s", "the room").With(how)
	if got := text.String(); got != "perch secret set app_token, in the room" {
		t.Error(got)
	}
	german := map[string]string{"%[2]s, in %[1]s": "%[2]s in %[1]s", "perch secret set %s": "setzen: %s"}
	if got := text.In(func(s string) string { return german[s] }); got != "setzen: app_token in the room" {
		t.Error(got)
	}
	if got := text.Map(strings.ToUpper).String(); got != "perch secret set APP_TOKEN, in THE ROOM" {
		t.Error(got)
	}
	if text.String() != "perch secret set app_token, in the room" {
		t.Error("Map has changed its receiver")
	}
}
