package handler_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
	"perch/bridge/handler"
	"perch/bridge/talk"
)

// decoded returns a recorded webhook as a message.
func decoded(t *testing.T, recording string) bridge.Message {
	t.Helper()
	data, err := os.ReadFile(recording)
	if err != nil {
		t.Fatal(err)
	}
	var webhook struct{ Body string }
	if err := json.Unmarshal(data, &webhook); err != nil {
		t.Fatal(err)
	}
	m, err := talk.Decode([]byte(webhook.Body), talk.Origin{
		Server:     "https://cloud.example.com",
		Nonce:      "a nonce is no program's business",
		ReceivedAt: time.Date(2026, 11, 22, 18, 30, 5, 250_000_000, time.FixedZone("CET", 3600)),
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Other people's programs read these files: a difference needs a new version.
func TestDocumentsOfRecordings(t *testing.T) {
	documents, err := filepath.Glob("testdata/documents/*.json")
	if err != nil || len(documents) == 0 {
		t.Fatal("no documents", err)
	}
	for _, golden := range documents {
		name := filepath.Base(golden)
		t.Run(name, func(t *testing.T) {
			got, err := json.MarshalIndent(handler.NewDocument(decoded(t, "testdata/webhooks/"+name)), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("(-%s +got):\n%s", golden, diff)
			}
		})
	}
}

// The fields that stand in the doc comment and in docs/handlers/README.md.
func TestDocumentHasEveryField(t *testing.T) {
	const (
		post  = "attachments,author.id,author.name,author.type,id,markdown,raw_text,reaction,received_at,room.name,room.token,text,thread,version,voice"
		share = "link,mime_type,name,path,size"
	)
	empty := fields(t, handler.NewDocument(bridge.Message{}))
	if want := strings.Replace(post, "id,markdown", "id,in_reply_to,markdown", 1); empty != want {
		t.Errorf("of an empty message:\n%s, want\n%s", empty, want)
	}
	full := handler.NewDocument(bridge.Message{
		Attachments: []bridge.Attachment{{Path: "the sender's"}}, InReplyTo: &bridge.Message{},
	})
	if got := fields(t, *full.InReplyTo); got != post {
		t.Errorf("of what it quotes:\n%s, want\n%s", got, post)
	}
	if got := fields(t, full.Attachments[0]); got != share {
		t.Errorf("of an attachment:\n%s, want\n%s", got, share)
	}
	if full.Attachments[0].Path != "" {
		t.Error("the path is the sender's, where it must be a file here")
	}
	data, err := json.Marshal(handler.NewDocument(bridge.Message{InReplyTo: &bridge.Message{}}))
	if err != nil || strings.Count(string(data), `"attachments":[]`) != 2 || strings.Count(string(data), `"received_at":null`) != 2 || strings.Count(string(data), `"thread":null`) != 2 {
		t.Errorf("%s %v", data, err)
	}
}

// fields returns the names of the fields of v as JSON, and of the objects in it.
func fields(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if err := json.Unmarshal(data, &object); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name, value := range object {
		if inner, ok := value.(map[string]any); ok {
			for innerName := range inner {
				names = append(names, name+"."+innerName)
			}
			continue
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

func TestDocumentNamesTheThread(t *testing.T) {
	data, err := json.Marshal(handler.NewDocument(bridge.Message{Thread: bridge.Thread{ID: "7", Title: "Lunch"}}))
	if err != nil || !strings.Contains(string(data), `"thread":{"id":"7","title":"Lunch"}`) {
		t.Errorf("%s %v", data, err)
	}
}

func TestDocumentSurvivesJSON(t *testing.T) {
	want := handler.NewDocument(decoded(t, "testdata/webhooks/07_message_reply.json"))
	want.Text = "\"; rm -rf ~ #\x00\u202e\u2028</script>{{.}}"
	data, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got handler.Document
	if err := json.Unmarshal(data, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v\n%s", err, cmp.Diff(want, got))
	}
}
