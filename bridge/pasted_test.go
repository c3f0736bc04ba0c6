package bridge

import "testing"

func TestPasted(t *testing.T) {
	for text, want := range map[string]string{
		"abc": "abc", "": "", " \t\r\nabc\n": "abc", "\ufeffabc": "abc", "a\u200bb\u2060c\u00ad": "abc", "\u00a0abc\u2003": "abc",
		`"abc"`: "abc", "'abc'": "abc", "`abc`": "abc", "“abc”": "abc", "„abc“": "abc", "„abc”": "abc", "”abc”": "abc", "‘abc’": "abc",
		"«abc»": "abc", "« abc »": "abc", "‹abc›": "abc", ` "'abc'" `: "abc", "\"\u200b\"": "",
		`"abc`: `"abc`, `abc"`: `abc"`, `"abc'`: `"abc'`, `"`: `"`, `a "b" c`: `a "b" c`, "a b": "a b",
	} {
		if got := Pasted(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzPasted(f *testing.F) {
	f.Add(" \"“\ufeffabc”\" ")
	f.Fuzz(func(t *testing.T, text string) {
		once := Pasted(text)
		if again := Pasted(once); again != once {
			t.Errorf("%q: %q, then %q", text, once, again)
		}
	})
}
