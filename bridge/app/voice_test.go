package app_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/practice"
)

// hears returns a server that transcribes as OpenAI does: it hears what a
// recording holds as text. broken makes it fail.
func hears(t *testing.T) (url string, broken *atomic.Bool) {
	t.Helper()
	broken = &atomic.Bool{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file, _, err := r.FormFile("file")
		if err != nil || r.URL.Path != "/v1/audio/transcriptions" || r.Header.Get("Authorization") != "Bearer sesame" || broken.Load() {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		content, _ := io.ReadAll(file)
		_, _ = io.WriteString(w, `{"text":"`+string(content)+`","language":"en","duration":1.5}`)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/v1", broken
}

func TestVoiceMessageIsAnswered(t *testing.T) {
	url, broken := hears(t)
	w := newWorld(t, practice.Options{}, with(config.Exec, func(h *config.Handler) {
		h.Command = []string{script(t, `sed 's/.*"text":"\([^"]*\)".*"voice":{\([^}]*\)}.*"attachments":\[\].*/heard \1, \2/' | tr -d '"'`)}
	}), func(c *config.Config) { c.Voice.BaseURL = url })
	say := func() int {
		t.Helper()
		r, err := w.server.ShareFile(t.Context(), w.room, "alice", practice.File{
			Name: "Talk recording.wav", MIMEType: "audio/wav", Content: []byte("Turn on the light."), Voice: true,
		})
		check(t, err)
		return r.ID
	}
	w.await("No app token is set: voice messages are not heard")
	check(t, w.secrets.Set(t.Context(), bridge.AppToken, bridge.NewSecret(w.server.AppToken("bob"))))
	check(t, w.secrets.Set(t.Context(), bridge.VoiceToken, bridge.NewSecret("sesame")))
	w.app.Reload()
	w.await("The settings were read again")
	if got := w.reply(say()); got != "heard Turn on the light., duration:1.5,language:en" {
		t.Errorf("answered %q", got)
	}
	if e := w.await("A voice message was heard"); e.Text != "Turn on the light." {
		t.Errorf("the log says %+v", e)
	}
	broken.Store(true)
	id := say()
	if got := w.reply(id); !strings.Contains(got, "Please write it") {
		t.Errorf("answered %q", got)
	}
	if e := w.await("The handler failed"); !strings.Contains(e.Hint.String(), "voice_token") {
		t.Errorf("the log says %+v", e)
	}
	_, err := w.server.Wait(t.Context(), w.room, 0, func(e practice.Entry) bool { return e.ID == id && len(e.Reactions) == 0 })
	check(t, err)
}
