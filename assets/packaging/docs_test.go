package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"perch/bridge/cli"
)

func documents(t *testing.T) map[string]string {
	t.Helper()
	t.Chdir("../..")
	var files []string
	err := filepath.WalkDir("docs", func(path string, _ fs.DirEntry, err error) error {
		if filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 5 {
		t.Fatalf("documents %v: %v", files, err)
	}
	texts := map[string]string{}
	for _, file := range append(files, "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md") {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = string(data)
	}
	return texts
}

func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#]+)[^)]*\)`)
	for file, text := range documents(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
}

// Every command line of perch, and every target of make, that a document shows
// is there.
func TestCommandsExist(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^ *```(?:sh|bash)?\n(.*?)^ *```$|`([^`\n]+)`")
	command := regexp.MustCompile(`(?m)(?:^|[;&|]) *(?:\./|sudo |env |[A-Z_]+=\S+ )*(perch|make) ([a-z][a-z-]*(?: [a-z][a-z_.-]*)*)`)
	found := 0
	for file, text := range documents(t) {
		for _, b := range block.FindAllStringSubmatch(text, -1) {
			for _, m := range command.FindAllStringSubmatch(b[1]+b[2], -1) {
				found++
				if m[1] == "make" {
					for target := range strings.FieldsSeq(m[2]) {
						if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(target) + `:`).Match(makefile) {
							t.Errorf("%s: there is no make %s", file, target)
						}
					}
					continue
				}
				words := strings.Fields(m[2])
				cmd, rest, err := cli.Command().Find(words)
				if err != nil || !cmd.HasParent() || len(rest) > 0 && cmd.HasSubCommands() {
					t.Errorf("%s: there is no %s", file, strings.TrimSpace(m[0]))
				}
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d commands were found", found)
	}
}
