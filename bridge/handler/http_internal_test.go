package handler

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"perch/bridge"
)

func TestRetryHeader(t *testing.T) {
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for header, want := range map[string]time.Duration{
		"": 0, "soon": 0, "-5": 0, "1.5": 0, "0": 0, "90": 90 * time.Second,
		"86401": 24 * time.Hour, "18446744073709551615": 24 * time.Hour, "99999999999999999999999": 0,
		in(-time.Hour): 0, in(72 * time.Hour): 24 * time.Hour,
	} {
		if got := retryHeader(header); got != want {
			t.Errorf("%q is %s, want %s", header, got, want)
		}
	}
}

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
