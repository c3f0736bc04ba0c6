package config

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Programs that know config.toml know its JSON.
func TestJSONIsNamedAsTOML(t *testing.T) {
	c := Default()
	c.Talk.AllowedUsers = []string{"alice"}
	c.Handler.Commands = []Command{{Name: "wifi", Help: "how", Reply: "it is on the fridge"}}
	c.Handlers = map[string]Handler{"house": DefaultHandler(LLM)}
	c.Rooms = map[string]Room{"abcd1234": {Enabled: true, AllowedUsers: []string{}, Handler: "house"}, "efgh5678": {}}
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var back Config
	if err := json.Unmarshal(data, &back); err != nil || !reflect.DeepEqual(back, c) {
		t.Errorf("%v\ngot  %#v\nwant %#v", err, back, c)
	}
	var top map[string]any
	if err := json.Unmarshal(data, &top); err != nil {
		t.Fatal(err)
	}
	for _, key := range Keys() {
		name := strings.TrimPrefix(key.Name, "channels_config.nextcloud_")
		place, named := top, false
		path := strings.Split(name, ".")
		if path[0] == "rooms" || strings.Contains(name, "[") {
			continue
		}
		for i, part := range path {
			if i < len(path)-1 {
				place, _ = place[part].(map[string]any)
			} else {
				_, named = place[part]
			}
		}
		if !named {
			t.Errorf("%s has another name in JSON", key.Name)
		}
	}
	rooms, _ := top["rooms"].(map[string]any)
	room, _ := rooms["abcd1234"].(map[string]any)
	for _, r := range roomRows() {
		if _, named := room[r.Name]; !named {
			t.Errorf("%s of a room has another name in JSON", r.Name)
		}
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A form can be asked what is wrong with a length of time that a file may not have.
func TestJSONTakesAnyTime(t *testing.T) {
	for _, want := range []Journal{{Keep: minute, CatchUp: 0}, {Keep: 0, CatchUp: Duration(-time.Second)}, {Keep: 4000 * day, CatchUp: Duration(48 * time.Hour)}} {
		var got Journal
		if err := json.Unmarshal([]byte(jsonOf(t, want)), &got); err != nil || got != want {
			t.Errorf("%v: %+v is %+v", err, want, got)
		}
	}
	for _, bad := range []string{`{"keep":"1 day"}`, `{"keep":7}`, `{"catch_up":"soon"}`, `{"catch_up":5}`} {
		var got Journal
		if err := json.Unmarshal([]byte(bad), &got); err == nil {
			t.Errorf("%s is %+v", bad, got)
		}
	}
}
