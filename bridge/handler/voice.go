package handler

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"perch/bridge"
)

const (
	// maxRecording bounds a voice message, in bytes: OpenAI takes no more.
	maxRecording = 25 << 20
	// maxSpeech bounds its length, where that can be told before it is heard.
	maxSpeech = 15 * time.Minute
	// hearTimeout bounds hearing one, from its turn on.
	hearTimeout = 5 * time.Minute
	// maxTranscript bounds what is read of the server's answer, in bytes.
	maxTranscript = 1 << 20
	// listening stands on a voice message while it is heard, where the handler
	// has no emoji of its own.
	listening = "👂"
)

// Ear hears voice messages, by a server that transcribes as OpenAI does. The
// recording is in memory alone, and gone when it was heard.
type Ear struct {
	BaseURL   string        // with /v1
	Model     string        // as the server has it
	Language  string        // that people speak; empty: the server finds out
	Key       bridge.Secret // sent as Authorization: Bearer; empty: none
	Files     Fetcher
	RootCAs   *x509.CertPool // who is trusted to name servers; nil: those that the system trusts
	UserAgent string         // empty: that of Go

	turn chan struct{} // one recording is heard at a time
}

// NewEar returns v, ready to Hear.
func NewEar(v Ear) *Ear {
	v.turn = make(chan struct{}, 1)
	return &v
}

// unheard is why a voice message was not understood, and what the room is told.
type unheard struct {
	error

	said string
}

func (u unheard) Unwrap() error { return u.error }

// Hear returns m as if what is said in its recording had been written. The error is
// an unheard one, unless ctx is done.
func (v *Ear) Hear(ctx context.Context, m bridge.Message, recording bridge.Attachment) (bridge.Message, error) {
	select {
	case v.turn <- struct{}{}:
		defer func() { <-v.turn }()
	case <-ctx.Done():
		return m, ctx.Err()
	}
	timed, cancel := context.WithTimeout(ctx, hearTimeout)
	defer cancel()
	content, err := v.Files.FetchFile(timed, m, recording, maxRecording)
	if ctx.Err() != nil {
		return m, ctx.Err()
	}
	length := lengthOf(content)
	switch {
	case bridge.CodeOf(err) == bridge.CodeRejected, length > maxSpeech:
		return m, unheard{&bridge.Error{
			Code:  bridge.CodeRejected,
			Text:  bridge.Say("The voice message is too long: more than %[1]s minutes or %[2]s MiB are not heard", strconv.Itoa(int(maxSpeech.Minutes())), strconv.Itoa(maxRecording>>20)),
			Cause: err,
		}, "That voice message is too long for me. Please say it in less than " + strconv.Itoa(int(maxSpeech.Minutes())) + " minutes, or write it."}
	case err != nil:
		return m, unheard{err, "I could not get that voice message. Please write it."}
	case len(content) == 0:
		return m, nothingSaid()
	}
	heard, err := v.transcribe(timed, recording.MIMEType, content)
	switch {
	case ctx.Err() != nil:
		return m, ctx.Err()
	case err != nil:
		return m, unheard{err, "I cannot hear voice messages at the moment. Please write it."}
	case heard.Text == "":
		return m, nothingSaid()
	}
	if heard.Duration == 0 {
		heard.Duration = length.Seconds()
	}
	m.Text, m.RawText, m.Markdown, m.Parameters, m.Attachments = heard.Text, heard.Text, false, nil, nil
	m.Voice = &bridge.Voice{Duration: time.Duration(heard.Duration * float64(time.Second)), Language: heard.Language}
	return m, nil
}

func nothingSaid() error {
	return unheard{
		&bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("Nothing was heard in the voice message")},
		"I heard no words in that voice message. Please say it again, or write it.",
	}
}

// transcript is what a server answers.
type transcript struct {
	Text     string  `json:"text"`
	Duration float64 `json:"duration"` // in seconds; 0: not told
	Language string  `json:"language"`
}

// transcribe has the server hear a recording. Servers differ in the form that
// their answer can have, and in the recordings that they can read: it is asked
// again where it is one of these that it refuses.
func (v *Ear) transcribe(ctx context.Context, mimeType string, content []byte) (transcript, error) {
	e, err := v.endpoint()
	if err != nil {
		return transcript{}, err
	}
	detailed, converted := true, false
	for {
		body, kind := v.form(mimeType, content, detailed)
		header := http.Header{"Content-Type": {kind}, "Accept": {"application/json"}}
		if v.UserAgent != "" {
			header.Set("User-Agent", v.UserAgent)
		}
		if !v.Key.IsZero() {
			header.Set("Authorization", "Bearer "+v.Key.Reveal())
		}
		a, err := e.post(ctx, header, body, maxTranscript)
		if err != nil {
			return transcript{}, v.unreachable(ctx, e, err)
		}
		if !v.Key.IsZero() {
			a.body = bytes.ReplaceAll(a.body, []byte(v.Key.Reveal()), []byte(bridge.Mask))
		}
		heard, failure := v.read(e, a)
		if failure == nil {
			return heard, nil
		}
		if failure.Code != bridge.CodeInvalid {
			return transcript{}, failure
		}
		if detailed && bytes.Contains(a.body, []byte("response_format")) {
			detailed = false
			continue
		}
		if converted || isSpeechWAV(content) {
			return transcript{}, failure
		}
		wav, err := toWAV(ctx, content)
		if err != nil {
			failure.Hint = bridge.Say("If it reads no recordings of the kind %s, install ffmpeg on this machine: then they are converted.", mimeType)
			failure.Cause = errors.Join(failure.Cause, err)
			return transcript{}, failure
		}
		mimeType, content, converted = "audio/wav", wav, true
	}
}

// read returns what an answer says. CodeInvalid means that the server was
// reached and did not like what it got.
func (v *Ear) read(e endpoint, a response) (transcript, *bridge.Error) {
	host := e.url.Host
	switch {
	case a.status/100 != 2:
		failure := e.refused(a)
		switch failure.Code {
		case bridge.CodeUnauthorized:
			failure.Hint = bridge.Say("Give Perch the key that it asks for: %s").With(v.Key.HowTo(bridge.VoiceToken))
		case bridge.CodeNotFound:
			failure.Text = bridge.Say("%[1]s has no speech model at the path in base_url, or not the model %[2]s", host, v.Model)
			failure.Hint = bridge.Say("Correct base_url and model in [voice]. With whisper.cpp, start its server with: --inference-path /v1/audio/transcriptions")
		case bridge.CodeUnavailable:
			if a.status == http.StatusInternalServerError { // what some say of a recording that they cannot read
				failure.Code = bridge.CodeInvalid
			}
		default:
		}
		return transcript{}, failure
	case a.err != nil:
		return transcript{}, e.unreachable(a.err)
	}
	var heard struct {
		transcript

		Error json.RawMessage `json:"error"` // whisper.cpp tells of it with status 200
		Text  *string         `json:"text"`
	}
	if err := json.Unmarshal(a.body, &heard); err != nil || heard.Text == nil {
		failure := &bridge.Error{
			Code:  bridge.CodeInvalid,
			Text:  bridge.Say("%s did not answer with what it heard", host),
			Hint:  bridge.Say("Is base_url in [voice] that of a server that transcribes as OpenAI does?"),
			Cause: fmt.Errorf("status %d with %q", a.status, start(a.body)),
		}
		if len(heard.Error) > 0 {
			failure.Text = bridge.Say("%s could not read the recording", host)
			failure.Hint = bridge.Text{}
		}
		return transcript{}, failure
	}
	t := heard.transcript
	t.Text = words(*heard.Text)
	t.Duration = min(max(t.Duration, 0), (24 * time.Hour).Seconds())
	t.Language = start([]byte(bridge.CleanText(t.Language)))
	if t.Language == "" {
		t.Language = v.Language
	}
	return t, nil
}

// words returns what was said, without what models write where nothing was:
// "[BLANK_AUDIO]", "(wind blowing)".
func words(text string) string {
	text = strings.TrimSpace(bridge.CleanText(text))
	if regexp.MustCompile(`^(?:[\[(*][^\[\]()*]*[\])*][\s.]*)*$`).MatchString(text) {
		return ""
	}
	return text
}

// form returns the request for a recording, and its content type. The file's
// name is not that which a person gave it.
func (v *Ear) form(mimeType string, content []byte, detailed bool) (body []byte, kind string) {
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	fields := [][2]string{{"model", v.Model}, {"response_format", "json"}}
	if detailed {
		fields[1][1] = "verbose_json"
	}
	if v.Language != "" {
		fields = append(fields, [2]string{"language", v.Language})
	}
	for _, f := range fields { // writing to a buffer never fails
		_ = form.WriteField(f[0], f[1])
	}
	name, mimeType := recordingName(mimeType)
	part, _ := form.CreatePart(map[string][]string{
		"Content-Disposition": {`form-data; name="file"; filename="` + name + `"`}, "Content-Type": {mimeType},
	})
	_, _ = part.Write(content)
	_ = form.Close()
	return b.Bytes(), form.FormDataContentType()
}

// recordingName returns a name by which servers know the kind of a recording,
// and that kind.
func recordingName(mimeType string) (name, kind string) {
	kind, _, err := mime.ParseMediaType(mimeType)
	endings := map[string]string{
		"audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/vnd.wave": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3",
		"audio/ogg": "ogg", "audio/opus": "ogg", "audio/mp4": "m4a", "audio/m4a": "m4a", "audio/x-m4a": "m4a", "audio/aac": "m4a",
		"audio/webm": "webm", "audio/flac": "flac", "audio/x-flac": "flac",
	}
	if ending, ok := endings[kind]; err == nil && ok {
		return "recording." + ending, kind
	}
	return "recording.mp3", "application/octet-stream"
}

func (v *Ear) endpoint() (endpoint, error) {
	u, err := url.Parse(strings.TrimSpace(v.BaseURL))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return endpoint{}, &bridge.Error{
			Code: bridge.CodeInvalid,
			Text: bridge.Say("base_url in [voice] is not the address of a server"),
			Hint: bridge.Say("Set it to an address that begins with http:// or https://, such as %s", `base_url = "http://127.0.0.1:8080/v1"`),
		}
	}
	u.Path = path.Join("/", u.Path, "audio/transcriptions")
	return endpoint{url: u, key: "base_url", table: "[voice]", tls: &tls.Config{RootCAs: v.RootCAs, MinVersion: tls.VersionTLS12}}, nil
}

func (v *Ear) unreachable(ctx context.Context, e endpoint, cause error) error {
	if failure, ok := errors.AsType[*bridge.Error](cause); ok && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		failure.Hint = bridge.Say("%[1]s had %[2]s for it. A smaller model is faster.", e.url.Host, hearTimeout.String())
	}
	return cause
}

// Diagnose has the server hear a second of silence.
func (v *Ear) Diagnose(ctx context.Context) bridge.Result {
	why := bridge.Say("Voice messages are not heard until it works.")
	e, err := v.endpoint()
	if err != nil {
		return bridge.FailedBy(err, why)
	}
	if _, err := v.transcribe(ctx, "audio/wav", silence(time.Second)); err != nil {
		return bridge.FailedBy(err, why)
	}
	return bridge.Passed(bridge.Say("%[1]s hears with the model %[2]s", e.url.Host, v.Model))
}

const speechRate = 16000 // samples a second, which all models of speech take

// silence returns a recording of nothing.
func silence(length time.Duration) []byte {
	samples := int(length.Seconds() * speechRate)
	wav := make([]byte, 44+2*samples)
	copy(wav, "RIFF\x00\x00\x00\x00WAVEfmt ")
	binary.LittleEndian.PutUint32(wav[4:], uint32(len(wav)-8)) //nolint:gosec // a few seconds
	binary.LittleEndian.PutUint32(wav[16:], 16)
	binary.LittleEndian.PutUint16(wav[20:], 1) // PCM
	binary.LittleEndian.PutUint16(wav[22:], 1) // mono
	binary.LittleEndian.PutUint32(wav[24:], speechRate)
	binary.LittleEndian.PutUint32(wav[28:], 2*speechRate)
	binary.LittleEndian.PutUint16(wav[32:], 2)
	binary.LittleEndian.PutUint16(wav[34:], 16)
	copy(wav[36:], "data")
	binary.LittleEndian.PutUint32(wav[40:], uint32(2*samples)) //nolint:gosec // a few seconds
	return wav
}

// wavFormat is what the header of a WAV file says of its sound.
type wavFormat struct {
	coding, channels  uint16
	rate, bytesSecond uint32
	data              int // bytes of sound
}

// readWAV reads the header of a WAV file.
func readWAV(content []byte) (f wavFormat, ok bool) {
	if len(content) < 12 || string(content[:4]) != "RIFF" || string(content[8:12]) != "WAVE" {
		return f, false
	}
	for rest := content[12:]; len(rest) >= 8; {
		name, size := string(rest[:4]), int(binary.LittleEndian.Uint32(rest[4:]))
		rest = rest[8:]
		switch {
		case name == "fmt " && len(rest) >= 16:
			f.coding, f.channels = binary.LittleEndian.Uint16(rest), binary.LittleEndian.Uint16(rest[2:])
			f.rate, f.bytesSecond = binary.LittleEndian.Uint32(rest[4:]), binary.LittleEndian.Uint32(rest[8:])
		case name == "data":
			f.data = min(size, len(rest)) // who streams writes no size
			return f, f.bytesSecond > 0
		}
		rest = rest[min(size+size%2, len(rest)):]
	}
	return f, false
}

// isSpeechWAV reports whether a recording is in the form that toWAV makes.
func isSpeechWAV(content []byte) bool {
	f, ok := readWAV(content)
	return ok && f.coding == 1 && f.channels == 1 && f.rate == speechRate
}

// lengthOf returns how long a recording is, of WAV and MP3, in which Talk
// records; 0 if it cannot be told.
func lengthOf(content []byte) time.Duration {
	if f, ok := readWAV(content); ok {
		return time.Duration(float64(f.data) / float64(f.bytesSecond) * float64(time.Second))
	}
	return lengthOfMP3(content)
}

// lengthOfMP3 adds up the frames of an MP3 file; 0 if it is none.
func lengthOfMP3(content []byte) (length time.Duration) {
	if len(content) > 10 && string(content[:3]) == "ID3" { // a tag, whose size has seven bits in a byte
		size := 0
		for _, b := range content[6:10] {
			size = size<<7 | int(b&0x7f)
		}
		content = content[min(10+size, len(content)):]
	}
	kbps := map[bool][]int{ // by whether it is MPEG 1, for layer III
		true:  {0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320},
		false: {0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},
	}
	for len(content) >= 4 && content[0] == 0xff && content[1]&0xe6 == 0xe2 {
		version, bitrate, rate, padding := content[1]>>3&3, int(content[2]>>4), content[2]>>2&3, int(content[2]>>1&1)
		if version == 1 || bitrate == 0 || bitrate == 15 || rate == 3 {
			break
		}
		hertz, samples := []int{44100, 48000, 32000}[rate], 1152
		if version != 3 { // MPEG 2, 2.5
			hertz, samples = hertz/2, 576
			if version == 0 {
				hertz /= 2
			}
		}
		length += time.Duration(samples) * time.Second / time.Duration(hertz)
		content = content[min(samples/8*kbps[version == 3][bitrate]*1000/hertz+padding, len(content)):]
	}
	return length
}

// toWAV converts a recording with ffmpeg. What a person recorded decides about
// nothing but the sound: it comes through a pipe, and nothing else is read.
func toWAV(ctx context.Context, content []byte) ([]byte, error) {
	program, err := exec.LookPath("ffmpeg")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, "-nostdin", "-loglevel", "error", "-protocol_whitelist", "pipe", "-i", "pipe:0",
		"-vn", "-ac", "1", "-ar", strconv.Itoa(speechRate), "-t", strconv.Itoa(int(maxSpeech.Seconds())), "-f", "wav", "pipe:1")
	cmd.Env = inherit("PATH", "HOME", "SystemRoot")
	cmd.Stdin = bytes.NewReader(content)
	cmd.WaitDelay = exitGrace
	var out bytes.Buffer
	var last tail
	cmd.Stdout, cmd.Stderr = &out, &last // maxSpeech bounds it
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("ffmpeg: %w: %q", err, last.data)
	}
	return slices.Clip(out.Bytes()), nil
}
