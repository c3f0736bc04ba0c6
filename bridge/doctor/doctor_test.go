package doctor_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"perch/bridge"
	"perch/bridge/doctor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func check(id string, run func(ctx context.Context) bridge.Result, needs ...string) bridge.Check {
	return bridge.Check{ID: id, Title: bridge.Say("%s", strings.ToUpper(id)), Needs: needs, Run: run}
}

func fine(context.Context) bridge.Result { return bridge.Passed(bridge.Say("seen")) }

func bad(context.Context) bridge.Result {
	return bridge.Failed(bridge.Say("broken"), bridge.Say("because"), bridge.Say("mend it"))
}

func unwise(context.Context) bridge.Result {
	return bridge.Warned(bridge.Say("odd"), bridge.Say("because"), bridge.Say("mend it"))
}

func aside(context.Context) bridge.Result { return bridge.Skipped(bridge.Say("does not apply")) }

func keep(row doctor.Row) doctor.Row { return row }

func run(t *testing.T, checks []bridge.Check, o doctor.Options) doctor.Report {
	t.Helper()
	report, err := doctor.Run(t.Context(), checks, o, keep)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func outcomes(report doctor.Report) map[string]string {
	m := map[string]string{}
	for _, row := range report.Rows {
		m[row.ID] = string(row.Status) + " " + row.Seen.String()
	}
	return m
}

func TestDependentsOfAFailedCheckAreSkipped(t *testing.T) {
	report := run(t, []bridge.Check{
		check("a", fine), check("b", bad, "a"), check("c", fine, "b"), check("d", fine, "a", "c"),
		check("e", unwise), check("f", fine, "e"), check("g", aside), check("h", fine, "g"),
	}, doctor.Options{})
	want := map[string]string{
		"a": "ok seen", "b": "fail broken", "c": "skip needs b", "d": "skip needs b",
		"e": "warn odd", "f": "ok seen", "g": "skip does not apply", "h": "ok seen",
	}
	if diff := cmp.Diff(want, outcomes(report)); diff != "" {
		t.Error(diff)
	}
}

// Checks that do not need each other run at the same time; their rows come in
// order all the same.
func TestSideBySide(t *testing.T) {
	var both sync.WaitGroup
	both.Add(2)
	meet := func(ctx context.Context) bridge.Result {
		both.Done()
		both.Wait() // for the other one
		return fine(ctx)
	}
	var order []string
	_, err := doctor.Run(t.Context(), []bridge.Check{check("slow", meet), check("b", fine), check("c", meet)}, doctor.Options{},
		func(row doctor.Row) doctor.Row {
			order = append(order, row.ID)
			return row
		})
	if diff := cmp.Diff([]string{"slow", "b", "c"}, order); diff != "" || err != nil {
		t.Errorf("%s, error %v", diff, err)
	}
}

func TestAPanicIsTheChecksOwn(t *testing.T) {
	report := run(t, []bridge.Check{check("a", func(context.Context) bridge.Result { panic("oh no") }), check("b", fine)}, doctor.Options{})
	want := map[string]string{"a": "fail the check itself broke: oh no", "b": "ok seen"}
	if diff := cmp.Diff(want, outcomes(report)); diff != "" {
		t.Error(diff)
	}
}

func TestDeadlines(t *testing.T) {
	end := make(chan struct{})
	defer close(end)
	deaf := func(ctx context.Context) bridge.Result { <-end; return fine(ctx) }
	obedient := func(ctx context.Context) bridge.Result {
		<-ctx.Done()
		return bridge.Failed(bridge.Say("gave up"), bridge.Text{}, bridge.Text{})
	}
	for name, o := range map[string]doctor.Options{
		"each":  {Each: 10 * time.Millisecond},
		"total": {Each: time.Hour, Total: 10 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			got := outcomes(run(t, []bridge.Check{check("deaf", deaf), check("obedient", obedient), check("next", fine, "deaf")}, o))
			if !strings.HasPrefix(got["deaf"], "fail no answer within") || got["obedient"] != "fail gave up" || got["next"] != "skip needs deaf" {
				t.Error(got)
			}
		})
	}
}

// A busy machine is no fault of the bot: what came too late is tried once more.
func TestATimeoutIsTriedOnceMore(t *testing.T) {
	var tries atomic.Int32
	late := func(n int32) func(ctx context.Context) bridge.Result {
		return func(ctx context.Context) bridge.Result {
			if tries.Add(1) <= n {
				<-ctx.Done()
				return bridge.FailedBy(&bridge.Error{Text: bridge.Say("too late"), Cause: ctx.Err()}, bridge.Text{})
			}
			return fine(ctx)
		}
	}
	for n, want := range map[int32]string{0: "ok seen", 1: "ok seen", 2: "fail too late"} {
		tries.Store(0)
		got := outcomes(run(t, []bridge.Check{check("a", late(n))}, doctor.Options{Each: 20 * time.Millisecond}))
		if got["a"] != want || tries.Load() != min(n+1, 2) {
			t.Errorf("late %d times: %s after %d tries", n, got["a"], tries.Load())
		}
	}
	tries.Store(0)
	run(t, []bridge.Check{check("a", func(ctx context.Context) bridge.Result { tries.Add(1); return bad(ctx) })}, doctor.Options{})
	if n := tries.Load(); n != 1 {
		t.Errorf("another failure was tried %d times", n)
	}
}

func TestOnly(t *testing.T) {
	var ran []string
	var mu sync.Mutex
	noting := func(id string, result bridge.Result) func(context.Context) bridge.Result {
		return func(context.Context) bridge.Result {
			mu.Lock()
			defer mu.Unlock()
			ran = append(ran, id)
			return result
		}
	}
	ok, failed := fine(t.Context()), bad(t.Context())
	checks := []bridge.Check{
		check("a", noting("a", ok)), check("b", noting("b", ok), "a"), check("c", noting("c", ok)),
		check("d", noting("d", failed)), check("e", noting("e", ok), "d"),
	}
	for _, test := range []struct {
		only []string
		rows map[string]string
		ran  []string
	}{
		{[]string{"b"}, map[string]string{"b": "ok seen"}, []string{"a", "b"}},
		{[]string{"a", "c"}, map[string]string{"a": "ok seen", "c": "ok seen"}, []string{"a", "c"}},
		{[]string{"e"}, map[string]string{"d": "fail broken", "e": "skip needs d"}, []string{"d"}},
	} {
		ran = nil
		report := run(t, checks, doctor.Options{Only: test.only})
		slices.Sort(ran)
		if diff := cmp.Diff(test.rows, outcomes(report)) + cmp.Diff(test.ran, ran); diff != "" {
			t.Errorf("%v: %s", test.only, diff)
		}
	}
	_, err := doctor.Run(t.Context(), checks, doctor.Options{Only: []string{"a", "z"}}, keep)
	if bridge.CodeOf(err) != bridge.CodeInvalid || bridge.TextOf(err).String() != `there is no check "z"` {
		t.Errorf("error %v", err)
	}
}

func TestVerdict(t *testing.T) {
	for _, test := range []struct {
		runs   []func(context.Context) bridge.Result
		strict bool
		want   bridge.Status
		words  string
	}{
		{nil, false, bridge.StatusOK, "All is well"},
		{[]func(context.Context) bridge.Result{fine, aside}, true, bridge.StatusOK, "All is well"},
		{[]func(context.Context) bridge.Result{fine, unwise}, false, bridge.StatusWarn, "It works, with one warning: b"},
		{[]func(context.Context) bridge.Result{unwise, unwise}, true, bridge.StatusFail, "It works, with 2 warnings: a, b"},
		{[]func(context.Context) bridge.Result{unwise, bad}, false, bridge.StatusFail, "One check failed: b"},
		{[]func(context.Context) bridge.Result{bad, bad}, false, bridge.StatusFail, "2 checks failed: a, b"},
	} {
		var checks []bridge.Check
		for i, r := range test.runs {
			checks = append(checks, check(string(rune('a'+i)), r))
		}
		report := run(t, checks, doctor.Options{Strict: test.strict})
		if report.Verdict() != test.want || report.Headline().String() != test.words {
			t.Errorf("verdict %s, %q", report.Verdict(), report.Headline())
		}
	}
}

func TestTable(t *testing.T) {
	rows := func(statuses ...bridge.Status) doctor.Report {
		var r doctor.Report
		for _, s := range statuses {
			row := doctor.Row{ID: "id", Title: bridge.Say("Title"), Result: bridge.Result{Status: s, Seen: bridge.Say("seen")}}
			if s == bridge.StatusFail || s == bridge.StatusWarn {
				row.Why, row.Fix = bridge.Say("because"), bridge.Say("one\ntwo")
			}
			r.Rows = append(r.Rows, row)
		}
		return r
	}
	show := func(table doctor.Table, r doctor.Report) string {
		var b bytes.Buffer
		table.W = &b
		for _, row := range r.Rows {
			table.Row(row)
		}
		table.End(r, false)
		return b.String()
	}
	const ok, fail, skip = bridge.StatusOK, bridge.StatusFail, bridge.StatusSkip
	const row = "✓ Title               seen  0 ms\n"
	for name, test := range map[string]struct{ got, want string }{
		"well":           {show(doctor.Table{}, rows(ok, skip)), "✓ All is well: 2 checks in 0.0 s · 1 ok · 1 skipped\n"},
		"well, with row": {show(doctor.Table{Rows: true}, rows(ok)), row + "\n✓ All is well\n  1 check in 0.0 s · 1 ok\n"},
		"ill": {show(doctor.Table{}, rows(ok, fail)), row + "✕ Title               seen  0 ms\n  Check               id\n" +
			"  Why                 because\n  Fix                 one\n                      two\n\n✕ One check failed: id\n  2 checks in 0.0 s · 1 ok · 1 failed\n"},
		"well on a terminal": {
			show(doctor.Table{Terminal: true, Width: 20}, rows(ok, skip)),
			"\x1b[32m✓\x1b[0m Title               seen\x1b[2m  0 ms\x1b[0m\n\x1b[2m–\x1b[0m Title               seen\n" +
				"\x1b[4A\x1b[J\x1b[32m✓\x1b[0m \x1b[1mAll is well\x1b[0m: 2 checks in 0.0 s · 1 ok · 1 skipped\n",
		},
	} {
		if diff := cmp.Diff(test.want, test.got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// What a server answers cannot steer the terminal.
func TestTableHasNoControlCharacters(t *testing.T) {
	var b bytes.Buffer
	table := doctor.Table{W: &b, Rows: true}
	table.Row(doctor.Row{ID: "a", Title: bridge.Say("A"), Result: bridge.Failed(bridge.Say("%s", "a\x1b[2Jb\rc\u009bd"), bridge.Text{}, bridge.Text{})})
	if got := b.String(); strings.ContainsAny(got, "\x1b\r\u009b") || !strings.Contains(got, "a·[2Jb·c·d") {
		t.Errorf("%q", got)
	}
}

func TestPrivate(t *testing.T) {
	var p doctor.Private
	p.Hide("alice", doctor.Somebody)
	p.Hide("cloud", doctor.Somebody)
	p.Hide("knzaftd5", doctor.SomeRoom)
	p.Hide("", "empty")
	p.Hide("*", "all")
	p.HideSecret(bridge.NewSecret("hunter2"))
	p.HideSecret(bridge.Secret{})
	for arg, want := range map[string]string{
		"alice":                              "USER-ID",
		"alice, bob, alice":                  "USER-ID, bob, USER-ID",
		`["alice","bob"]`:                    `["USER-ID","bob"]`,
		"users/alice.":                       "users/USER-ID.",
		"malice alice2 alices":               "malice alice2 alices",
		"https://cloud.example.com/cloud":    "https://cloud.example.com/USER-ID",
		"my.cloud is a cloud":                "my.cloud is a USER-ID",
		"alice@example.com":                  "alice@example.com",
		"occ talk:bot:setup 1 knzaftd5":      "occ talk:bot:setup 1 TOKEN",
		"https://x/call/knzaftd5?a=b":        "https://x/call/TOKEN?a=b",
		"xhunter2y":                          "x***y",
		"* all":                              "* all",
		"knzaftd5alice knzaftd5 alice älice": "knzaftd5alice TOKEN USER-ID älice",
	} {
		row := doctor.Row{Result: bridge.Failed(bridge.Say("alice %s", arg), bridge.Say("%s", arg), bridge.Say("%s", arg))}
		got := p.Redact(row, false)
		if got.Seen.String() != "alice "+want || got.Why.String() != want || got.Fix.String() != want {
			t.Errorf("%q becomes %q", arg, got.Fix)
		}
		shown := strings.ReplaceAll(arg, "hunter2", bridge.Mask)
		if got := p.Redact(row, true); got.Fix.String() != shown || row.Fix.Args[0] != arg {
			t.Errorf("%q is shown as %q, and was made %q", arg, got.Fix, row.Fix)
		}
	}
}
