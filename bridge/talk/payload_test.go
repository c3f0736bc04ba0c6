package talk_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
	"perch/bridge/talk"
)

const server = "https://cloud.example.com"

func origin() talk.Origin {
	return talk.Origin{
		Server:     server,
		Nonce:      "a-random",
		Backend:    "http://127.0.0.1:8780/",
		ReceivedAt: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
	}
}

func decode(t *testing.T, body string) bridge.Message {
	t.Helper()
	m, err := talk.Decode([]byte(body), origin())
	if err != nil {
		t.Fatalf("Decode: %v", err)
	}
	return m
}

// TestRecordedWebhooks compares every recording with its golden file, which
// PERCH_GOLDEN=update rewrites.
func TestRecordedWebhooks(t *testing.T) {
	for _, r := range webhooks(t) {
		t.Run(r.Name, func(t *testing.T) {
			o := origin()
			o.Nonce, o.Backend = r.random(), r.Headers["X-Nextcloud-Talk-Backend"]
			m, err := talk.Decode([]byte(r.Body), o)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			encoder := json.NewEncoder(&got)
			encoder.SetEscapeHTML(false)
			encoder.SetIndent("", "  ")
			if err := encoder.Encode(m); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", "golden", r.Name+".json")
			if os.Getenv("PERCH_GOLDEN") == "update" {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("differs from %s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

// TestRecordedKinds says in a line each what the recordings mean.
func TestRecordedKinds(t *testing.T) {
	const bot = "bots/bot-8291fbb6af7c26a5ce699067d0fdab93c0675871"
	tests := []struct {
		name   string
		kind   bridge.Kind
		author string
		id     string
		event  string
		text   string
	}{
		{"01_bot_joined", bridge.KindJoined, bot, "", "", ""},
		{"02_message_mention", bridge.KindChat, "users/alice", "3", "", "hello **bot** 👋 ünïcode @bob please look"},
		{"03_message_from_app_token_user", bridge.KindChat, "users/alice", "4", "", "posted with bearer"},
		{"04_reaction_added_by_bot", bridge.KindReaction, "users/alice", "3", "👀", "hello **bot** 👋 ünïcode @bob please look"},
		{"05_reaction_revoked_by_bot", bridge.KindSystem, bot, "8", "reaction_revoked", "Deleted user deleted a reaction"},
		{"06_reaction_removed_by_bot", bridge.KindReactionRemoved, "users/alice", "3", "👀", "hello **bot** 👋 ünïcode @bob please look"},
		{"07_message_reply", bridge.KindChat, "users/bob", "10", "", "quoting you, alice"},
		{"08_reaction_added", bridge.KindReaction, "users/alice", "3", "👍", "hello **bot** 👋 ünïcode @bob please look"},
		{"09_reaction_revoked_activity", bridge.KindSystem, "users/bob", "12", "reaction_revoked", "bob deleted a reaction"},
		{"10_reaction_removed", bridge.KindReactionRemoved, "users/alice", "3", "👍", "hello **bot** 👋 ünïcode @bob please look"},
		{"11_conversation_renamed", bridge.KindSystem, "users/alice", "13", "conversation_renamed", `alice renamed the conversation from "Kitchen" to "Küche & <b>Co</b>"`},
		{"12_message_mention_all", bridge.KindChat, "users/alice", "14", "", "@all dinner at 7 @bob"},
		{"13_message_silent", bridge.KindChat, "users/alice", "15", "", "psst"},
		{"14_file_with_caption", bridge.KindChat, "users/alice", "16", "", "the list for @bob"},
		{"15_file", bridge.KindChat, "users/alice", "17", "", "serif.ttf"},
		{"16_poll", bridge.KindChat, "users/alice", "18", "", "Pizza?"},
		{"17_location", bridge.KindChat, "users/alice", "19", "", "Berlin"},
		{"18_message_plain", bridge.KindChat, "users/alice", "20", "", "typo mesage"},
		{"19_message_edited", bridge.KindSystem, "users/alice", "21", "message_edited", "alice edited a message"},
		{"20_message_deleted", bridge.KindSystem, "users/alice", "22", "message_deleted", "alice deleted a message"},
		{"21_message_multiline_markdown", bridge.KindChat, "users/alice", "23", "", "line1\nline2 \"quoted\" \\back\\slash {not-a-param}\n```\ncode\n```"},
		{"22_guests_allowed", bridge.KindSystem, "users/alice", "24", "guests_allowed", "alice allowed guests"},
		{"23_message_from_guest", bridge.KindChat, "guests/3fb1942f3653642cdebbc39dde4faceacb6099b9", "25", "", "hi, I am a guest"},
		{"24_bot_joined_one_to_one", bridge.KindJoined, bot, "", "", ""},
		{"25_bot_left", bridge.KindLeft, bot, "", "", ""},
		{"26_message_reply_of_app_token_user", bridge.KindChat, "users/owl", "1273", "", "I have them"},
		{"27_file_image_caption_mention", bridge.KindChat, "users/bob", "1274", "", "the shelf, @Owl"},
		{"28_voice_message", bridge.KindChat, "users/bob", "1275", "", "voice-3eff2c.mp3"},
		{"29_message_edited_by_author", bridge.KindSystem, "users/alice", "1279", "message_edited", "alice edited a message"},
		{"30_message_deleted_by_author", bridge.KindSystem, "users/bob", "1280", "message_deleted", "Bob deleted a message"},
		{"31_user_added", bridge.KindSystem, "users/alice", "1282", "user_added", "alice added Carol"},
		{"32_user_left", bridge.KindSystem, "users/carol", "1283", "user_removed", "Carol left the conversation"},
		{"33_read_only", bridge.KindSystem, "users/alice", "1357", "read_only", "alice locked the conversation"},
		{"34_file_in_reply_by_app_token_user", bridge.KindChat, "users/owl", "1362", "", "a **picture** for @Bob"},
		{"35_file_shared_again_answered_403", bridge.KindChat, "users/owl", "1363", "", "again"},
		{"36_file_in_reply", bridge.KindChat, "users/alice", "1368", "", "this one"},
		{"37_voice_message_ogg_caption", bridge.KindChat, "users/alice", "1370", "", "listen"},
		{"38_voice_message_not_audio", bridge.KindChat, "users/alice", "1371", "", "v3-3eff2c.txt"},
		{"39_several_files_first", bridge.KindChat, "users/alice", "1372", "", "s1-3eff2c.txt"},
		{"40_several_files_second", bridge.KindChat, "users/alice", "1373", "", "two files"},
		{"41_contact_vcard", bridge.KindChat, "users/alice", "1374", "", "contact-3eff2c.vcf"},
		{"42_folder", bridge.KindChat, "users/alice", "1375", "", "folder-3eff2c"},
	}
	all := webhooks(t)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if all[i].Name != tt.name {
				t.Fatalf("recording %d is %s", i+1, all[i].Name)
			}
			m := decode(t, all[i].Body)
			if m.Kind != tt.kind || m.Author.Ref() != tt.author || m.Key.ID != tt.id || m.Event != tt.event || m.Text != tt.text {
				t.Errorf("got %s by %s, id %q, event %q, text %q", m.Kind, m.Author.Ref(), m.Key.ID, m.Event, m.Text)
			}
			if !m.SentAt.IsZero() {
				t.Errorf("SentAt = %v, but no webhook carries a timestamp", m.SentAt)
			}
			if m.Key.Server != server || m.Nonce != "a-random" || m.Backend == "" || m.ReceivedAt.IsZero() {
				t.Errorf("the origin is missing in %+v", m)
			}
			if m.Key.Room != m.Room.Token || m.Room.Token == "" {
				t.Errorf("Key.Room = %q, Room.Token = %q", m.Key.Room, m.Room.Token)
			}
			if isMessage := m.Key.ID != ""; m.Markdown != isMessage {
				t.Errorf("Markdown = %t", m.Markdown)
			}
		})
	}
}

func TestWhatNoDocumentationSays(t *testing.T) {
	all := webhooks(t)
	recorded := func(n int) bridge.Message { return decode(t, all[n-1].Body) }

	t.Run("empty parameters are a list", func(t *testing.T) {
		for _, n := range []int{3, 7, 13} {
			if !strings.Contains(all[n-1].Body, `\"parameters\":[]`) {
				t.Fatalf("recording %d has no empty list", n)
			}
			if m := recorded(n); m.Parameters != nil || m.Text == "" {
				t.Errorf("recording %d: text %q, parameters %v", n, m.Text, m.Parameters)
			}
		}
	})
	t.Run("files, polls and locations before Talk 23", func(t *testing.T) {
		want := map[int]bridge.Attachment{
			14: {Type: "file", ID: "208", Name: "list.txt", MIMEType: "text/plain", Size: 14, Path: "list.txt", Link: "http://127.0.0.1:8780/index.php/s/Fdai6s7TeZ9KyRP"},
			15: {Type: "file", ID: "207", Name: "serif.ttf", MIMEType: "application/font-sfnt", Size: 380660, Path: "serif.ttf", Link: "http://127.0.0.1:8780/index.php/s/zxytpe4BWnMe2P5"},
			16: {Type: "talk-poll", ID: "1", Name: "Pizza?"},
			17: {Type: "geo-location", ID: "geo:52.52,13.405", Name: "Berlin"},
		}
		for n, a := range want {
			m := recorded(n)
			if diff := cmp.Diff([]bridge.Attachment{a}, m.Attachments); diff != "" || m.Kind != bridge.KindChat {
				t.Errorf("recording %d, %s (-want +got):\n%s", n, m.Kind, diff)
			}
			if m.Parameters["actor"]["name"] != "alice" {
				t.Errorf("recording %d: the parameters are %v", n, m.Parameters)
			}
		}
		if m := recorded(14); m.RawText != "the list for {mention-user1}" {
			t.Errorf("RawText = %q", m.RawText)
		}
	})
	t.Run("files since Talk 23", func(t *testing.T) {
		for _, n := range []int{14, 15, 16, 17} {
			body := strings.Replace(all[n-1].Body, `"type":"Activity"`, `"type":"Create"`, 1)
			body = strings.Replace(body, `"name":"","content"`, `"name":"message","content"`, 1)
			m := decode(t, body)
			if diff := cmp.Diff(recorded(n), m); diff != "" {
				t.Errorf("recording %d differs as Create (-Activity +Create):\n%s", n, diff)
			}
		}
	})
	t.Run("a reaction carries the author of the message", func(t *testing.T) {
		for _, n := range []int{4, 6, 8, 10} {
			if m := recorded(n); m.Author.ID != "alice" || m.Kind == bridge.KindChat {
				t.Errorf("recording %d: %s by %s", n, m.Kind, m.Author)
			}
		}
	})
	t.Run("a reply quotes", func(t *testing.T) {
		q := recorded(7).InReplyTo
		if q == nil || q.Key != (bridge.Key{Server: server, Room: "knzaftd5", ID: "3"}) || q.Author.Ref() != "users/alice" ||
			q.Text != "hello **bot** 👋 ünïcode @bob please look" || q.InReplyTo != nil {
			t.Errorf("InReplyTo = %+v", q)
		}
	})
	t.Run("joined and left have no target", func(t *testing.T) {
		for _, n := range []int{1, 24, 25} {
			if strings.Contains(all[n-1].Body, `"target"`) {
				t.Fatalf("recording %d has a target", n)
			}
		}
		if m := recorded(1); m.Room != (bridge.Room{Token: "knzaftd5", Name: "Kitchen"}) {
			t.Errorf("Room = %+v", m.Room)
		}
	})
	t.Run("a one-to-one conversation is named by a list", func(t *testing.T) {
		if m := recorded(24); m.Room != (bridge.Room{Token: "x727omrh", Name: "alice, bob"}) {
			t.Errorf("Room = %+v", m.Room)
		}
	})
	t.Run("a guest has no name", func(t *testing.T) {
		if m := recorded(23); m.Author.Type != bridge.ActorGuest || m.Author.Name != "" {
			t.Errorf("Author = %+v", m.Author)
		}
	})
}

// TestLargest decodes the largest message that Talk can send: 32 000 emoji in
// reply to 32 000 emoji, each escaped twice.
func TestLargest(t *testing.T) {
	emoji := strings.Repeat(`\\ud83d\\ude00`, 32000)
	note := func(id, inReplyTo string) string {
		return `{"type":"Note","id":"` + id + `","name":"message","content":"{\"message\":\"` + emoji +
			`\",\"parameters\":[]}","mediaType":"text\/markdown"` + inReplyTo + `}`
	}
	actor := `"actor":{"type":"Person","id":"users\/alice","name":"alice"}`
	body := `{"type":"Create",` + actor + `,"object":` +
		note("2", `,"inReplyTo":{"type":"Note",`+actor+`,"object":`+note("1", "")+`}`) +
		`,"target":{"type":"Collection","id":"knzaftd5","name":"Kitchen"}}`
	if len(body) < 896_000 {
		t.Fatalf("the body has only %d bytes", len(body))
	}
	m := decode(t, body)
	want := strings.Repeat("😀", 32000)
	if m.Text != want || m.InReplyTo == nil || m.InReplyTo.Text != want {
		t.Error("the text differs")
	}
}

// create returns a message of Talk with the given content and parameters.
func create(t *testing.T, message, parameters string) string {
	t.Helper()
	content, err := json.Marshal(`{"message":` + quoted(t, message) + `,"parameters":` + parameters + `}`)
	if err != nil {
		t.Fatal(err)
	}
	return `{"type":"Create","actor":{"id":"users/alice","name":"Alice"},"object":{"id":"7","name":"message","content":` +
		string(content) + `},"target":{"id":"abc","name":"Room"}}`
}

func quoted(t *testing.T, s string) string {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPlaceholders(t *testing.T) {
	const parameters = `{
		"mention-user1": {"type":"user","id":"bob","name":"Bob B."},
		"mention-federated-user1": {"type":"user","id":"eve","name":"Eve","server":"https://other.example"},
		"mention-group1": {"type":"user-group","id":"staff","name":"Staff"},
		"mention-team1": {"type":"circle","id":"x1","name":"Team"},
		"mention-guest1": {"type":"guest","id":"guest/3fb1","name":"","mention-id":"guest/3fb1"},
		"mention-call1": {"type":"call","id":"abc","name":"Room"},
		"file": {"type":"file","id":"1","name":"a {file}.txt"},
		"file2": {"type":"file","id":2,"name":"b.txt","size":12,"preview":{"w":1}},
		"card": {"type":"deck-card","id":"9","name":"Buy milk","link":"https://cloud.example.com/deck/9"},
		"user": {"type":"user","id":"carol","name":"Carol"},
		"nothing": {},
		"none": null
	}`
	tests := []struct{ name, raw, want string }{
		{"user", "hi {mention-user1}!", "hi @Bob B.!"},
		{"federated user", "{mention-federated-user1}", "@Eve"},
		{"group", "{mention-group1}", "@Staff"},
		{"team", "{mention-team1}", "@Team"},
		{"guest without a name", "{mention-guest1}", "@guest/3fb1"},
		{"everybody", "{mention-call1}", "@all"},
		{"files", "{file} and {file2}", "a {file}.txt and b.txt"},
		{"card", "{card}", "Buy milk"},
		{"somebody who is not mentioned", "{user} left", "Carol left"},
		{"unknown", "{x} { {} {mention-user2} }", "{x} { {} {mention-user2} }"},
		{"without a name", "{nothing}{none}", "{nothing}{none}"},
		{"nested braces", "{a{mention-user1}}", "{a@Bob B.}"},
		{"open at the end", "{mention-user1} {file", "@Bob B. {file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := decode(t, create(t, tt.raw, parameters))
			if m.Text != tt.want || m.RawText != tt.raw {
				t.Errorf("Text = %q, RawText = %q, want %q", m.Text, m.RawText, tt.want)
			}
		})
	}
	want := []bridge.Attachment{
		{Type: "deck-card", ID: "9", Name: "Buy milk", Link: "https://cloud.example.com/deck/9"},
		{Type: "file", ID: "1", Name: "a {file}.txt"},
		{Type: "file", ID: "2", Name: "b.txt", Size: 12},
	}
	m := decode(t, create(t, "", parameters))
	if diff := cmp.Diff(want, m.Attachments); diff != "" {
		t.Errorf("attachments (-want +got):\n%s", diff)
	}
	if got := m.Parameters["file2"]["preview"]; got != `{"w":1}` {
		t.Errorf("a nested value is kept as %q", got)
	}
	if _, ok := m.Parameters["none"]; ok || len(m.Parameters) != 10 {
		t.Errorf("%d parameters: %v", len(m.Parameters), m.Parameters)
	}
}

func TestRenderedTextIsBounded(t *testing.T) {
	name := strings.Repeat("x", 100_000)
	body := create(t, strings.Repeat("{f}", 1000), `{"f":{"type":"file","id":"1","name":"`+name+`"}}`)
	if m := decode(t, body); len(m.Text) > 5<<20 || !strings.HasSuffix(m.Text, "{f}") {
		t.Errorf("%d bytes of text", len(m.Text))
	}
}

func TestContentThatIsNotJSON(t *testing.T) {
	for _, content := range []string{"just text", "", "{mention} me", `{"message": 5}`, `{"text":"x"}`, "[1]"} {
		body := `{"type":"Create","actor":{"id":"users/a"},"target":{"id":"abc"},"object":{"id":7,"content":` + quoted(t, content) + `}}`
		m := decode(t, body)
		if m.Text != content || m.RawText != content || m.Key.ID != "7" || m.Kind != bridge.KindChat || m.Markdown {
			t.Errorf("content %q became %+v", content, m)
		}
	}
}

func TestActivities(t *testing.T) {
	const who = `"actor":{"id":"users/a","name":"A"},"target":{"id":"abc","name":"Room"}`
	tests := []struct {
		name, body string
		kind       bridge.Kind
		event      string
	}{
		{"nameless activity without anything shared", `{"type":"Activity",` + who + `,"object":{"id":"7","content":"x"}}`, bridge.KindSystem, ""},
		{"system message as Create", `{"type":"Create",` + who + `,"object":{"id":"7","name":"user_added","content":"x"}}`, bridge.KindSystem, "user_added"},
		{"activity named message", `{"type":"Activity",` + who + `,"object":{"id":"7","name":"message","content":"x"}}`, bridge.KindSystem, "message"},
		{"reply to what is gone", `{"type":"Create",` + who + `,"object":{"id":"7","content":"x","inReplyTo":{"object":{}}}}`, bridge.KindChat, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := decode(t, tt.body)
			if m.Kind != tt.kind || m.Event != tt.event || m.InReplyTo != nil || m.Attachments != nil {
				t.Errorf("got %+v", m)
			}
		})
	}
	for _, tt := range []struct {
		name, system, text, parameters string
		shared                         bool
	}{
		{"a voice message", "file_shared", "{file}", "file", true},
		{"a file with a caption that looks like a sentence", "file_shared", "{actor} and {file}", "file", true},
		{"a poll", "object_shared", "{object}", "object", true},
		{"a recorded message", "record-audio", "{file}", "file", true},
		{"a recorded video with a caption", "record-video", "look", "file", true},
		{"a name of the future", "hologram", " {file}", "file", true},
		{"a name of the future with a caption", "hologram", "look at this, {mention-user1}", "file", true},
		{"a poll that ended", "poll_closed", "{actor} ended the poll {poll}", "poll", false},
		{"a vote", "poll_voted", "Someone voted on the poll {poll}", "poll", false},
		{"a file that was removed", "file_gone", "{actor} removed a file", "file", false},
		{"a person", "user_added", "{user}", "user", false},
	} {
		for _, kind := range []string{"Create", "Activity"} {
			t.Run(tt.name+" as "+kind, func(t *testing.T) {
				types := map[string]string{"file": "file", "object": "talk-poll", "poll": "talk-poll", "user": "user"}
				body := create(t, tt.text, `{"actor":{"type":"user","id":"alice","name":"Alice"},"mention-user1":{"type":"user","id":"bob","name":"Bob"},"`+
					tt.parameters+`":{"type":"`+types[tt.parameters]+`","id":"1","name":"a"}}`)
				body = strings.Replace(body, `"name":"message"`, `"name":"`+tt.system+`"`, 1)
				m := decode(t, strings.Replace(body, `"Create"`, `"`+kind+`"`, 1))
				if shared := m.Kind == bridge.KindChat && len(m.Attachments) == 1 && m.Event == ""; shared != tt.shared {
					t.Errorf("got %+v", m)
				}
				if system := m.Kind == bridge.KindSystem && m.Attachments == nil && m.Event == tt.system; system == tt.shared {
					t.Errorf("got %+v", m)
				}
			})
		}
	}
}

func TestThreads(t *testing.T) {
	lunch := bridge.Thread{ID: "1560", Title: "Lunch"}
	tests := []struct {
		name, object, target, top string
		want                      bridge.Thread
	}{
		{"as in the chat API", `"threadId":1560,"isThread":true,"threadTitle":"Lunch"`, "", "", lunch},
		{"id in words", `"threadId":"1560","threadTitle":"Lunch"`, "", "", lunch},
		{"an object", `"thread":{"id":1560,"title":"Lunch"}`, "", "", lunch},
		{"an object with a name", `"thread":{"id":"1560","type":"Collection","name":"Lunch"}`, "", "", lunch},
		{"at the conversation", "", `,"thread":{"id":1560,"title":"Lunch"}`, "", lunch},
		{"beside both", "", "", `,"threadId":1560,"threadTitle":"Lunch"`, lunch},
		{"without a title", `"threadId":1560`, "", "", bridge.Thread{ID: "1560"}},
		{"a chain of replies", `"threadId":1560,"isThread":false`, "", "", bridge.Thread{}},
		{"none", `"threadId":0,"threadTitle":""`, "", "", bridge.Thread{}},
		{"null", `"threadId":null,"thread":null`, "", "", bridge.Thread{}},
		{"nonsense", `"threadId":[1],"thread":true,"threadTitle":5,"isThread":"x"`, "", "", bridge.Thread{}},
		{"no number", `"thread":{"id":"../x"}`, "", "", bridge.Thread{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			object := tt.object
			if object != "" {
				object = "," + object
			}
			m := decode(t, `{"type":"Create","actor":{"id":"users/a"},"object":{"id":"7","name":"message","content":"x"`+object+
				`},"target":{"id":"abc"`+tt.target+`}`+tt.top+`}`)
			if m.Thread != tt.want || m.Text != "x" || m.Kind != bridge.KindChat {
				t.Errorf("got %+v, want the thread %+v", m, tt.want)
			}
		})
	}
}

func TestLegacy(t *testing.T) {
	sent := time.Date(2025, 1, 1, 3, 13, 20, 0, time.UTC) // 1735701200
	base := bridge.Message{
		Key:        bridge.Key{Server: server, Room: "room-token-123", ID: "77"},
		Kind:       bridge.KindChat,
		Room:       bridge.Room{Token: "room-token-123", Name: "Team Room"},
		Author:     bridge.Actor{Type: "users", ID: "user_a", Name: "User A"},
		Text:       "Hello",
		RawText:    "Hello",
		Nonce:      "a-random",
		Backend:    "http://127.0.0.1:8780/",
		SentAt:     sent,
		ReceivedAt: origin().ReceivedAt,
	}
	with := func(change func(*bridge.Message)) bridge.Message {
		m := base
		change(&m)
		return m
	}
	const object = `"object":{"id":42,"token":"room-token-123","name":"Team Room","type":"room"}`
	const actor = `"actorType":"users","actorId":"user_a","actorDisplayName":"User A"`
	tests := []struct {
		name, body string
		want       bridge.Message
	}{
		{"numbers", `{"type":"message",` + object + `,"message":{"id":77,"timestamp":1735701200,"messageType":"comment","systemMessage":"","message":"Hello",` + actor + `}}`, base},
		{"strings", `{"type":"message",` + object + `,"message":{"id":"77","timestamp":"1735701200","message":"Hello",` + actor + `}}`, base},
		{"milliseconds", `{"type":"message",` + object + `,"message":{"id":77,"timestamp":1735701200123,"message":"Hello",` + actor + `}}`, base},
		{"milliseconds in a string", `{"type":"message",` + object + `,"message":{"id":77,"timestamp":"1735701200999","message":"Hello",` + actor + `}}`, base},
		{"fraction of a second", `{"type":"message",` + object + `,"message":{"id":77,"timestamp":1735701200.75,"message":"Hello",` + actor + `}}`, base},
		{"actor beside the message", `{"type":"Message",` + object + `,` + actor + `,"message":{"id":77,"timestamp":1735701200,"message":"Hello"}}`, base},
		{
			"token in the message", `{"type":"message","message":{"token":" room-token-123 ","id":77,"timestamp":1735701200,"message":"Hello",` + actor + `}}`,
			with(func(m *bridge.Message) { m.Room.Name = "" }),
		},
		{
			"no timestamp", `{"type":"message",` + object + `,"message":{"id":77,"message":"Hello",` + actor + `}}`,
			with(func(m *bridge.Message) { m.SentAt = time.Time{} }),
		},
		{
			"no actor type", `{"type":"message",` + object + `,"message":{"id":77,"timestamp":1735701200,"message":"Hello","actorId":"user_a"}}`,
			with(func(m *bridge.Message) { m.Author.Name = "" }),
		},
		{
			"actor as a reference", `{"type":"message",` + object + `,"message":{"id":77,"timestamp":1735701200,"message":"Hello","actorId":"guests/user_a"}}`,
			with(func(m *bridge.Message) { m.Author = bridge.Actor{Type: "guests", ID: "user_a"} }),
		},
		{
			"bot in upper case", `{"type":"message",` + object + `,"message":{"id":77,"timestamp":1735701200,"message":"Hello","actorType":"BOTS","actorId":7}}`,
			with(func(m *bridge.Message) { m.Author = bridge.Actor{Type: bridge.ActorBot, ID: "7"} }),
		},
		{
			"system message", `{"type":"message",` + object + `,"message":{"id":77,"timestamp":1735701200,"systemMessage":"user_added","message":"Hello",` + actor + `}}`,
			with(func(m *bridge.Message) { m.Kind, m.Event = bridge.KindSystem, "user_added" }),
		},
		{
			"message type", `{"type":"message",` + object + `,"message":{"id":77,"timestamp":1735701200,"messageType":"comment_deleted","message":"Hello",` + actor + `}}`,
			with(func(m *bridge.Message) { m.Kind, m.Event = bridge.KindSystem, "comment_deleted" }),
		},
		{
			"parameters", `{"type":"message",` + object + `,"message":{"id":77,"timestamp":1735701200,"message":"Hello {file}",` + actor + `,"messageParameters":{"file":{"type":"file","id":"1","name":"a.txt"}}}}`,
			with(func(m *bridge.Message) {
				m.Text, m.RawText = "Hello a.txt", "Hello {file}"
				m.Parameters = map[string]bridge.Parameter{"file": {"type": "file", "id": "1", "name": "a.txt"}}
				m.Attachments = []bridge.Attachment{{Type: "file", ID: "1", Name: "a.txt"}}
			}),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, decode(t, tt.body)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLegacyWithoutID(t *testing.T) {
	id := func(room, actor, timestamp, text, nonce string, at time.Time) string {
		t.Helper()
		body := `{"type":"message","object":{"token":"` + room + `"},"message":{"actorType":"users","actorId":"` + actor +
			`","message":"` + text + `"` + timestamp + `}}`
		o := origin()
		o.Nonce, o.ReceivedAt = nonce, at
		m, err := talk.Decode([]byte(body), o)
		if err != nil {
			t.Fatal(err)
		}
		return m.Key.ID
	}
	noon := origin().ReceivedAt
	const stamp = `,"timestamp":1735701200`
	first := id("r1", "a", stamp, "hi", "n1", noon)
	if !strings.HasPrefix(first, "derived-") {
		t.Errorf("id %q could be a number", first)
	}
	if again := id("r1", "a", stamp, "hi", "n2", noon.Add(time.Hour)); again != first {
		t.Errorf("delivered again it is %q, not %q", again, first)
	}
	others := map[string]string{
		"room":      id("r2", "a", stamp, "hi", "n1", noon),
		"actor":     id("r1", "b", stamp, "hi", "n1", noon),
		"timestamp": id("r1", "a", `,"timestamp":1735701201`, "hi", "n1", noon),
		"text":      id("r1", "a", stamp, "ho", "n1", noon),
	}
	for name, other := range others {
		if other == first {
			t.Errorf("another %s has the same id", name)
		}
	}
	if id("r1", "a", "", "hi", "n1", noon) == id("r1", "a", "", "hi", "n2", noon) {
		t.Error("without a timestamp, the same words again have the same id")
	}
	if id("r1", "a", "", "hi", "n1", noon) != id("r1", "a", "", "hi", "n1", noon.Add(time.Hour)) {
		t.Error("without a timestamp, a replay has another id")
	}
	if id("r1", "a", "", "hi", "", noon) == id("r1", "a", "", "hi", "", noon.Add(time.Second)) {
		t.Error("without timestamp and nonce, the same words later have the same id")
	}
}

func TestDecodeRefuses(t *testing.T) {
	const actor = `"actor":{"id":"users/a","name":"A"}`
	const target = `"target":{"id":"abc","name":"R"}`
	const note = `"object":{"id":"7","name":"message","content":"x"}`
	tests := []struct{ name, body, want string }{
		{"nothing", ``, "not JSON"},
		{"half", `{"type":"Create"`, "not JSON"},
		{"two values", `{} {}`, "not JSON"},
		{"invalid UTF-8", "{\"type\":\"Create\xff\"}", "UTF-8"},
		{"deeply nested", strings.Repeat("[", 1<<20), "not JSON"},
		{"list", `[]`, "not an object"},
		{"number", `5`, "not an object"},
		{"null", `null`, "no type"},
		{"empty object", `{}`, "no type"},
		{"type of the wrong type", `{"type":5}`, `"type" has a value of the wrong type`},
		{"unknown type", `{"type":"Delete",` + actor + `,` + note + `,` + target + `}`, `unknown type "Delete"`},
		{"long unknown type", `{"type":"` + strings.Repeat("ä", 1<<20) + `"}`, "…"},
		{"no room", `{"type":"Create",` + actor + `,` + note + `}`, "no conversation"},
		{"room of the wrong type", `{"type":"Create",` + actor + `,` + note + `,"target":{"id":true}}`, `"target.id" has`},
		{"room with a slash", `{"type":"Create",` + actor + `,` + note + `,"target":{"id":"../x"}}`, `characters that none has: "../x"`},
		{"room with a percent sign", `{"type":"Create",` + actor + `,` + note + `,"target":{"id":"a%2f"}}`, "characters"},
		{"room with an umlaut", `{"type":"Create",` + actor + `,` + note + `,"target":{"id":"küche"}}`, "characters"},
		{"long room", `{"type":"Create",` + actor + `,` + note + `,"target":{"id":"` + strings.Repeat("a", 65) + `"}}`, "characters"},
		{"no id", `{"type":"Create",` + actor + `,"object":{"content":"x"},` + target + `}`, "message id"},
		{"null id", `{"type":"Create",` + actor + `,"object":{"id":null},` + target + `}`, "message id"},
		{"long id", `{"type":"Create",` + actor + `,"object":{"id":"` + strings.Repeat("1", 65) + `"},` + target + `}`, "message id"},
		{"id of the wrong type", `{"type":"Create",` + actor + `,"object":{"id":[]},` + target + `}`, `"object.id" has`},
		{"no actor", `{"type":"Create",` + note + `,` + target + `}`, "actor.id"},
		{"actor without a type", `{"type":"Create","actor":{"id":"alice"},` + note + `,` + target + `}`, `"alice"`},
		{"actor with an empty type", `{"type":"Create","actor":{"id":"/alice"},` + note + `,` + target + `}`, `"/alice"`},
		{"actor without an id", `{"type":"Create","actor":{"id":"users/"},` + note + `,` + target + `}`, `"users/"`},
		{"actor of the wrong type", `{"type":"Create","actor":"users/a",` + note + `,` + target + `}`, `"actor" has`},
		{"content of the wrong type", `{"type":"Create",` + actor + `,"object":{"id":"7","content":{}},` + target + `}`, `"object.content" has`},
		{"parameters of the wrong type", `{"type":"Create",` + actor + `,"object":{"id":"7","content":"{\"message\":\"x\",\"parameters\":\"y\"}"},` + target + `}`, "parameters"},
		{"filled list of parameters", `{"type":"Create",` + actor + `,"object":{"id":"7","content":"{\"message\":\"x\",\"parameters\":[1]}"},` + target + `}`, "parameters"},
		{"parameters in a quoted message", `{"type":"Create",` + actor + `,"object":{"id":"7","inReplyTo":{"object":{"id":"6","content":"{\"message\":\"x\",\"parameters\":5}"}}},` + target + `}`, "parameters"},
		{"reaction without an emoji", `{"type":"Like",` + actor + `,` + note + `,` + target + `}`, "emoji"},
		{"undo of nothing", `{"type":"Undo",` + actor + `,"object":{"type":"Like","content":"x"},` + target + `}`, "not a reaction"},
		{"undo of something else", `{"type":"Undo",` + actor + `,"object":{"type":"Create","object":{"id":"7"}},` + target + `}`, `not a reaction: "Create"`},
		{"joined nowhere", `{"type":"Join",` + actor + `}`, "no conversation"},
		{"nobody left", `{"type":"Leave","object":{"id":"abc"}}`, "actor.id"},
		{"legacy without a message", `{"type":"message","object":{"token":"abc"}}`, "no message"},
		{"legacy without a room", `{"type":"message","message":{"id":1,"actorType":"users","actorId":"a","message":"x"}}`, "no conversation"},
		{"legacy without an actor", `{"type":"message","object":{"token":"abc"},"message":{"id":1,"actorType":"users","message":"x"}}`, "no actorId"},
		{"legacy with a blank actor", `{"type":"message","object":{"token":"abc"},"message":{"id":1,"actorId":" ","message":"x"}}`, "no actorId"},
		{"legacy with half an actor", `{"type":"message","object":{"token":"abc"},"message":{"id":1,"actorId":"/a","message":"x"}}`, "no actorId"},
		{"legacy with a long id", `{"type":"message","object":{"token":"abc"},"message":{"id":"` + strings.Repeat("1", 65) + `","actorId":"a","message":"x"}}`, "message id"},
		{"legacy text of the wrong type", `{"type":"message","object":{"token":"abc"},"message":{"id":1,"actorId":"a","message":5}}`, `"message.message" has`},
		{"legacy time in words", `{"type":"message","object":{"token":"abc"},"message":{"id":1,"actorId":"a","message":"x","timestamp":"today"}}`, `"today"`},
		{"legacy time before 1970", `{"type":"message","object":{"token":"abc"},"message":{"id":1,"actorId":"a","message":"x","timestamp":-5}}`, `"-5"`},
		{"legacy time in nanoseconds", `{"type":"message","object":{"token":"abc"},"message":{"id":1,"actorId":"a","message":"x","timestamp":1735701200000000000}}`, "timestamp"},
		{"legacy time that is no number", `{"type":"message","object":{"token":"abc"},"message":{"id":1,"actorId":"a","message":"x","timestamp":"NaN"}}`, "timestamp"},
		{"legacy parameters of the wrong type", `{"type":"message","object":{"token":"abc"},"message":{"id":1,"actorId":"a","message":"x","messageParameters":7}}`, "parameters"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := talk.Decode([]byte(tt.body), origin())
			e, ok := errors.AsType[*bridge.Error](err)
			if !ok {
				t.Fatalf("got %+v and the error %v", m, err)
			}
			if e.Code != bridge.CodeInvalid || !strings.Contains(e.Text.String(), tt.want) {
				t.Errorf("got %s, %q; want %q in it", e.Code, e.Text, tt.want)
			}
			if len(e.Text.String()) > 500 {
				t.Errorf("the text has %d bytes", len(e.Text.String()))
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	for _, r := range webhooks(f) {
		f.Add([]byte(r.Body))
	}
	f.Add([]byte(`{"type":"message","object":{"token":"abc","name":"[\"a\",\"b\"]"},"message":{"id":77,"actorType":"users","actorId":"a","timestamp":1735701200123,"message":"hi {file}","messageParameters":{"file":{"type":"file","id":1,"size":"9"}}}}`))
	f.Add([]byte(`{"type":"message","message":{"token":"abc","actorId":"a","message":"hi"}}`))
	f.Add([]byte(`{"type":"Create","actor":{"id":"users/a"},"object":{"id":7,"content":"x","thread":{"id":5,"title":"t"},"threadId":[]},"target":{"id":"abc","isThread":false}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := talk.Decode(body, origin())
		if err != nil {
			if e, ok := errors.AsType[*bridge.Error](err); !ok || e.Code != bridge.CodeInvalid || e.Text.IsZero() {
				t.Fatalf("not an error for a person: %v", err)
			}
			return
		}
		switch m.Kind {
		case bridge.KindJoined, bridge.KindLeft:
		case bridge.KindChat, bridge.KindSystem, bridge.KindReaction, bridge.KindReactionRemoved:
			if m.Key.ID == "" {
				t.Error("no id")
			}
		default:
			t.Errorf("kind %q", m.Kind)
		}
		if m.Room.Token == "" || strings.Trim(m.Room.Token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			t.Errorf("token %q", m.Room.Token)
		}
		if m.Author.Type == "" || m.Author.ID == "" || !utf8.ValidString(m.Text) {
			t.Errorf("author %+v, text %q", m.Author, m.Text)
		}
		data, err := json.Marshal(m)
		if err != nil {
			t.Fatalf("has no JSON: %v", err)
		}
		var back bridge.Message
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		if diff := cmp.Diff(m, back); diff != "" {
			t.Errorf("comes back from JSON differently:\n%s", diff)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	for _, r := range webhooks(b) {
		if r.Name != "02_message_mention" && r.Name != "18_message_plain" && r.Name != "14_file_with_caption" {
			continue
		}
		b.Run(r.Name, func(b *testing.B) {
			body := []byte(r.Body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := talk.Decode(body, origin()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
