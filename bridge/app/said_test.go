package app_test

import (
	"strings"
	"testing"

	"perch/bridge"
	"perch/bridge/app"
	"perch/bridge/practice"
)

// What it means to have no app token is said once, and again after there was one.
func TestNoAppTokenIsExplainedOnce(t *testing.T) {
	w := newWorld(t, practice.Options{})
	said := func() bool {
		t.Helper()
		w.app.Reload()
		var titles []string
		for {
			e := w.await("")
			titles = append(titles, e.Title.String())
			if strings.Contains(e.Title.String(), "settings were read again") {
				return has(titles, "No app token is set: replies go out as the bot") > 0
			}
		}
	}
	if !said() {
		t.Error("it was not said")
	}
	w.stop()
	w.start()
	if said() {
		t.Error("it was said again after a restart")
	}
	w.setToken(w.server.AppToken("bob"))
	w.reload()
	check(t, w.secrets.Delete(t.Context(), bridge.AppToken))
	if !said() {
		t.Error("it was not said after the token was deleted")
	}
}

// A conversation that the token's user cannot read is told of once, whatever
// comes of others, until it can be read.
func TestAClosedRoomIsToldOfOnce(t *testing.T) {
	w := newWorld(t, practice.Options{})
	w.heard()
	w.server.AddUser("carol", "Carol")
	told := func() bool {
		t.Helper()
		w.stop()
		w.start()
		return has(w.lookedFor(), "could not be fetched") > 0
	}
	w.setToken(w.server.AppToken("carol"))
	if !told() {
		t.Error("it was not told of")
	}
	if told() {
		t.Error("it was told of again")
	}
	_, err := w.server.Add(t.Context(), w.room, "alice", "carol")
	check(t, err)
	if told() {
		t.Error("it was told of though it can be read")
	}
	_, err = w.server.Leave(t.Context(), w.room, "carol")
	check(t, err)
	if !told() {
		t.Error("it was not told of after it was closed again")
	}
}

// The commands that install the bot name what is known of it.
func TestKnownBotAndRooms(t *testing.T) {
	w := newWorld(t, practice.Options{Admin: true})
	w.heard()
	rooms, err := app.Seen(t.Context(), w.home, w.cfg.Talk.BaseURL)
	check(t, err)
	if len(rooms) != 1 || rooms[0].Token != w.room || rooms[0].Name != "Kitchen" {
		t.Errorf("rooms: %+v", rooms)
	}
	admin, bob := bridge.NewSecret(w.server.AppToken("admin")), bridge.NewSecret(w.server.AppToken("bob"))
	for _, tt := range []struct {
		token   bridge.Secret
		address string
		want    int
	}{{admin, w.url(), w.bot}, {admin, w.url() + "x", 0}, {bob, w.url(), 0}, {bridge.Secret{}, w.url(), 0}} {
		if id := app.BotID(t.Context(), w.home, w.cfg, tt.token, tt.address); id != tt.want {
			t.Errorf("the bot at %s is %d, want %d", tt.address, id, tt.want)
		}
	}
	b := app.Installation{Name: "Perch", Secret: bridge.NewSecret(key), Address: w.url(), Rooms: []string{"abc", "def"}, ID: 7}
	got := strings.Join(b.Commands("snap"), "\n")
	if want := "sudo nextcloud.occ talk:bot:state -f webhook -f response 7 1\nsudo nextcloud.occ talk:bot:setup 7 abc def"; got != want {
		t.Errorf("commands:\n%s\nwant:\n%s", got, want)
	}
}
