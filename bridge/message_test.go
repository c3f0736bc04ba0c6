package bridge_test

import (
	"testing"

	"perch/bridge"
)

func TestRecording(t *testing.T) {
	voice := bridge.Attachment{Type: "file", ID: "1", MIMEType: "audio/wav"}
	file := map[string]bridge.Parameter{"file": {"type": "file", "id": "1"}}
	for _, c := range []struct {
		name string
		m    bridge.Message
		want bool
	}{
		{"voice", bridge.Message{RawText: "{file}", Parameters: file, Attachments: []bridge.Attachment{voice}}, true},
		{"with a caption", bridge.Message{RawText: "listen", Parameters: file, Attachments: []bridge.Attachment{voice}}, false},
		{"of another name", bridge.Message{RawText: "{other}", Parameters: file, Attachments: []bridge.Attachment{voice}}, false},
		{"a picture", bridge.Message{RawText: "{file}", Parameters: file, Attachments: []bridge.Attachment{{Type: "file", ID: "1", MIMEType: "image/png"}}}, false},
		{"two", bridge.Message{RawText: "{file}", Parameters: file, Attachments: []bridge.Attachment{voice, voice}}, false},
		{"text", bridge.Message{RawText: "{file}"}, false},
	} {
		if _, got := c.m.Recording(); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
