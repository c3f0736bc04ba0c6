package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"golang.org/x/image/draw"

	"perch/assets"
)

// files is where the templates of a release are.
const files = "assets/packaging/files"

// write writes a part of the release, as it is or compressed if its name ends
// in ".gz".
func (r *release) write(name string, data []byte) error {
	file := filepath.Join(r.work, filepath.FromSlash(name))
	if strings.HasSuffix(name, ".gz") {
		var packed bytes.Buffer
		w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			return err
		}
		_, err = w.Write(data)
		if err := errors.Join(err, w.Close()); err != nil {
			return err
		}
		data = packed.Bytes()
	}
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o644))
}

// manPages writes a manual page for every command.
func (r *release) manPages(root *cobra.Command) error {
	dir, err := os.MkdirTemp(r.work, "man")
	if err != nil {
		return err
	}
	header := &doc.GenManHeader{Section: "1", Date: &r.date, Source: "Perch " + r.version, Manual: "Perch"}
	if err := doc.GenManTree(root, header, dir); err != nil {
		return err
	}
	pages, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, page := range pages {
		data, err := os.ReadFile(filepath.Join(dir, page.Name()))
		if err != nil {
			return err
		}
		if err := r.write("man/"+page.Name()+".gz", data); err != nil {
			return err
		}
	}
	return os.RemoveAll(dir)
}

// completions writes what makes shells complete the commands.
func (r *release) completions(root *cobra.Command) error {
	var bash, zsh, fish bytes.Buffer
	return errors.Join(
		root.GenBashCompletionV2(&bash, true), root.GenZshCompletion(&zsh), root.GenFishCompletion(&fish, true),
		r.write("completions/perch", bash.Bytes()), r.write("completions/_perch", zsh.Bytes()), r.write("completions/perch.fish", fish.Bytes()),
	)
}

// iconSizes are those of the hicolor theme, in pixels.
func iconSizes() []int { return []int{16, 22, 24, 32, 48, 64, 128, 256, 512} }

// icons writes the picture of the program in every size.
func (r *release) icons() error {
	logo, err := png.Decode(bytes.NewReader(assets.Logo()))
	if err != nil {
		return err
	}
	for _, size := range iconSizes() {
		icon := image.NewNRGBA(image.Rect(0, 0, size, size))
		draw.CatmullRom.Scale(icon, icon.Bounds(), logo, logo.Bounds(), draw.Src, nil)
		var data bytes.Buffer
		if err := png.Encode(&data, icon); err != nil {
			return err
		}
		if err := r.write(fmt.Sprintf("icons/%d.png", size), data.Bytes()); err != nil {
			return err
		}
	}
	return r.write("icons/perch.svg", assets.Icon("perch"))
}

// documents writes what the packages say of themselves.
func (r *release) documents() error {
	licences, err := os.ReadFile("THIRD_PARTY_LICENSES")
	if err != nil {
		return err
	}
	changes, err := os.ReadFile("CHANGELOG.md")
	if err != nil {
		return err
	}
	metainfo, err := template.ParseFiles(files + "/app.perch.Perch.metainfo.xml")
	if err != nil {
		return err
	}
	var info bytes.Buffer
	if err := metainfo.Execute(&info, map[string]string{"Version": r.version, "Date": r.date.Format("2006-01-02")}); err != nil {
		return err
	}
	return errors.Join(
		r.write("THIRD_PARTY_LICENSES.gz", licences),
		r.write("changelog.gz", changes),
		r.write("app.perch.Perch.metainfo.xml", info.Bytes()),
	)
}
