package handler_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/handler"
)

// speech is a server that transcribes as OpenAI does.
type speech struct {
	*httptest.Server

	mu     sync.Mutex
	status int
	answer string
	asked  []spoken
}

// spoken is what a speech server was asked.
type spoken struct{ model, language, format, file, token, content string }

func newSpeech(t *testing.T) *speech {
	t.Helper()
	s := &speech{status: http.StatusOK, answer: `{"text":" Turn on the light. ","language":"english","duration":2.5}`}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file, header, err := r.FormFile("file")
		if err != nil || r.URL.Path != "/v1/audio/transcriptions" {
			http.NotFound(w, r)
			return
		}
		content, _ := io.ReadAll(file)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked = append(s.asked, spoken{
			r.FormValue("model"), r.FormValue("language"), r.FormValue("response_format"), header.Filename, r.Header.Get("Authorization"), string(content),
		})
		w.WriteHeader(s.status)
		_, _ = io.WriteString(w, s.answer)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *speech) ear(files handler.Fetcher) *handler.Ear {
	return handler.NewEar(handler.Ear{BaseURL: s.URL + "/v1", Model: "whisper-1", Language: "en", Key: bridge.NewSecret("sesame"), Files: files})
}

// oneFile is a Fetcher of one file.
type oneFile struct {
	content []byte
	err     error
}

func (f oneFile) FetchFile(_ context.Context, _ bridge.Message, a bridge.Attachment, limit int64) ([]byte, error) {
	if int64(len(f.content)) > limit {
		return nil, &bridge.Error{Code: bridge.CodeRejected, Text: bridge.Say("too big: %s", a.Name)}
	}
	return f.content, f.err
}

// voiceMessage is a voice message.
func voiceMessage() bridge.Message {
	m := said("k", "x\"; filename=\"evil.mp3")
	m.RawText = "{file}"
	m.Parameters = map[string]bridge.Parameter{"file": {"type": "file", "id": "167", "name": m.Text, "mimetype": "audio/mpeg"}}
	m.Attachments = []bridge.Attachment{{Type: "file", ID: "167", Name: m.Text, MIMEType: "audio/mpeg"}}
	return m
}

// wav returns a recording of silence.
func wav(length time.Duration) []byte {
	b := append([]byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00"), make([]byte, 12)...)
	binary.LittleEndian.PutUint32(b[24:], 8000)
	binary.LittleEndian.PutUint32(b[28:], 8000)
	b = append(b, "data"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(8000*length.Seconds()))
	return append(b, make([]byte, int(8000*length.Seconds()))...)
}

// mp3 returns frames of silence: MPEG 1, layer III, 32 kbit/s, 48 kHz, of 24 ms each.
func mp3(frames int) []byte {
	frame := append([]byte{0xff, 0xfb, 0x14, 0xc4}, make([]byte, 92)...)
	return []byte(strings.Repeat(string(frame), frames))
}

func TestVoiceMessageIsHeard(t *testing.T) {
	s := newSpeech(t)
	var got bridge.Message
	r := newRouted(t, settings(func(h *config.Handler) { h.Quote = true }), func(_ context.Context, m bridge.Message) ([]bridge.Reply, error) {
		got = m
		return []bridge.Reply{{Text: "It is on."}}, nil
	})
	r.Ear = s.ear(oneFile{content: mp3(10)})
	if most, asked := r.Queue(voiceMessage()); !asked || most == 0 {
		t.Error("the message is not taken")
	}
	replies, err := r.Handle(t.Context(), voiceMessage())
	if err != nil {
		t.Fatal(err)
	}
	want(t, replies, `It is on. to "7" in ""`, `no 👂 to "7" in "k"`)
	want(t, r.acks, `👂 to "7" in "k"`)
	if got.Text != "Turn on the light." || got.Voice == nil || got.Voice.Duration != 2500*time.Millisecond || got.Voice.Language != "english" || len(got.Attachments) != 0 {
		t.Errorf("the handler got %+v", got)
	}
	d, err := json.Marshal(handler.NewDocument(got))
	if err != nil || !strings.Contains(string(d), `"voice":{"duration":2.5,"language":"english"}`) {
		t.Errorf("document %s %v", d, err)
	}
	if asked := s.asked[0]; asked != (spoken{"whisper-1", "en", "verbose_json", "recording.mp3", "Bearer sesame", string(mp3(10))}) {
		t.Errorf("asked %+v", asked)
	}
}

// A name that is spoken calls the bot; a prefix is not spoken.
func TestVoiceMessageIsForTheBot(t *testing.T) {
	s := newSpeech(t)
	for _, c := range []struct {
		trigger config.Trigger
		says    string
		want    string
		heard   int
	}{
		{config.OnMention, "Perch, what time is it?", "what time is it?", 1},
		{config.OnMention, "Bob, what time is it?", "", 1},
		{config.OnPrefix, "!ping", "", 0},
	} {
		s.asked, s.answer = nil, `{"text":"`+c.says+`"}`
		r := newRouted(t, settings(func(h *config.Handler) { h.Trigger = c.trigger }), func(_ context.Context, m bridge.Message) ([]bridge.Reply, error) {
			return []bridge.Reply{{Text: m.Text}}, nil
		})
		r.Ear = s.ear(oneFile{content: mp3(10)})
		if _, asked := r.Queue(voiceMessage()); asked != (c.heard > 0) {
			t.Errorf("%s %q: taken %v", c.trigger, c.says, asked)
		}
		replies, err := r.Handle(t.Context(), voiceMessage())
		got := ""
		if len(replies) == 1 {
			got = replies[0].Text
		}
		if err != nil || got != c.want || len(s.asked) != c.heard || len(r.acks) != 0 {
			t.Errorf("%s %q: answered %+v %v, heard %d, acknowledged %v", c.trigger, c.says, replies, err, len(s.asked), r.acks)
		}
	}
}

func TestVoiceMessageIsNotUnderstood(t *testing.T) {
	s := newSpeech(t)
	gone := &bridge.Error{Code: bridge.CodeNotFound, Text: bridge.Say("gone")}
	for _, c := range []struct {
		name   string
		file   oneFile
		status int
		answer string
		says   string
		heard  int
	}{
		{"too long", oneFile{content: wav(16 * time.Minute)}, 200, `{"text":"x"}`, "too long", 0},
		{"too long in MP3", oneFile{content: mp3(16 * 60 * 42)}, 200, `{"text":"x"}`, "too long", 0},
		{"too big", oneFile{content: make([]byte, 26<<20)}, 200, `{"text":"x"}`, "too long", 0},
		{"empty", oneFile{}, 200, `{"text":"x"}`, "no words", 0},
		{"gone", oneFile{err: gone}, 200, `{"text":"x"}`, "could not get", 0},
		{"silent", oneFile{content: mp3(9)}, 200, `{"text":" [BLANK_AUDIO]\n"}`, "no words", 1},
		{"key refused", oneFile{content: mp3(9)}, 401, `{"error":{"message":"wrong key sesame"}}`, "cannot hear", 1},
		{"busy", oneFile{content: mp3(9)}, 503, `loading`, "cannot hear", 1},
		{"no answer of ours", oneFile{content: []byte("RIFF....WAVE")}, 200, `<html>hi</html>`, "cannot hear", -1},
	} {
		s.mu.Lock()
		s.asked, s.status, s.answer = nil, c.status, c.answer
		s.mu.Unlock()
		r := newRouted(t, settings(func(h *config.Handler) { h.OnError = "Sorry." }), nil)
		r.Ear = s.ear(c.file)
		replies, err := r.Handle(t.Context(), voiceMessage())
		if err == nil || len(replies) != 2 || !strings.Contains(replies[0].Text, c.says) || !replies[1].Remove || c.heard >= 0 && len(s.asked) != c.heard {
			t.Errorf("%s: answered %v, %v, asked %d times", c.name, shown(replies), err, len(s.asked))
		}
		if err != nil && strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: the error has the key in it: %v", c.name, err)
		}
	}
}

// Servers that refuse the form of the answer are asked for the plain one.
func TestTranscriptInPlainForm(t *testing.T) {
	s := newSpeech(t)
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("response_format") != "json" {
			http.Error(w, `{"error":{"message":"response_format 'verbose_json' is not compatible with model"}}`, http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, `{"text":"hello"}`)
	}))
	t.Cleanup(plain.Close)
	s.URL = plain.URL
	m := voiceMessage()
	heard, err := s.ear(oneFile{content: mp3(100)}).Hear(t.Context(), m, m.Attachments[0])
	if err != nil || heard.Text != "hello" || heard.Voice.Language != "en" || heard.Voice.Duration != 2400*time.Millisecond {
		t.Errorf("heard %+v %v", heard, err)
	}
}

func TestStopWhileHearing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		cancel()
		<-r.Context().Done()
	}))
	t.Cleanup(slow.Close)
	s := &speech{Server: slow}
	r := newRouted(t, settings(), nil)
	r.Ear = s.ear(oneFile{content: mp3(9)})
	replies, err := r.Handle(ctx, voiceMessage())
	if !errors.Is(err, context.Canceled) || replies != nil {
		t.Errorf("answered %v %v", shown(replies), err)
	}
}

func TestEarDiagnoses(t *testing.T) {
	s := newSpeech(t)
	s.answer = `{"text":""}`
	if got := s.ear(nil).Diagnose(t.Context()); got.Status != bridge.StatusOK {
		t.Errorf("%+v", got)
	}
	s.status = http.StatusUnauthorized
	if got := s.ear(nil).Diagnose(t.Context()); got.Status != bridge.StatusFail || !strings.Contains(got.Fix.String(), "perch secret set voice_token") {
		t.Errorf("%+v", got)
	}
	s.Close()
	if got := s.ear(nil).Diagnose(t.Context()); got.Status != bridge.StatusFail || !strings.Contains(got.Fix.String(), "base_url") {
		t.Errorf("%+v", got)
	}
}
