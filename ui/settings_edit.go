package ui

import (
	"context"
	"reflect"
	"strconv"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/doctor"
	"perch/ui/kit"
)

// editor is the form with what the backend says and does about it. The settings
// and the first steps show the same one.
type editor struct {
	u *UI
	*form
	checked checked
	read    reading
	seen    view
	saving  bool
	renewed time.Time // when the secret was changed of a bot that Talk has; zero: it was not
	views   []func()  // show what has changed

	tested trial // of the server

	commands   []bridge.Commands // that install the bot of the form
	noCommands error             // why there are none
	server     int               // which of the commands are shown
	askedFor   question          // what the commands were asked for
	stopAsking context.CancelFunc
}

// reading is what was read last of the settings.
type reading struct {
	config        config.Config
	problems      []config.Problem
	exists, login bool
}

// view is what of the bot the form shows.
type view struct {
	state              bridge.State
	fix                bridge.Text
	address, installed string
	tunnel             bridge.TunnelState
	last               time.Time
	addresses          []string // of this computer
}

// question is all that the answer of Settings.Occ hangs on.
type question struct {
	webhook                 config.Webhook
	tunnel                  config.Tunnel
	address, installed      string
	wrong, renewing, stored bool
	typed                   string // secret
}

// trial is a look at the server.
type trial struct {
	of     string // the address; empty: none yet
	busy   bool
	report doctor.Report
	err    error
	stop   context.CancelFunc
}

func newEditor(u *UI) *editor {
	e := &editor{u: u}
	e.read = e.look()
	e.form = newForm(e.read.config, e.read.problems, e.read.exists, e.read.login)
	e.checked = e.check(u.backend.CheckSecret)
	return e
}

func (e *editor) look() (r reading) {
	r.config, r.problems, r.exists = e.u.backend.Config()
	r.login = e.u.backend.StartsAtLogin()
	return r
}

// follow takes note of settings that were changed elsewhere, and of what the
// bot has seen. It reports whether there is something else to show.
func (e *editor) follow(s bridge.Snapshot) (changed bool) {
	if s.Last.ReceivedAt.After(e.renewed) {
		e.renewed = time.Time{}
	}
	now := view{s.State, s.Fix, s.Address, s.Installed, s.Tunnel, s.Last.ReceivedAt, e.u.backend.LocalAddresses()}
	changed = !reflect.DeepEqual(now, e.seen)
	e.seen = now
	return e.reread() || changed
}

// reread takes note of settings that were changed elsewhere, and reports
// whether they were.
func (e *editor) reread() bool {
	read := e.look()
	if e.saving || reflect.DeepEqual(read, e.read) {
		return false
	}
	e.read = read
	e.rebase(read.config, read.problems, read.exists, read.login)
	e.checked = e.check(e.u.backend.CheckSecret)
	return true
}

// edited is to be called when the form has changed.
func (e *editor) edited() {
	e.checked = e.check(e.u.backend.CheckSecret)
	e.notify()
}

// notify shows what has changed, and in the rail that there is something to
// save.
func (e *editor) notify() {
	text, t := "", kit.Warn
	if e.pending() {
		text = strconv.Itoa(e.checked.changes)
		if len(e.checked.errors) > 0 {
			t = kit.Bad
		}
	}
	e.u.badge(PageSettings, text, t)
	for _, show := range e.views {
		show()
	}
}

// pending reports whether a person has changed something that is not saved.
func (e *editor) pending() bool { return e.checked.edits > 0 }

// lookAtSecrets finds out which secrets there are.
func (e *editor) lookAtSecrets() {
	e.u.background(func(ctx context.Context) func() {
		found := map[string]secretValue{}
		for _, name := range formSecrets() {
			s := secretValue{known: true}
			s.place, s.fixed, s.err = e.u.backend.SecretPlace(ctx, name)
			if s.err == nil {
				_, err := e.u.backend.Secret(ctx, name)
				if s.stored = err == nil; err != nil && bridge.CodeOf(err) != bridge.CodeNotFound {
					s.err = err
				}
			}
			found[name] = s
		}
		return func() {
			for name, s := range found {
				now := e.secrets[name]
				s.typed, s.remove = now.typed, now.remove && s.stored
				*now = s
			}
			e.edited()
		}
	})
}

// secret returns a secret as the form has it; CodeNotFound if there is none.
func (e *editor) secret(name string) func(ctx context.Context) (bridge.Secret, error) {
	s := *e.secrets[name]
	return func(ctx context.Context) (bridge.Secret, error) {
		switch {
		case s.typed != "":
			return bridge.NewSecret(s.typed), nil
		case s.remove:
			return bridge.Secret{}, &bridge.Error{Code: bridge.CodeNotFound, Text: bridge.Say("There is no secret yet")}
		default:
			return e.u.backend.Secret(ctx, name)
		}
	}
}

// place says where secrets are kept, and what is wrong with that place.
func (e *editor) place() (place bridge.Text, err error) {
	for _, name := range formSecrets() {
		s := e.secrets[name]
		switch {
		case s.err != nil:
			return s.place, s.err
		case s.known && !s.fixed:
			return s.place, nil
		case place.IsZero():
			place = s.place
		}
	}
	return place, nil
}

// apply saves the form, if it is right, and then calls done.
func (e *editor) apply(done func()) {
	if e.reread() {
		e.notify()
	}
	if e.saving || !e.checked.ready() {
		return
	}
	e.saving = true
	e.u.hideNotice()
	c, login, write := e.checked.config, e.values.login, !reflect.DeepEqual(e.checked.config, e.base) || !e.exists || len(e.lost) > 0
	loginChanged, typed := login != e.saved.login, e.values.clone()
	change := map[string]bridge.Secret{}
	for name, s := range e.secrets {
		if s.changed() {
			change[name] = bridge.NewSecret(s.typed)
		}
	}
	e.notify()
	e.u.background(func(ctx context.Context) func() {
		var err error
		var stored []string
		for _, name := range formSecrets() {
			s, changed := change[name]
			if err != nil || !changed {
				continue
			}
			if err = e.u.backend.SetSecret(ctx, name, s); err == nil {
				stored = append(stored, name)
			}
		}
		saved := false
		if err == nil && write {
			err = e.u.backend.Save(ctx, c)
			saved = err == nil
		}
		if err == nil && loginChanged {
			err = e.u.backend.SetStartsAtLogin(login)
		}
		return func() {
			e.saving = false
			for _, name := range stored {
				e.stored(name, change[name])
			}
			if saved && reflect.DeepEqual(e.values, typed) {
				e.values = valuesOf(c, login) // what is saved, however it was typed
			}
			e.read = e.look()
			e.rebase(e.read.config, e.read.problems, e.read.exists, e.read.login)
			e.askedFor = question{}
			e.edited()
			if err != nil {
				e.u.failed(err)
				return
			}
			done()
		}
	})
}

// stored takes note that a secret is stored, or removed if it is empty.
func (e *editor) stored(name string, value bridge.Secret) {
	s := e.secrets[name]
	s.stored, s.known = !value.IsZero(), true
	if s.typed == value.Reveal() {
		s.typed, s.remove = "", false
	}
	if name == bridge.WebhookSecret && e.u.snapshot.Installed != "" {
		e.renewed = e.u.now()
	}
}

// test looks at the server, and again if that is under way.
func (e *editor) test() {
	e.stopTest()
	c, token := e.checked.config, e.secret(bridge.AppToken)
	e.tested = trial{of: e.text(serverKey), busy: true}
	e.tested.stop = e.u.background(func(ctx context.Context) func() {
		appToken, err := token(ctx)
		var report doctor.Report
		if err == nil || bridge.CodeOf(err) == bridge.CodeNotFound {
			report, err = e.u.backend.TestServer(ctx, c, appToken)
		}
		return func() {
			e.tested.busy, e.tested.report, e.tested.err = false, report, err
			e.notify()
		}
	})
	e.notify()
}

// stopTest ends a test that is under way.
func (e *editor) stopTest() {
	if e.tested.busy {
		e.tested.stop()
		e.tested = trial{}
	}
}

// refusedToken says why the server does not take the app token, if the last
// test has found that.
func (e *editor) refusedToken() bridge.Text {
	if e.secrets[bridge.AppToken].changed() || e.tested.of != e.text(serverKey) {
		return bridge.Text{}
	}
	for _, row := range e.tested.report.Rows {
		if row.ID == "app-token" && row.Status == bridge.StatusFail {
			return row.Seen
		}
	}
	return bridge.Text{}
}

// renewing reports whether Talk has another webhook secret than the form.
func (e *editor) renewing() bool {
	return e.u.snapshot.Installed != "" && (e.secrets[bridge.WebhookSecret].typed != "" || !e.renewed.IsZero())
}

// askCommands asks what is to be typed on the server, if that may have changed.
func (e *editor) askCommands() {
	c, s := e.checked.config, e.u.snapshot
	secret := e.secrets[bridge.WebhookSecret]
	if !secret.known {
		return
	}
	wrong := secret.lacking() || e.checked.unreachable() || !e.checked.errors[bridge.WebhookSecret].IsZero()
	key := question{c.Webhook, c.Tunnel, s.Address, s.Installed, wrong, e.renewing(), secret.stored && !secret.remove, secret.typed}
	if reflect.DeepEqual(key, e.askedFor) {
		return
	}
	if e.stopAsking != nil {
		e.stopAsking()
	}
	e.askedFor = key
	if wrong {
		e.commands, e.noCommands = nil, nil
		return
	}
	get, renewing := e.secret(bridge.WebhookSecret), e.renewing()
	e.stopAsking = e.u.background(func(ctx context.Context) func() {
		var commands []bridge.Commands
		value, err := get(ctx)
		if err == nil {
			commands, err = e.u.backend.Occ(ctx, c, value)
		}
		for i, of := range commands {
			if renewing {
				commands[i].Lines, commands[i].Shown = withUninstall(of.Lines), withUninstall(of.Shown)
			}
		}
		return func() {
			e.commands, e.noCommands = commands, err
			e.server = max(0, min(e.server, len(commands)-1))
			e.notify()
		}
	})
}
