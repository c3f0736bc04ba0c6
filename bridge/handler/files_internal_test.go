package handler

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFileName(t *testing.T) {
	long := strings.Repeat("ü", 200)
	tests := []struct{ name, want string }{
		{"list.txt", "1_list.txt"},
		{"Küche 🥚.tar.gz", "1_Küche 🥚.tar.gz"},
		{"", "1_"},
		{".", "1_"},
		{"..", "1_"},
		{".bashrc", "1_bashrc"},
		{"-rf", "1_-rf"},
		{"../../etc/passwd", "1__.._etc_passwd"},
		{`..\..\x`, "1__.._x"},
		{"/etc/passwd", "1__etc_passwd"},
		{`C:\x`, "1_C__x"},
		{"a.txt:stream", "1_a.txt_stream"},
		{"CON", "1_CON"},
		{"a\x00\n\r\tb\x7f", "1_a____b_"},
		{"exe.\u202egpj", "1_exe._gpj"},
		{"a\xffb", "1_a_b"},
		{"a. . .", "1_a"},
		{`*?"<>|`, "1_______"},
		{long, "1_" + long[:100]},
		{long + ".jpeg", "1_" + long[:94] + ".jpeg"},
		{"a." + long, "1_a." + long[:98]},
	}
	for _, tt := range tests {
		if got := fileName(1, tt.name); got != tt.want {
			t.Errorf("of %q: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzFileName(f *testing.F) {
	for _, name := range []string{"list.txt", "../../etc/passwd", `..\x`, "-rf", ".", "a\x00b\xff", strings.Repeat("ü.", 99), "a.\u202e"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got := fileName(7, name)
		if !strings.HasPrefix(got, "7_") || len(got) > 120 || !utf8.ValidString(got) || filepath.Base(got) != got ||
			strings.ContainsAny(got, "/\\:\x00\n\r") || strings.TrimRight(got, ". ") != got {
			t.Errorf("of %q: %q", name, got)
		}
	})
}
