package main

import (
	"archive/tar"
	"archive/zip"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"perch/bridge/cli"
)

// The programs that a release is made with. They are built from source, by the
// versions that stand here.
const (
	nfpm      = "github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.0"
	winres    = "github.com/tc-hib/go-winres@v0.3.3"
	cyclonedx = "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0"
)

// release is one release in the making.
type release struct {
	version string
	date    time.Time // of the commit: nothing in a release tells when it was built
	dist    string    // where what is released ends up
	work    string    // where it is made
	window  string    // a perch with a window for this machine's platform; empty: there is none
}

// releaseFor makes dist/ for the platforms, such as linux/arm64.
func releaseFor(ctx context.Context, args []string) (err error) {
	r := release{dist: "dist"}
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	flags.StringVar(&r.version, "version", "", "of the release")
	flags.StringVar(&r.window, "window", "", "`FILE`: perch with its window, built for this machine")
	if err = flags.Parse(args); err != nil {
		return err
	}
	if r.version == "" || r.version == "dev" {
		return errors.New("a release is made in a clone, which knows its version")
	}
	if r.date, err = dateOfCommit(ctx); err != nil {
		return err
	}
	r.work = filepath.Join(r.dist, "work")
	if err = errors.Join(os.RemoveAll(r.dist), os.MkdirAll(r.work, 0o755)); err != nil {
		return err
	}
	if err = r.parts(); err != nil { //nolint:contextcheck // What it makes of commands does not execute them.
		return err
	}
	for _, platform := range flags.Args() {
		if err = r.platform(ctx, platform); err != nil {
			return fmt.Errorf("%s: %w", platform, err)
		}
	}
	if r.window != "" {
		if err = r.packages(ctx, windowed(r.window), kinds()...); err != nil {
			return err
		}
	}
	if err = errors.Join(r.image(), r.materials(ctx)); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(r.work), r.checksums())
}

// dateOfCommit returns SOURCE_DATE_EPOCH, else when the commit was made.
func dateOfCommit(ctx context.Context) (time.Time, error) {
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		out, err := exec.CommandContext(ctx, "git", "log", "-1", "--format=%ct").Output()
		if err != nil {
			return time.Time{}, fmt.Errorf("git: %w", err)
		}
		epoch = strings.TrimSpace(string(out))
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	return time.Unix(seconds, 0).UTC(), err
}

// run runs a program, which says itself what goes wrong.
func run(ctx context.Context, env []string, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", program, strings.Join(args, " "), err)
	}
	return nil
}

func say(format string, args ...any) { _, _ = fmt.Fprintf(os.Stderr, format+"\n", args...) }

// platform builds Perch without a window for one platform, and what it is
// released in there.
func (r *release) platform(ctx context.Context, platform string) error {
	system, arch, _ := strings.Cut(platform, "/")
	program := filepath.Join(r.work, system+"-"+arch, "perch")
	if system == "windows" {
		program += ".exe"
	}
	say("Building perch for %s", platform)
	if err := r.build(ctx, system, arch, program); err != nil {
		return err
	}
	switch system {
	case "windows":
		if err := r.windows(ctx, program); err != nil {
			return err
		}
	case "linux":
		if slices.Contains([]string{"amd64", "arm64", "arm"}, arch) {
			if err := r.packages(ctx, headless(arch, program), kinds()...); err != nil {
				return err
			}
		}
	}
	return r.archive(program, system, arch)
}

// parts writes what is beside the programs in the packages.
func (r *release) parts() error {
	root := cli.Command()
	return errors.Join(r.manPages(root), r.completions(root), r.icons(), r.documents())
}

// build builds Perch without a window. ARM is that of the first Raspberry Pi,
// which all that came later run, too.
func (r *release) build(ctx context.Context, system, arch, program string) error {
	return run(ctx, []string{"CGO_ENABLED=0", "GOOS=" + system, "GOARCH=" + arch, "GOARM=6"},
		"go", "build", "-p", "2", "-trimpath", "-buildvcs=false", "-tags", "headless,timetzdata",
		"-ldflags", "-s -w -X perch/bridge/cli.version="+r.version, "-o", program, ".")
}

// entry is a file of an archive.
type entry struct {
	name, file string
	mode       fs.FileMode
}

// archive packs a program with what belongs to it.
func (r *release) archive(program, system, arch string) error {
	folder := fmt.Sprintf("perch-headless-%s-%s-%s", r.version, system, cmp.Or(map[string]string{"arm": "armv6"}[arch], arch))
	entries := []entry{{filepath.Base(program), program, 0o755}}
	for _, name := range []string{"LICENSE", "README.md", "THIRD_PARTY_LICENSES", "CHANGELOG.md"} {
		if _, err := os.Stat(name); err == nil {
			entries = append(entries, entry{name, name, 0o644})
		}
	}
	if system != "windows" {
		for _, dir := range []string{"man", "completions"} {
			files, err := os.ReadDir(filepath.Join(r.work, dir))
			if err != nil {
				return err
			}
			for _, f := range files {
				entries = append(entries, entry{dir + "/" + f.Name(), filepath.Join(r.work, dir, f.Name()), 0o644})
			}
		}
	}
	if system == "windows" {
		return r.zip(folder, entries)
	}
	return r.tarball(folder, entries)
}

func (r *release) tarball(folder string, entries []entry) (err error) {
	out, err := os.Create(filepath.Join(r.dist, folder+".tar.gz"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	packed, err := gzip.NewWriterLevel(out, gzip.BestCompression)
	if err != nil {
		return err
	}
	w := tar.NewWriter(packed)
	for _, e := range entries {
		data, err := os.ReadFile(e.file)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: folder + "/" + e.name, Mode: int64(e.mode), Size: int64(len(data)), ModTime: r.date}); err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), packed.Close())
}

func (r *release) zip(folder string, entries []entry) (err error) {
	out, err := os.Create(filepath.Join(r.dist, folder+".zip"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	w := zip.NewWriter(out)
	for _, e := range entries {
		data, err := os.ReadFile(e.file)
		if err != nil {
			return err
		}
		h := &zip.FileHeader{Name: folder + "/" + e.name, Method: zip.Deflate, Modified: r.date}
		h.SetMode(e.mode)
		f, err := w.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := f.Write(data); err != nil {
			return err
		}
	}
	return w.Close()
}

// materials writes what Perch is made of, for programs to read (an SBOM).
func (r *release) materials(ctx context.Context) error {
	return run(ctx, []string{"GOFLAGS=-tags=headless", "CGO_ENABLED=0"}, "go", "run", cyclonedx, "app", "-json", "-licenses", "-noserial",
		"-output", filepath.Join(r.dist, "perch-headless-"+r.version+".cdx.json"), "-main", ".", ".")
}

// checksums writes SHA256SUMS, for sha256sum --check.
func (r *release) checksums() error {
	files, err := os.ReadDir(r.dist)
	if err != nil {
		return err
	}
	var sums strings.Builder
	for _, f := range files {
		if !f.Type().IsRegular() {
			continue
		}
		sum, err := sumOf(filepath.Join(r.dist, f.Name()))
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(&sums, "%s  %s\n", sum, f.Name())
	}
	return os.WriteFile(filepath.Join(r.dist, "SHA256SUMS"), []byte(sums.String()), 0o644)
}

func sumOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), errors.Join(err, f.Close())
}
