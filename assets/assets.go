// Package assets is what Perch carries with it: translations and pictures.
package assets

import (
	"embed"
	"encoding/json"
	"strings"
)

//go:embed translations/*.json icons/*.svg icons/perch.png tray/*.svg
var files embed.FS

// Languages returns the languages that there are translations for, beside
// English.
func Languages() []string { return []string{"de", "fr"} }

// Translator returns a function that translates what a person reads from
// English, or nil for English itself and for languages that are not known. A
// sentence without a translation stays as it is. locale is as in the
// environment variable LANG: "de_DE.UTF-8".
func Translator(locale string) func(string) string {
	for _, language := range Languages() {
		if rest, ok := strings.CutPrefix(strings.ToLower(locale), language); ok && (rest == "" || strings.ContainsAny(rest[:1], "_-.@")) {
			sentences := read(language)
			return func(s string) string {
				if t := sentences[s]; t != "" {
					return t
				}
				return s
			}
		}
	}
	return nil
}

// read returns the translations into a language, by the English sentence. The
// tests see to it that every file can be read.
func read(language string) map[string]string {
	data, err := files.ReadFile("translations/" + language + ".json")
	if err != nil {
		return nil
	}
	var sentences map[string]string
	_ = json.Unmarshal(data, &sentences)
	return sentences
}

// Icon returns a picture of the window as SVG, drawn in currentColor, but for
// "perch", that of the program; nil if there is none of that name.
func Icon(name string) []byte { return file("icons/" + name + ".svg") }

// Tray returns the picture for the tray as SVG, by how the bot is: "running",
// "degraded", "error" or "paused"; nil for any other. They differ in shape, and
// their outline holds on light and dark panels.
func Tray(state string) []byte { return file("tray/" + state + ".svg") }

// Logo returns the picture of the program, a PNG of 512 pixels in square, drawn
// from Icon("perch").
func Logo() []byte { return file("icons/perch.png") }

func file(name string) []byte {
	data, err := files.ReadFile(name)
	if err != nil {
		return nil
	}
	return data
}
