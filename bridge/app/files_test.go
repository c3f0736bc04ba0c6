package app_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/practice"
	"perch/bridge/testenv"
)

// artist answers with files: the words of a message are their names.
func artist(t *testing.T) func(*config.Config) {
	t.Helper()
	return with(config.Exec, func(h *config.Handler) {
		h.Trigger = config.OnAll
		h.Command = []string{script(t, `cd "$PERCH_OUT"
for name in $(sed 's/.*"text":"\([^"]*\)".*/\1/'); do
	case "$name" in
	empty*) : > "$name" ;;
	big*) head -c 10485760 /dev/zero > "$name" ;;
	*) echo "content of $name" > "$name" ;;
	esac
done
echo "Here you are."`)}
	})
}

// fileNamed waits until a file stands in the room.
func (w *world) fileNamed(name string) practice.Entry {
	w.t.Helper()
	e, err := w.server.Wait(w.t.Context(), w.room, 0, func(e practice.Entry) bool { return e.File == name })
	check(w.t, err)
	return e
}

// outgoing returns what is kept of files that were not sent.
func (w *world) outgoing() (names []string) {
	all, _ := os.ReadDir(filepath.Join(w.home.DataDir, "outgoing"))
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

func TestAnswersWithFiles(t *testing.T) {
	w, _ := newAccount(t, artist(t))
	id, _ := w.post("alice", "chart.txt empty.txt big.bin")
	first := w.fileNamed("big.bin")
	if first.Text != "Here you are." || first.Actor.ID != "owl" || first.ReplyTo != id || first.ReferenceID == "" {
		t.Errorf("the first is %+v", first)
	}
	w.fileNamed("empty.txt")
	if e := w.fileNamed("chart.txt"); e.Text != "{file}" {
		t.Errorf("the third is %+v", e)
	}
	for name, size := range map[string]int{"chart.txt": 21, "empty.txt": 0, "big.bin": 10 << 20} {
		if content, ok := w.server.Uploaded("owl", "Talk/"+name); !ok || len(content) != size {
			t.Errorf("%s has %d bytes, %t", name, len(content), ok)
		}
	}
	w.await("Reply sent")
	w.await("Reply sent")
	w.await("Reply sent")
	// Another file of the same name takes none away.
	w.post("alice", "chart.txt")
	e, err := w.server.Wait(t.Context(), w.room, first.ID, func(e practice.Entry) bool {
		return strings.HasPrefix(e.File, "chart ") && strings.HasSuffix(e.File, ".txt")
	})
	check(t, err)
	w.await("Reply sent")
	if left := w.outgoing(); len(left) != 0 {
		t.Errorf("%q is left after %s", left, e.File)
	}
	w.server.SetQuota("owl", 1)
	w.post("alice", "more.txt")
	w.shows("I could not share the file more.txt here: There is no space left for the file \"more.txt\" in the files of the user of the app token.")
	if e := w.await("was given up"); !strings.Contains(e.Hint.String(), "quota") {
		t.Errorf("the log says %+v", e)
	}
	if left := w.outgoing(); len(left) != 0 {
		t.Errorf("%q is left", left)
	}
	if all := w.texts(bridge.ActorUser); len(all) != 8 {
		t.Errorf("the room has %q", all)
	}
}

// Beside a bot the user of the app token shares the files, and what comes back of
// that is not answered, though that user is.
func TestBotAnswersWithFiles(t *testing.T) {
	w := newWorld(t, practice.Options{}, artist(t))
	w.post("alice", "no-token.txt")
	w.shownBy("bots", "I have a file for you and cannot share it: There is no app token.")
	check(t, w.secrets.Set(t.Context(), bridge.AppToken, bridge.NewSecret(w.server.AppToken("alice"))))
	w.app.Reload()
	w.await("The settings were read again")
	w.post("alice", "chart.txt")
	if e := w.fileNamed("chart.txt"); e.Actor.ID != "alice" || e.Text != "Here you are." {
		t.Errorf("shared %+v", e)
	}
	w.post("alice", "last.txt")
	w.fileNamed("last.txt")
	w.await("Reply sent")
	n := 0
	for _, e := range w.server.Transcript(w.room) {
		if e.File != "" {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d files are shared, want 2", n)
	}
}

// shownBy waits until somebody has written text.
func (w *world) shownBy(kind, text string) {
	w.t.Helper()
	_, err := w.server.Wait(w.t.Context(), w.room, 0, func(e practice.Entry) bool { return e.Actor.Type == kind && e.Text == text })
	check(w.t, err)
}

// A process that is killed in the middle of an upload, or between that and the
// end of it, shares the file once after the next start.
func TestKilledWhileAFileIsShared(t *testing.T) {
	for name, fault := range map[string]practice.Fault{
		"upload": {Kind: practice.FaultDropAnswer, On: practice.EndpointFiles, Times: 1},
		"share":  {Kind: practice.FaultDropAnswer, On: practice.EndpointShares, Times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w, token := newAccount(t, artist(t))
			w.stop()
			w.server.SetFaults(fault)
			cmd := processUntil(t, w.home, token, "Logged in as")
			w.post("alice", "chart.txt")
			part := "/remote.php/dav/"
			if name == "share" {
				part = "/shares"
			}
			began := time.Now()
			for w.asked(part) == 0 {
				if time.Since(began) > testenv.Patience {
					t.Fatal("no file is on its way")
				}
				time.Sleep(5 * time.Millisecond)
			}
			check(t, cmd.Process.Kill())
			_ = cmd.Wait()
			w.server.SetFaults()
			w.app = nil
			w.start()
			w.fileNamed("chart.txt")
			w.await("Reply sent")
			n := 0
			for _, e := range w.server.Transcript(w.room) {
				if e.File != "" {
					n++
				}
			}
			if left := w.outgoing(); n != 1 || len(left) != 0 {
				t.Errorf("it stands there %d times, %q is left", n, left)
			}
		})
	}
}
