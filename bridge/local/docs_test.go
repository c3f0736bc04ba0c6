package local_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"perch/bridge/testenv"
)

// docs/local-api.md has every path of the API and no other.
func TestEveryPathIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/local-api.md")
	check(t, err)
	code, err := os.ReadFile("server.go")
	check(t, err)
	var documented, served []string
	for _, m := range regexp.MustCompile("`((?:GET|POST|PUT|DELETE) /v1[^`?]*)`").FindAllStringSubmatch(string(doc), -1) {
		documented = append(documented, m[1])
	}
	for _, m := range regexp.MustCompile(`"((?:GET|POST|PUT|DELETE) /v1[^"]*)"`).FindAllStringSubmatch(string(code), -1) {
		served = append(served, m[1])
	}
	slices.Sort(documented)
	slices.Sort(served)
	if got, want := strings.Join(documented, "\n"), strings.Join(served, "\n"); got != want {
		t.Errorf("documented:\n%s\nserved:\n%s", got, want)
	}
}

// The commands of docs/local-api.md do what they say.
func TestDocumentedCommands(t *testing.T) {
	testenv.NeedPrograms(t, "curl")
	doc, err := os.ReadFile("../../docs/local-api.md")
	check(t, err)
	block := regexp.MustCompile("(?s)```sh\n(.*?)```").FindSubmatch(doc)
	if block == nil {
		t.Fatal("there are no commands")
	}
	w := newWorld(t)
	w.serve()
	for command := range strings.Lines(string(block[1])) {
		command = strings.ReplaceAll(strings.TrimSpace(command), "~/.local/share/perch/perch.sock", w.home.SocketFile())
		out, err := exec.Command("sh", "-c", command).CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), "{") || strings.Contains(string(out), `"error"`) {
			t.Errorf("%s: %v: %s", command, err, out)
		}
	}
}
