package ui

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/test"
	"github.com/google/go-cmp/cmp"

	"perch/bridge"
	"perch/bridge/doctor"
	"perch/ui/kit"
	"perch/ui/kit/kittest"
)

func TestDoctor(t *testing.T) {
	inBoth(t, func(t *testing.T, name string, v fyne.ThemeVariant) {
		t.Helper()
		x := openIn(t, newFake(), v)
		x.Show(PageDoctor)
		x.idle()
		x.looks("doctor")
		x.isDrawnIn(v)
		x.shoot("doctor-" + name)
	})
}

// At twice the size nothing is lost.
func TestDoctorInLittleSpace(t *testing.T) {
	b := newFake()
	b.report.Rows[8].Fix = bridge.Say("sudo -u www-data php occ talk:bot:setup %[1]s %[2]s", "1", doctor.SomeRoom)
	x := open(t, b)
	x.window.Resize(fyne.NewSize(540, 350))
	x.Show(PageDoctor)
	x.idle()
	x.shoot("doctor-narrow")
	x.fits()
	failed := find(x, func(r *checkRow) bool { return r.finding.row.ID == "bot-secret" })
	if y := x.app.Driver().AbsolutePositionForObject(failed).Y; y < 60 || y > 350 {
		t.Errorf("the check that failed is at %v, out of view", y)
	}
}

// slowDoctor is a doctor that is done with the next check when it is told so.
type slowDoctor struct {
	report doctor.Report
	more   chan struct{}
	came   chan struct{} // a row
	ended  chan error
}

func slowly(b *fakeBackend) *slowDoctor {
	d := &slowDoctor{report: b.report, more: make(chan struct{}), came: make(chan struct{}), ended: make(chan error, 10)}
	b.examine = d.run
	return d
}

func (d *slowDoctor) run(ctx context.Context, row func(doctor.Row)) (doctor.Report, error) {
	for _, r := range d.report.Rows {
		select {
		case <-ctx.Done():
			row(r) // what is under way fails for that
			d.ended <- ctx.Err()
			return d.report, nil
		case _, open := <-d.more:
			row(r)
			if open {
				d.came <- struct{}{}
			}
		}
	}
	d.ended <- nil
	return d.report, nil
}

// next gives the next row.
func (d *slowDoctor) next() {
	d.more <- struct{}{}
	<-d.came
}

// rest gives all others.
func (d *slowDoctor) rest() { close(d.more) }

func (x *tested) findings() []string {
	var all []string
	for _, o := range kittest.VisibleObjects(x.pages[PageDoctor].object()) {
		if r, ok := o.(*checkRow); ok {
			all = append(all, r.title.Text()+": "+r.seen.Text())
		}
	}
	return all
}

func TestDoctorShowsRowsAsTheyFinish(t *testing.T) {
	b := newFake()
	slow := slowly(b)
	x := open(t, b)
	x.tickNow()
	x.Show(PageDoctor)
	x.reads("Looking at everything between Talk and the bot", "0 checks done")
	slow.next()
	slow.next()
	x.tickNow()
	x.reads("2 checks done")
	want := []string{"Server answers: status.php: Nextcloud 32.0.1, not in maintenance", "Certificate: valid until 2027-02-11, Let's Encrypt", "The next check: running…"}
	if diff := cmp.Diff(want, x.findings()); diff != "" {
		t.Error(diff)
	}
	x.shoot("doctor-first-run")
	slow.rest()
	<-slow.ended
	x.idle()
	x.reads("One check failed: bot-secret", "11 checks in 2.3 s · 8 ok · 1 warned · 1 failed · 1 skipped · 14:35")

	// Now it is known what there is to look at.
	slow = slowly(b)
	test.Tap(x.buttonOf("Run again"))
	slow.next()
	x.tickNow()
	x.reads("1 of 11 checks done")
	want = []string{"Server answers: status.php: Nextcloud 32.0.1, not in maintenance", "Certificate: running…", "Talk: waiting", "Keychain: waiting"}
	if diff := cmp.Diff(want, x.findings()[:4]); diff != "" {
		t.Error(diff)
	}
	if n := len(x.findings()); n != 11 {
		t.Errorf("%d rows", n)
	}
	x.shoot("doctor-running")
	slow.rest()
	x.idle()
}

func TestDoctorStops(t *testing.T) {
	b := newFake()
	slow := slowly(b)
	slow.rest()
	x := open(t, b)
	x.tickNow()
	x.Show(PageDoctor)
	<-slow.ended
	x.idle()

	slow = slowly(b)
	x.window.Canvas().Focus(x.buttonOf("Run again"))
	x.press(fyne.KeyReturn)
	slow.next()
	x.tickNow()
	x.press(fyne.KeyReturn) // it says Stop now
	if err := <-slow.ended; err == nil {
		t.Error("the checks go on")
	}
	x.idle()
	x.tickNow()
	x.reads("Stopped", "1 of 11 checks done")
	want := []string{"Server answers: status.php: Nextcloud 32.0.1, not in maintenance", "Certificate: not looked at", "Talk: not looked at"}
	if diff := cmp.Diff(want, x.findings()[:3]); diff != "" {
		t.Error(diff)
	}
	if item := x.shell.items[PageDoctor]; item.Badge.Text != "" {
		t.Errorf("the badge says %q, of an earlier run", item.Badge.Text)
	}
	x.shoot("doctor-stopped")

	b.examine = nil
	x.press(fyne.KeyReturn)
	x.idle()
	x.reads("One check failed: bot-secret")
}

// Who stops when all is done but not shown yet has stopped.
func TestDoctorStopsAtTheLastMoment(t *testing.T) {
	x := open(t, newFake())
	x.Show(PageDoctor)
	x.tasks.Wait()
	test.Tap(x.buttonOf("Stop"))
	x.idle()
	x.reads("Stopped")
}

// The first visit runs the checks, later ones show what was found, and a run
// goes on while something else is shown.
func TestDoctorRunsByItselfOnce(t *testing.T) {
	b := newFake()
	slow := slowly(b)
	x := open(t, b)
	x.tickNow()
	x.Show(PageDoctor)
	slow.next()
	x.Show(PageOverview)
	x.SetVisible(false)
	slow.rest()
	x.idle()
	if badge := x.shell.items[PageDoctor].Badge; badge.Text != "1" || badge.Tone != kit.Bad {
		t.Errorf("the badge is %+v", badge)
	}
	x.SetVisible(true)
	x.Show(PageDoctor)
	x.reads("One check failed: bot-secret")
	if diff := cmp.Diff([]string{"Doctor"}, x.fake.asked()); diff != "" {
		t.Error(diff)
	}
	b.examine = nil
	b.report.Rows = b.report.Rows[:8]
	test.Tap(x.buttonOf("Run again"))
	x.idle()
	x.reads("All is well")
	if badge := x.shell.items[PageDoctor].Badge; badge.Text != "" {
		t.Errorf("the badge says %q where all is well", badge.Text)
	}
}

// The window does not end before the checks have, and does not wait for them.
func TestDoctorEndsWithTheWindow(t *testing.T) {
	b := newFake()
	slow := slowly(b)
	x := open(t, b)
	x.Show(PageDoctor)
	x.stop()
	if err := <-slow.ended; err == nil {
		t.Error("the checks were not told to end")
	}
}

// What is shown can be typed as it stands; what is copied for others says
// nothing of people and conversations.
func TestDoctorCopiesTheReport(t *testing.T) {
	b := newFake()
	fix := func(room string) bridge.Text { return bridge.Say("occ talk:bot:setup %[1]s %[2]s", "1", room) }
	b.report.Rows[8].Fix = fix(doctor.SomeRoom)
	b.examine = func(_ context.Context, row func(doctor.Row)) (doctor.Report, error) {
		for i, r := range b.report.Rows {
			if i == 8 {
				r.Fix = fix("knzaftd5")
			}
			row(r)
		}
		return b.report, nil
	}
	x := open(t, b)
	x.Show(PageDoctor)
	x.idle()
	test.Tap(x.buttonOf("Copy report"))
	var want bytes.Buffer
	table := doctor.Table{W: &want, Rows: true}
	for _, r := range b.report.Rows {
		table.Row(r)
	}
	table.End(b.report, true)
	if diff := cmp.Diff(want.String(), x.app.Clipboard().Content()); diff != "" {
		t.Error(diff)
	}
	x.reads("occ talk:bot:setup 1 knzaftd5")
}

func TestDoctorByKeyboard(t *testing.T) {
	x := open(t, newFake())
	x.window.Resize(fyne.NewSize(800, 350))
	x.Show(PageDoctor)
	x.idle()
	x.window.Canvas().Focus(x.buttonOf("Run again"))
	x.press(fyne.KeyTab)
	list, ok := x.window.Canvas().Focused().(*checklist)
	if !ok {
		t.Fatalf("the focus is on %T", x.window.Canvas().Focused())
	}
	inView := func(o fyne.CanvasObject) bool {
		y := x.app.Driver().AbsolutePositionForObject(o).Y
		return y >= headHeight && y+o.Size().Height <= 350
	}
	x.press(fyne.KeyEnd)
	if last := list.rows[10]; !inView(last) || last.ground.Stroke != kit.ColorAccent {
		t.Error("End does not go to the last row")
	}
	x.press(fyne.KeyHome, fyne.KeyUp, fyne.KeyDown, fyne.KeyDown)
	if second := list.rows[2]; !inView(second) || second.ground.Stroke != kit.ColorAccent || list.rows[10].ground.Stroke != "" {
		t.Error("the arrows do not go through the rows")
	}
	x.press(fyne.KeyTab)
	if b, ok := x.window.Canvas().Focused().(*kit.Button); !ok || b.Text != "Copy" || !inView(b) {
		t.Fatalf("the focus is on %+v", x.window.Canvas().Focused())
	}
	x.press(fyne.KeySpace)
	if got := x.app.Clipboard().Content(); got != "occ talk:bot:setup 1 knzaftd5" {
		t.Errorf("copied: %q", got)
	}
	x.window.Canvas().Focus(list)
	x.press(fyne.KeyEscape)
	if x.current != PageOverview {
		t.Error("Escape does not go back")
	}
}

func TestDoctorThatCannotRun(t *testing.T) {
	b := newFake()
	b.errs["Doctor"] = &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("there is no home")}
	x := open(t, b)
	x.Show(PageDoctor)
	x.idle()
	x.reads("there is no home", "No checks have run yet")
	x.shoot("doctor-empty")
	delete(b.errs, "Doctor")
	test.Tap(x.buttonOf("Run all checks"))
	x.idle()
	x.reads("One check failed: bot-secret")
}

// The page speaks the user's language, also in what is copied.
func TestDoctorTranslated(t *testing.T) {
	b := newFake()
	x := openWith(t, b, func(s string) string {
		return map[string]string{"One check failed: %s": "Une vérification a échoué : %s", "failed": "échouée", "Fix": "Remède"}[s] + strings.Repeat("%s", strings.Count(s, "%"))
	})
	x.Show(PageDoctor)
	x.idle()
	if !slices.ContainsFunc(x.texts(), func(s string) bool { return strings.HasPrefix(s, "Une vérification a échoué : bot-secret") }) {
		t.Errorf("the head says %q", x.texts()[:20])
	}
	p := x.pages[PageDoctor].(*doctorPage)
	for _, word := range []string{"Une vérification a échoué", "1 échouée", "Remède"} {
		if !strings.Contains(p.text(), word) {
			t.Errorf("%q is not in the report:\n%s", word, p.text())
		}
	}
}

func TestRunDoctorLooksAgain(t *testing.T) {
	x := open(t, newFake())
	x.Show(PageDoctor)
	x.idle()
	x.Show(PageOverview)
	x.RunDoctor()
	x.idle()
	if n := strings.Count(strings.Join(x.fake.asked(), " "), "Doctor"); n != 2 {
		t.Errorf("it looked %d times", n)
	}
}
