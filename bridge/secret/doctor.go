package secret

import (
	"cmp"
	"context"
	"crypto/subtle"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"perch/bridge"
)

// DiagnoseKeychain says whether the keychain can be used. Where it cannot, that
// is no failure if the environment gives every secret in needed.
func (s *Store) DiagnoseKeychain(ctx context.Context, needed []string) bridge.Result {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Second)
	defer cancel()
	for _, name := range Names() {
		_, err := s.keychain.Get(ctx, name)
		if err == nil || bridge.CodeOf(err) == bridge.CodeNotFound {
			continue
		}
		var missing []string
		for _, name := range needed {
			if s.env.from(name).variable == "" {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 {
			fix := bridge.Say("nothing, as long as the environment is the same wherever Perch is started")
			if !isAbsent(err) {
				fix = bridge.Say("nothing, as long as the environment is the same wherever Perch is started; else: %s").With(bridge.HintOf(err))
			}
			return bridge.Warned(bridge.TextOf(err),
				bridge.Say("The environment gives every secret that is needed, so Perch runs; it cannot store any."), fix)
		}
		if _, again := s.keychain.Get(ctx, missing[0]); again != nil { // what to do is about that one
			err = again
		}
		return bridge.FailedBy(err, bridge.Say("Perch keeps its secrets there, and lacks: %s", strings.Join(missing, ", ")))
	}
	return bridge.Passed(bridge.Say("%s, unlocked", cmp.Or(s.program(ctx), "Secret Service")))
}

// DiagnoseSecret says whether the secrets are there and can be what they should
// be. Of those that are not needed it only warns.
func (s *Store) DiagnoseSecret(ctx context.Context, needed bool) bridge.Result {
	status := s.Status(ctx, bridge.WebhookSecret)
	why := bridge.Say("With it Talk and Perch know each other's messages; it must be the one that the bot was installed with.")
	switch {
	case bridge.CodeOf(status.Err) == bridge.CodeNotFound && !needed:
		return bridge.Skipped(bridge.Say("not set, and not needed: signatures are not required, and replies go out as the user"))
	case bridge.CodeOf(status.Err) == bridge.CodeNotFound:
		return bridge.Failed(bridge.Say("not set"), why, s.HowTo(ctx, bridge.WebhookSecret))
	case status.Err != nil:
		fix := bridge.HintOf(status.Err)
		switch invalid := bridge.CodeOf(status.Err) == bridge.CodeInvalid; {
		case invalid && status.Variable != "":
			fix = s.HowTo(ctx, bridge.WebhookSecret)
		case invalid:
			fix = bridge.Say("perch secret set webhook_secret, with the secret alone; or make a new one: perch secret generate webhook_secret --force")
		}
		return bridge.Failed(bridge.TextOf(status.Err), why, fix)
	}
	for _, name := range Names() {
		if differ, length := s.differ(ctx, name); differ {
			return bridge.Warned(
				bridge.Say("the %[1]s in %[2]s (%[3]s characters) is not the one in the keychain; the environment's is used",
					name, s.env.from(name).name(), strconv.Itoa(length)),
				bridge.Say("Perch started elsewhere, without that variable, uses the other one."),
				bridge.Say("keep one: unset %[1]s\nor delete the other: perch secret delete %[2]s", s.env.from(name).variable, name))
		}
	}
	if status.Variable != "" {
		return bridge.Passed(bridge.Say("%[1]s characters, from %[2]s", strconv.Itoa(status.Length), origin{status.Variable, status.File}.name()))
	}
	return bridge.Passed(bridge.Say("%s characters", strconv.Itoa(status.Length)))
}

// differ reports whether a secret is set in both the environment and the
// keychain, to different values.
func (s *Store) differ(ctx context.Context, name string) (differ bool, length int) {
	here, err := s.env.Get(ctx, name)
	if err != nil {
		return false, 0
	}
	there, err := s.keychain.Get(ctx, name)
	return err == nil && subtle.ConstantTimeCompare([]byte(here.Reveal()), []byte(there.Reveal())) == 0, utf8.RuneCountInString(here.Reveal())
}

// WithoutKeychain returns a store of the environment alone.
func (s *Store) WithoutKeychain() *Store { return Chain(s.env, absent{Memory()}) }

// absent stands for a keychain that there is not.
type absent struct{ bridge.SecretStore }

func (absent) Get(_ context.Context, name string) (bridge.Secret, error) {
	if err := known(name); err != nil {
		return bridge.Secret{}, err
	}
	return bridge.Secret{}, notStored(name, ErrNoKeychain)
}
