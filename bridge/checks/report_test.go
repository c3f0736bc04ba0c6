package checks_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
	"perch/bridge/checks"
	"perch/bridge/config"
	"perch/bridge/doctor"
	"perch/bridge/practice"
)

// homes are in the states whose reports are kept in testdata/doctor.
func homes() map[string]func(p *perch) {
	return map[string]func(p *perch){
		"healthy": func(p *perch) {
			p.administrator()
			p.cfg.Talk.ReplyAs = config.Bot
			p.save()
			p.heard()
		},
		"healthy, running": func(p *perch) {
			p.heard()
			p.run()
		},
		"broken": func(p *perch) {
			p.administrator()
			p.cfg.Talk.ReplyAs = config.Bot
			p.cfg.Talk.AllowedUsers = []string{"alice", "Bob the Builder"}
			p.heard()
			_, err := p.server.DisableBot(p.t.Context(), p.room, p.bot)
			check(p.t, err)
			p.public(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Cf-Ray", "8f0a1b2c3d4e5f60-FRA")
				w.WriteHeader(http.StatusForbidden)
			})
		},
		"half-configured": func(p *perch) {
			p.cfg.Talk.AllowedUsers, p.options.Room = nil, ""
			p.save()
			check(p.t, p.keychain.Delete(p.t.Context(), bridge.WebhookSecret))
		},
		"empty": func(p *perch) {
			check(p.t, os.Remove(p.home.ConfigFile()))
			check(p.t, p.keychain.Delete(p.t.Context(), bridge.WebhookSecret))
			p.options.Room = ""
		},
	}
}

// The reports of whole homes, for a terminal, a pipe and a program, are those
// that are kept, and have no secret in them.
func TestReports(t *testing.T) {
	for name, prepare := range homes() {
		t.Run(name, func(t *testing.T) {
			p := newPerch(t, practice.Options{})
			prepare(p)
			report, private := p.diagnose(doctor.Options{})
			noSecrets(t, p, report, private)
			noPosts(t, p)
			for i, row := range report.Rows {
				report.Rows[i] = private.Redact(row, false)
			}
			for kind, write := range map[string]func(b *bytes.Buffer){
				"txt":      func(b *bytes.Buffer) { print(&doctor.Table{W: b}, report, private) },
				"terminal": func(b *bytes.Buffer) { print(&doctor.Table{W: b, Terminal: true}, report, private) },
				"json":     func(b *bytes.Buffer) { check(t, report.WriteJSON(b)) },
			} {
				var b bytes.Buffer
				write(&b)
				golden(t, name+"."+kind, p.normal(b.String()))
			}
		})
	}
}

func print(table *doctor.Table, report doctor.Report, private *doctor.Private) {
	for _, row := range report.Rows {
		table.Row(row)
	}
	table.End(report, private.Hid())
}

// normal returns text without what differs between two runs.
func (p *perch) normal(text string) string {
	text = strings.ReplaceAll(text, p.home.ConfigDir, "/home/me/.config/perch")
	text = strings.ReplaceAll(text, p.cfg.Webhook.Listen, "127.0.0.1:LISTEN")
	text = strings.ReplaceAll(text, strings.TrimPrefix(p.server.URL(), "http://"), "127.0.0.1:SERVER")
	for _, r := range []struct{ from, to string }{
		{`127\.0\.0\.1:\d+`, "127.0.0.1:PUBLIC"},
		{`\b\d+ ms`, "7 ms"},
		{`"duration_ms": \d+`, `"duration_ms": 7`},
		{`checks in \d+\.\d s`, "checks in 0.1 s"},
		{`\d+\.\d MB, last written \S+ \S+; [\d.]+ [MG]B`, "0.1 MB, last written 2026-11-26 12:00:00; 71 GB"},
		{`process \d+`, "process 4711"},
	} {
		text = regexp.MustCompile(r.from).ReplaceAllString(text, r.to)
	}
	return text
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "doctor", strings.ReplaceAll(name, ", ", "-"))
	if os.Getenv("PERCH_GOLDEN") == "update" {
		check(t, os.MkdirAll(filepath.Dir(file), 0o755))
		check(t, os.WriteFile(file, []byte(got), 0o600))
	}
	want, err := os.ReadFile(file)
	check(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (make golden rewrites it):\n%s", file, diff)
	}
}

// The JSON is of the form that other programs rely on.
func TestReportIsOfTheAgreedForm(t *testing.T) {
	p := newPerch(t, practice.Options{})
	report, _ := p.diagnose(doctor.Options{})
	var b bytes.Buffer
	check(t, report.WriteJSON(&b))
	var doc struct {
		Verdict string `json:"verdict"`
		Checks  []struct {
			ID         *string   `json:"id"`
			Status     *string   `json:"status"`
			Seen       *string   `json:"seen"`
			Why        *string   `json:"why"`
			Fix        *string   `json:"fix"`
			Needs      *[]string `json:"needs"`
			DurationMS *int64    `json:"duration_ms"`
		} `json:"checks"`
	}
	decoder := json.NewDecoder(&b)
	decoder.DisallowUnknownFields()
	check(t, decoder.Decode(&doc))
	var ids []string
	for _, c := range doc.Checks {
		if c.ID == nil || c.Status == nil || c.Seen == nil || c.Why == nil || c.Fix == nil || c.Needs == nil || c.DurationMS == nil {
			t.Fatalf("something is missing in %+v", c)
		}
		ids = append(ids, *c.ID)
	}
	want := strings.Fields("config journal keychain secret server-dns server-tcp server-tls server-status capabilities clock listener self-post tunnel-edge tunnel-token tunnel public-url bot-secret app-token bot-entry delivery room-bot handler allow-list notify backend traffic")
	if diff := cmp.Diff(want, ids); diff != "" || doc.Verdict != "warn" {
		t.Errorf("verdict %s\n%s", doc.Verdict, diff)
	}
}

// Beside a running Perch the doctor asks that one, and leaves no trace.
func TestBesideARunningPerch(t *testing.T) {
	p := newPerch(t, practice.Options{})
	p.run()
	if got := p.running.ask("!ping"); got != "pong" {
		t.Fatalf("answered %q", got)
	}
	p.running.await("Reply sent")
	before := len(p.server.Transcript(p.room))
	report, _ := p.diagnose(doctor.Options{})
	if row := find(t, report, "listener"); row.Status != bridge.StatusOK || !strings.Contains(row.Seen.String(), "running Perch (process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("listener is %s: %s", row.Status, row.Seen)
	}
	for _, id := range []string{"self-post", "public-url", "bot-secret", "backend", "traffic"} {
		if row := find(t, report, id); row.Status != bridge.StatusOK {
			t.Errorf("%s is %s: %s", id, row.Status, row.Seen)
		}
	}
	if n := len(p.server.Transcript(p.room)); n != before {
		t.Errorf("%d entries in the room before, %d after", before, n)
	}
	for _, e := range p.running.left {
		t.Errorf("the running Perch says: %s", e.Title)
	}
	if got := p.running.ask("!ping"); got != "pong" {
		t.Errorf("afterwards it answers %q", got)
	}
}

// Without an administrator, only a webhook shows whether Talk sends any here.
func TestDelivery(t *testing.T) {
	const id = "delivery"
	only := doctor.Options{Only: []string{id}}
	t.Run("not verified", func(t *testing.T) {
		p := newPerch(t, practice.Options{})
		report, _ := p.diagnose(only)
		if row := find(t, report, id); row.Status != bridge.StatusWarn || !strings.Contains(row.Seen.String(), "not verified") || !strings.Contains(row.Fix.String(), "perch doctor --wait") {
			t.Errorf("%s: %s; %s", row.Status, row.Seen, row.Fix)
		}
	})
	t.Run("as the administrator sees it", func(t *testing.T) {
		p := newPerch(t, practice.Options{})
		p.token("admin")
		report, _ := p.diagnose(only)
		if row := find(t, report, id); row.Status != bridge.StatusOK {
			t.Errorf("%s: %s", row.Status, row.Seen)
		}
	})
	t.Run("as the last webhook shows", func(t *testing.T) {
		p := newPerch(t, practice.Options{})
		p.heard()
		report, _ := p.diagnose(only)
		if row := find(t, report, id); row.Status != bridge.StatusOK || !strings.Contains(row.Seen.String(), "the last webhook came to") {
			t.Errorf("%s: %s", row.Status, row.Seen)
		}
	})
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("waited for, running %t", running), func(t *testing.T) {
			p := newPerch(t, practice.Options{})
			if running {
				p.run()
			}
			p.options.Wait = time.Minute
			ctx, cancel := context.WithCancel(t.Context())
			written := make(chan struct{})
			go func() {
				defer close(written)
				for ctx.Err() == nil { // until the doctor has seen it
					_, _ = p.server.Post(ctx, p.room, "alice", "hello")
				}
			}()
			report, _ := p.diagnose(only)
			cancel()
			<-written
			if row := find(t, report, id); row.Status != bridge.StatusOK || !strings.Contains(row.Seen.String(), "a signed webhook came") {
				t.Errorf("%s: %s", row.Status, row.Seen)
			}
		})
		t.Run(fmt.Sprintf("in vain, running %t", running), func(t *testing.T) {
			p := newPerch(t, practice.Options{})
			if running {
				p.run()
			}
			check(t, p.server.SetBotState(p.bot, false, 0))
			p.options.Wait = 50 * time.Millisecond
			report, _ := p.diagnose(only)
			if row := find(t, report, id); row.Status != bridge.StatusFail || !strings.Contains(row.Seen.String(), "no signed webhook came within 50ms") {
				t.Errorf("%s: %s", row.Status, row.Seen)
			}
		})
	}
}

// In an empty home there are two things to do, and no more is said.
func TestEmptyHome(t *testing.T) {
	p := newPerch(t, practice.Options{})
	options := checks.Options{Home: p.home}
	if first := options.First(); first != nil {
		t.Errorf("with a configuration: %q", first)
	}
	check(t, os.Remove(p.home.ConfigFile()))
	if first := strings.Join(options.First(), " "); first != "config secret" {
		t.Errorf("without a configuration: %q", first)
	}
}

// A command that runs a check again looks at the same conversation.
func TestFollowUpsKeepTheRoom(t *testing.T) {
	for voice, id := range map[config.ReplyAs]string{config.Bot: "bot-secret", config.User: "app-token"} {
		p := newPerch(t, practice.Options{})
		p.cfg.Talk.ReplyAs = voice
		p.save()
		p.hold(time.Time{})
		report, _ := p.diagnose(doctor.Options{})
		if row := find(t, report, "traffic"); !strings.Contains(row.Fix.String(), "perch doctor --only "+id+" --room "+p.room) {
			t.Errorf("as %s: %s", voice, row.Fix)
		}
	}
}

// The last conversation heard from is looked at if none is named.
func TestLastConversation(t *testing.T) {
	p := newPerch(t, practice.Options{})
	p.heard()
	p.options.Room = ""
	report, _ := p.diagnose(doctor.Options{Only: []string{"bot-secret"}})
	if row := find(t, report, "bot-secret"); row.Status != bridge.StatusOK || !strings.Contains(row.Seen.String(), "Kitchen") {
		t.Errorf("%s: %s", row.Status, row.Seen)
	}
}
