package handler

import (
	"errors"
	"strings"
	"testing"

	"perch/bridge"
)

// Whatever comes back: replies that can be posted, or an error for a person.
func FuzzHTTPAnswer(f *testing.F) {
	for _, seed := range []struct{ contentType, body string }{
		{"application/json", `{"reply": "hi", "replies": ["a", 1, null], "reaction": "👍"}`},
		{"application/json", `[{"reply": "hi"}]`},
		{"application/json; charset=utf-8", `{"message":"Workflow was started"}`},
		{"text/html; charset=utf-8", "21.5 °C"},
		{"text/html", "<!DOCTYPE html>"},
		{"text/plain", "gr\xfcn"},
		{"; ;", "null"},
	} {
		f.Add(seed.contentType, seed.body)
	}
	f.Fuzz(func(t *testing.T, contentType, body string) {
		replies, err := repliesOf(contentType, []byte(body))
		if err != nil {
			if e, ok := errors.AsType[*bridge.Error](err); !ok || e.Text.IsZero() || replies != nil {
				t.Fatalf("%+v, %v", replies, err)
			}
			return
		}
		for _, r := range replies {
			if strings.TrimSpace(r.Text+r.Reaction) == "" || r.Text != "" && r.Reaction != "" {
				t.Fatalf("%+v", r)
			}
		}
		if len(replies) > 52 {
			t.Fatalf("%d replies", len(replies))
		}
	})
}
