package secret

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"perch/bridge"
	"perch/bridge/testenv"
)

// What the doctor says of a real keychain in each of its states, with the
// secret in the environment and without.
func TestDiagnoseKeychain(t *testing.T) {
	testenv.NeedPrograms(t, "dbus-run-session", "gnome-keyring-daemon")
	home := t.TempDir()
	for _, s := range []struct{ home, prepare, seen string }{
		{home, unlocked, "GNOME Keyring, unlocked"},
		{home, started, "is locked"},
		{t.TempDir(), started, "has no default keyring"},
		{t.TempDir(), "export DBUS_SESSION_BUS_ADDRESS=unix:path=/nonexistent", "there is no keychain here"},
	} {
		cmd := exec.CommandContext(t.Context(), "dbus-run-session", "--", "sh", "-c", s.prepare+`; exec "$0" -test.run='^TestDiagnoseInSession$' -test.v`, os.Args[0])
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + s.home, "XDG_RUNTIME_DIR=" + t.TempDir(), "PERCH_TEST_SEEN=" + s.seen,
		}
		out, err := cmd.CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("--- PASS: TestDiagnoseInSession")) {
			t.Errorf("%s: %v\n%s", s.seen, err, out)
		}
	}
}

func TestDiagnoseInSession(t *testing.T) {
	seen := os.Getenv("PERCH_TEST_SEEN")
	if seen == "" {
		t.Skip("runs in a session of TestDiagnoseKeychain")
	}
	needed := []string{bridge.WebhookSecret}
	set := func(string) string { return canary }
	unset := func(string) string { return "" }
	failure, warning := bridge.StatusFail, bridge.StatusWarn
	if seen == "GNOME Keyring, unlocked" {
		failure, warning = bridge.StatusOK, bridge.StatusOK
		if err := Open(unset, service).Set(t.Context(), bridge.WebhookSecret, bridge.NewSecret(canary)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		env    Environment
		status bridge.Status
	}{{unset, failure}, {set, warning}} {
		r := Open(test.env, service).DiagnoseKeychain(t.Context(), needed)
		if r.Status != test.status || !strings.Contains(r.Seen.String(), seen) {
			t.Errorf("%s: %s", r.Status, r.Seen)
		}
		if r.Status != bridge.StatusOK && (r.Why.IsZero() || r.Fix.IsZero()) {
			t.Errorf("why %q, fix %q", r.Why, r.Fix)
		}
	}
}
