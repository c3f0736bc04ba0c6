package notify

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxFields bounds the parts of a form.
const maxFields = 100

// message is what a body says.
type message struct {
	text   string
	silent bool
}

var errNoText = errors.New(`there is no text in it; send {"text": "…"} as application/json, or the text alone as text/plain`)

// read finds the message in a body: text, a form, or JSON as one of the programs
// that docs/notify.md names sends it. The query can say silent for those whose
// body cannot.
func read(r *http.Request, body []byte) (m message, err error) {
	kind, params, unclear := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if unclear != nil {
		kind = "text/plain"
	}
	trimmed := bytes.TrimSpace(body)
	object := bytes.HasPrefix(trimmed, []byte("{"))
	switch {
	case kind == "multipart/form-data":
		var form url.Values
		if form, err = readParts(body, params["boundary"]); err == nil {
			m, err = fromForm(r.Header, form)
		}
	case kind == "application/x-www-form-urlencoded" && !object:
		form, bad := url.ParseQuery(string(body))
		if m, err = fromForm(r.Header, form); errors.Is(err, errNoText) && (bad != nil || !bytes.Contains(body, []byte("="))) {
			m, err = message{text: string(trimmed)}, nil // curl says that of every text
		}
	case kind == "text/plain" || !object && !strings.HasSuffix(kind, "json"):
		m.text = string(trimmed)
	default:
		m, err = fromJSON(r.Header, trimmed)
	}
	if err != nil {
		return message{}, err
	}
	if query := r.URL.Query(); query.Has("silent") {
		m.silent = isTrue(query.Get("silent")) || query.Get("silent") == ""
	}
	if m.text = strings.TrimSpace(m.text); m.text == "" {
		return message{}, errNoText
	}
	return m, nil
}

func readParts(body []byte, boundary string) (url.Values, error) {
	form := url.Values{}
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for range maxFields {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return form, nil
		}
		if err != nil {
			return nil, errors.New("the form cannot be read")
		}
		value, err := io.ReadAll(part) // of a body that is bounded
		if err != nil {
			return nil, errors.New("the form cannot be read")
		}
		if part.FileName() == "" {
			form.Add(part.FormName(), string(value))
		}
	}
	return nil, errors.New("the form has too many fields")
}

// fromForm reads the fields of a form. JSON in payload is what GitHub sends, in
// data what Uptime Kuma does.
func fromForm(header http.Header, form url.Values) (message, error) {
	for _, name := range []string{"payload", "data"} {
		if text := strings.TrimSpace(form.Get(name)); strings.HasPrefix(text, "{") {
			return fromJSON(header, []byte(text))
		}
	}
	m := message{silent: isTrue(form.Get("silent"))}
	for _, name := range []string{"text", "message", "msg"} {
		if text := form.Get(name); text != "" {
			m.text = titled(form.Get("title"), text)
			return m, nil
		}
	}
	return m, errNoText
}

// fromJSON reads an object: of Perch's own form, or of a program that has one.
func fromJSON(header http.Header, body []byte) (message, error) {
	var fields struct {
		Text    text `json:"text"`    // ours, and Slack's
		Message text `json:"message"` // Home Assistant, Gotify, ntfy
		Title   text `json:"title"`
		Msg     text `json:"msg"` // Uptime Kuma
		Silent  flag `json:"silent"`
		alerts
	}
	if event := eventOf(header); event != "" {
		text, err := fromForge(event, body)
		return message{text: text}, err
	}
	if err := json.Unmarshal(body, &fields); err != nil {
		return message{}, errors.New("the JSON cannot be read: " + err.Error())
	}
	m := message{silent: bool(fields.Silent)}
	switch {
	case len(fields.Alerts) > 0:
		m.text = fields.render(string(fields.Title))
	case fields.Text != "":
		m.text = string(fields.Text)
	case fields.Message != "":
		m.text = titled(string(fields.Title), string(fields.Message))
	case fields.Msg != "":
		m.text = string(fields.Msg)
	default:
		return message{}, errNoText
	}
	return m, nil
}

// titled returns a text under its title.
func titled(title, text string) string {
	if title = oneLine(title); title == "" {
		return text
	}
	return "**" + title + "**\n" + text
}

// text is a string of JSON; what is no string counts as none, so that a field
// which a program uses otherwise does no harm.
type text string

// UnmarshalJSON implements json.Unmarshaler.
func (t *text) UnmarshalJSON(data []byte) error {
	var s string
	if json.Unmarshal(data, &s) == nil {
		*t = text(s)
	}
	return nil
}

// flag is true, "true" or 1 in JSON; templates write all of them.
type flag bool

// UnmarshalJSON implements json.Unmarshaler.
func (f *flag) UnmarshalJSON(data []byte) error {
	*f = flag(isTrue(strings.Trim(string(data), `"`)))
	return nil
}

func isTrue(s string) bool {
	yes, err := strconv.ParseBool(strings.ToLower(s))
	return err == nil && yes
}

// oneLine returns a text without what would break a line or format what follows.
func oneLine(s string) string {
	const most = 300
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > most {
		s = string(runes[:most]) + "…"
	}
	return strings.ReplaceAll(s, "**", "")
}
