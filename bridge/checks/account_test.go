package checks_test

import (
	"strings"
	"testing"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/doctor"
	"perch/bridge/practice"
)

func TestAccountChecks(t *testing.T) {
	p := newPerch(t, practice.Options{})
	p.cfg.Talk.Receive = config.ByAccount
	p.save()
	results := func() map[string]doctor.Row {
		t.Helper()
		report, _ := p.diagnose(doctor.Options{})
		got := map[string]doctor.Row{}
		for _, row := range report.Rows {
			got[row.ID] = row
		}
		return got
	}
	want := func(got map[string]doctor.Row, id string, status bridge.Status, part string) {
		t.Helper()
		if r := got[id]; r.Status != status || !strings.Contains(r.Seen.String()+r.Fix.String(), part) {
			t.Errorf("%s: %+v", id, r)
		}
	}
	got := results()
	want(got, "login", bridge.StatusFail, "perch setup")
	want(got, "webhook", bridge.StatusSkip, "no port")
	for _, id := range []string{"secret", "listener", "bot-secret"} {
		if r, ok := got[id]; ok {
			t.Errorf("%s was looked at: %+v", id, r)
		}
	}
	token := p.server.AppToken("owl")
	p.set(p.keychain, bridge.AppToken, token)
	got = results()
	want(got, "login", bridge.StatusOK, "logged in as owl")
	want(got, "rooms", bridge.StatusWarn, "no conversation")
	p.server.AddRoom("Cellar", "alice", "owl")
	got = results()
	want(got, "rooms", bridge.StatusOK, "1 followed")
	want(got, "poll", bridge.StatusOK, "requests a minute")
	p.server.RevokeAppToken(token)
	want(results(), "login", bridge.StatusFail, "revoked")
}
