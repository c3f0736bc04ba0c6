package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// licencesFile is what ships with every Perch.
const licencesFile = "THIRD_PARTY_LICENSES"

// allowed are the licences that a library may have, by their SPDX names. None
// asks more of Perch than to pass on its text, or for changes to itself.
func allowed() []string {
	return []string{
		"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-2-Clause-FreeBSD", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
		"ISC", "MIT", "MIT-0", "MPL-2.0", "OFL-1.1", "Unlicense", "Zlib",
	}
}

// ofDocuments are licences that modules name for their documentation, which is
// not linked in.
func ofDocuments() map[string]string {
	return map[string]string{"github.com/modelcontextprotocol/go-sdk": "CC-BY-4.0"}
}

// licences checks that every library that is linked in, on any of the
// platforms, has an allowed licence, and that licencesFile has their texts;
// with --write it writes them there.
func licences(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("licences", flag.ContinueOnError)
	write := flags.Bool("write", false, "write "+licencesFile)
	if err := flags.Parse(args); err != nil {
		return err
	}
	texts := map[string][]string{} // by the text: whose it is
	var wrong []error
	dirs, err := linked(ctx, flags.Args())
	if err != nil {
		return err
	}
	for module, folders := range dirs {
		found, err := licencesOf(module, folders)
		wrong = append(wrong, err)
		for _, text := range found {
			texts[text] = append(texts[text], module)
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return err
	}
	var out bytes.Buffer
	_, _ = fmt.Fprintln(&out, "Perch contains these libraries, and the licences ask for their texts to be passed on.")
	var parts []string
	for text, modules := range texts {
		slices.Sort(modules)
		parts = append(parts, strings.Join(modules, "\n")+"\n\n"+text)
	}
	slices.Sort(parts)
	for _, part := range parts {
		_, _ = fmt.Fprintf(&out, "\n%s\n\n%s\n", strings.Repeat("=", 80), part)
	}
	if *write {
		return os.WriteFile(licencesFile, out.Bytes(), 0o644)
	}
	if have, err := os.ReadFile(licencesFile); err != nil || !bytes.Equal(have, out.Bytes()) {
		return errors.New(licencesFile + " is not up to date; write it with: make licences")
	}
	return nil
}

// linked returns the folders of the packages that are linked into Perch, by
// "module version".
func linked(ctx context.Context, platforms []string) (map[string][]string, error) {
	dirs := map[string][]string{}
	list := func(tags string, env ...string) error {
		cmd := exec.CommandContext(ctx, "go", "list", "-deps", "-tags", tags,
			"-f", `{{if .Module}}{{if not .Module.Main}}{{.Module.Path}} {{.Module.Version}}{{"\t"}}{{.Module.Dir}}{{"\t"}}{{.Dir}}{{end}}{{end}}`, ".")
		cmd.Env = append(os.Environ(), env...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("go list: %w", err)
		}
		for line := range strings.Lines(string(out)) {
			fields := strings.Split(strings.TrimSpace(line), "\t")
			if len(fields) != 3 {
				continue
			}
			for dir := fields[2]; strings.HasPrefix(dir, fields[1]); dir = filepath.Dir(dir) {
				if !slices.Contains(dirs[fields[0]], dir) {
					dirs[fields[0]] = append(dirs[fields[0]], dir)
				}
			}
		}
		return nil
	}
	for _, platform := range platforms {
		system, arch, _ := strings.Cut(platform, "/")
		if err := list("headless", "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch); err != nil {
			return nil, err
		}
	}
	for _, system := range []string{"linux", "windows", "darwin"} { // those that have a window
		if err := list("migrated_fynedo", "CGO_ENABLED=1", "GOOS="+system, "GOARCH=amd64"); err != nil {
			return nil, err
		}
	}
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	dirs["the standard library of Go"] = []string{strings.TrimSpace(string(root))}
	return dirs, nil
}

// licencesOf returns the texts of the licences and notices in the folders of a
// module.
func licencesOf(module string, folders []string) (texts []string, err error) {
	name := regexp.MustCompile(`(?i)^(un)?(licen[sc]e|copying|notice)([-.].*)?$`)
	known := false
	for _, folder := range folders {
		files, err := os.ReadDir(folder)
		if err != nil {
			return nil, err
		}
		for _, f := range files {
			if !f.Type().IsRegular() || !name.MatchString(f.Name()) || strings.HasSuffix(f.Name(), ".go") {
				continue
			}
			data, err := os.ReadFile(filepath.Join(folder, f.Name()))
			if err != nil {
				return nil, err
			}
			for _, m := range licensecheck.Scan(data).Match {
				if path, _, _ := strings.Cut(module, " "); ofDocuments()[path] == m.ID {
					continue
				}
				if !slices.Contains(allowed(), m.ID) {
					return nil, fmt.Errorf("%s: the licence %s of %s is not one that is allowed", module, m.ID, f.Name())
				}
				known = true
			}
			texts = append(texts, strings.TrimSpace(strings.ReplaceAll(string(data), "\r\n", "\n")))
		}
	}
	if !known {
		return nil, fmt.Errorf("%s: no licence is known", module)
	}
	slices.Sort(texts)
	return slices.Compact(texts), nil
}
