package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// edition is what a package has in it.
type edition struct {
	name, other, arch, program string
	window                     bool
	summary, details           string
	depends                    map[string][]string // by the kind of package
}

// maintainer is whom a package names.
const maintainer = "The Perch authors <perch@example.org>"

const details = `Perch takes the messages that Nextcloud Talk sends, keeps them safe on disk,
lets a program, a web hook, a language model or another bot answer them, and
posts the replies. `

func headless(arch, program string) edition {
	return edition{
		name: "perch-headless", other: "perch", arch: arch, program: program,
		summary: "Nextcloud Talk bot for a home server",
		details: details + "This is the edition without a window, for servers.",
	}
}

func windowed(program string) edition {
	// What Fyne's driver is linked with, by the names that each system has for it.
	return edition{
		name: "perch", other: "perch-headless", arch: runtime.GOARCH, program: program, window: true,
		summary: "Nextcloud Talk bot for the desktop",
		details: details + "This is the edition with a window and an icon in the tray.",
		depends: map[string][]string{
			"deb":       {"libc6 (>= 2.34)", "libgl1", "libx11-6", "libxcursor1", "libxinerama1", "libxi6", "libxrandr2", "libxxf86vm1"},
			"rpm":       {"libGL.so.1()(64bit)", "libX11.so.6()(64bit)", "libXcursor.so.1()(64bit)", "libXinerama.so.1()(64bit)", "libXi.so.6()(64bit)", "libXrandr.so.2()(64bit)", "libXxf86vm.so.1()(64bit)"},
			"archlinux": {"glibc", "libgl", "libx11", "libxcursor", "libxinerama", "libxi", "libxrandr", "libxxf86vm"},
		},
	}
}

// kinds are the kinds of packages, and what nfpm calls them.
func kinds() []string { return []string{"apk", "archlinux", "deb", "rpm"} }

// packages makes the packages of an edition, of the given kinds.
func (r *release) packages(ctx context.Context, e edition, kinds ...string) error {
	for _, kind := range kinds {
		if e.window && kind == "apk" {
			continue // it is linked with glibc, which Alpine has not
		}
		say("Packing %s for %s as %s", e.name, e.arch, kind)
		changes := fmt.Sprintf("%s (%s-1) unstable; urgency=medium\n\n  * See changelog.gz beside this file.\n\n -- %s  %s\n",
			e.name, strings.Replace(r.version, "-", "~", 1), maintainer, r.date.Format(time.RFC1123Z))
		if err := r.write(e.name+".changelog.gz", []byte(changes)); err != nil {
			return err
		}
		settings, err := json.MarshalIndent(r.nfpm(e, kind), "", "\t") // JSON is YAML
		if err != nil {
			return err
		}
		file := fmt.Sprintf("nfpm-%s-%s-%s.yaml", e.name, e.arch, kind)
		if err := r.write(file, settings); err != nil {
			return err
		}
		env := []string{fmt.Sprint("SOURCE_DATE_EPOCH=", r.date.Unix())}
		if err := run(ctx, env, "go", "run", nfpm, "package", "--config", filepath.Join(r.work, file), "--packager", kind, "--target", r.dist); err != nil {
			return err
		}
	}
	return nil
}

// content is a file or folder of a package, as nfpm has it.
type content struct {
	Source      string   `json:"src,omitempty"`
	Destination string   `json:"dst"`
	Type        string   `json:"type,omitempty"`
	Info        fileInfo `json:"file_info"`
}

type fileInfo struct {
	Mode  int    `json:"mode,omitempty"`
	MTime string `json:"mtime"`
}

func (r *release) nfpm(e edition, kind string) map[string]any {
	at := r.date.Format("2006-01-02T15:04:05Z")
	var contents []content
	add := func(source, destination string, mode int) {
		contents = append(contents, content{Source: source, Destination: destination, Info: fileInfo{mode, at}})
	}
	part := func(name string) string { return filepath.Join(r.work, name) }
	doc := "/usr/share/doc/" + e.name + "/"
	zsh := "/usr/share/zsh/site-functions/_perch"
	if kind == "deb" {
		zsh = "/usr/share/zsh/vendor-completions/_perch"
		add(files+"/"+e.name+".lintian-overrides", "/usr/share/lintian/overrides/"+e.name, 0o644)
	}
	add(e.program, "/usr/bin/perch", 0o755)
	add(part("man/*"), "/usr/share/man/man1/", 0o644)
	add(part("completions/perch"), "/usr/share/bash-completion/completions/perch", 0o644)
	add(part("completions/_perch"), zsh, 0o644)
	add(part("completions/perch.fish"), "/usr/share/fish/vendor_completions.d/perch.fish", 0o644)
	add(files+"/perch.service", "/usr/lib/systemd/system/perch.service", 0o644)
	add(files+"/perch-user.service", "/usr/lib/systemd/user/perch.service", 0o644)
	add(files+"/copyright", doc+"copyright", 0o644)
	add(part("changelog.gz"), doc+"changelog.gz", 0o644)
	if kind == "deb" {
		add(part(e.name+".changelog.gz"), doc+"changelog.Debian.gz", 0o644)
	}
	add(part("THIRD_PARTY_LICENSES.gz"), doc+"THIRD_PARTY_LICENSES.gz", 0o644)
	if e.window {
		add(files+"/app.perch.Perch.desktop", "/usr/share/applications/app.perch.Perch.desktop", 0o644)
		add(part("app.perch.Perch.metainfo.xml"), "/usr/share/metainfo/app.perch.Perch.metainfo.xml", 0o644)
		add(part("icons/perch.svg"), "/usr/share/icons/hicolor/scalable/apps/app.perch.Perch.svg", 0o644)
		for _, size := range iconSizes() {
			add(part(fmt.Sprintf("icons/%d.png", size)), fmt.Sprintf("/usr/share/icons/hicolor/%[1]dx%[1]d/apps/app.perch.Perch.png", size), 0o644)
		}
	}
	contents = append(contents, content{Destination: "/etc/perch", Type: "dir", Info: fileInfo{0o755, at}})
	arch := e.arch
	if arch == "arm" {
		arch = "arm6"
		if kind == "deb" {
			arch = "armhf" // what Debian and Raspberry Pi OS call it
		}
	}
	settings := map[string]any{
		"name": e.name, "arch": arch, "platform": "linux", "version": r.version, "version_schema": "semver", "release": "1", "mtime": at,
		"section": "net", "priority": "optional", "maintainer": maintainer,
		"description": e.summary + "\n" + e.details,
		"depends":     e.depends[kind], "recommends": recommends(e, kind),
		"conflicts": []string{e.other}, "replaces": []string{e.other},
		"contents": contents,
		"deb":      map[string]any{"compression": "xz"},
		"rpm":      map[string]any{"group": "Applications/Internet", "summary": e.summary, "compression": "xz"},
	}
	if kind != "deb" { // which has it in copyright
		settings["license"] = "Apache-2.0"
	}
	return settings
}

// recommends is what makes it better: certificates to trust servers by.
func recommends(e edition, kind string) []string {
	if kind == "archlinux" || kind == "apk" {
		return nil
	}
	names := []string{"ca-certificates"}
	if e.window && kind == "deb" {
		names = append(names, "gnome-keyring | keepassxc | kwalletmanager")
	}
	return names
}
