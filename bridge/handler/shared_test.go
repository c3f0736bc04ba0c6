package handler

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"perch/bridge"
)

// outgoing is an Outgoing in memory.
type outgoing struct{ kept map[string]string }

func (o *outgoing) Keep(name string, content io.Reader) (bridge.File, error) {
	data, err := io.ReadAll(io.LimitReader(content, MaxShared+1))
	if len(data) > MaxShared {
		return bridge.File{}, &bridge.Error{Code: bridge.CodeRejected, Text: bridge.Say("The file is too large")}
	}
	f := bridge.File{Name: SharedName(name), Size: int64(len(data)), Key: strconv.Itoa(len(o.kept))}
	o.kept[f.Key] = string(data)
	return f, err
}

func (o *outgoing) Drop(f bridge.File) { delete(o.kept, f.Key) }

// lines returns replies as "name (caption): content", or their texts.
func (o *outgoing) lines(replies []bridge.Reply) (lines []string) {
	for _, r := range replies {
		if r.File == nil {
			lines = append(lines, r.Text+r.Reaction)
			continue
		}
		lines = append(lines, fmt.Sprintf("%s (%s): %.20s", r.File.Name, r.Text, o.kept[r.File.Key]))
	}
	return lines
}

func TestProgramAnswersWithFiles(t *testing.T) {
	for name, tt := range map[string]struct {
		script string
		want   []string
	}{
		"none":            {`echo hi`, []string{"hi"}},
		"one":             {`echo hi; echo content > "$PERCH_OUT/a chart.txt"`, []string{"a chart.txt (hi): content\n"}},
		"without a word":  {`: > "$PERCH_OUT/empty.txt"`, []string{"empty.txt (): "}},
		"several":         {`echo hi; for n in b a; do echo $n > "$PERCH_OUT/$n.txt"; done`, []string{"a.txt (hi): a\n", "b.txt (): b\n"}},
		"what is no file": {`mkdir "$PERCH_OUT/sub"; ln -s /etc/passwd "$PERCH_OUT/link"; mkfifo "$PERCH_OUT/pipe"; echo hi`, []string{"hi"}},
		"odd names":       {`cd "$PERCH_OUT"; echo 1 > .htaccess; echo 2 > 'a\b:c?.txt'; echo 3 > x.part`, []string{"htaccess (): 1\n", "b_c_.txt (): 2\n", "x_part (): 3\n"}},
		"too many":        {`cd "$PERCH_OUT"; for n in 01 02 03 04 05 06 07 08 09 10 11 12; do : > $n; done`, nil},
		"too large":       {`head -c 16777217 /dev/zero > "$PERCH_OUT/big.bin"; echo hi`, []string{"hi", "The file big.bin is not shared: The file is too large."}},
	} {
		t.Run(name, func(t *testing.T) {
			dir, out, sink := t.TempDir(), &outgoing{map[string]string{}}, &heardEvents{}
			path := filepath.Join(dir, "bot.sh")
			if err := os.WriteFile(path, []byte("#!/bin/sh\n"+tt.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			e := Exec{Command: []string{path}, Dir: dir, Temp: filepath.Join(dir, "tmp"), Outgoing: out, Sink: sink}
			replies, err := e.Handle(t.Context(), question("1", "hello"))
			if err != nil {
				t.Fatal(err)
			}
			got := out.lines(replies)
			if tt.want == nil {
				if len(got) != maxShares+1 || got[maxShares] != "2 files are not shared: 10 are the most that an answer can have." || len(sink.all) != 1 {
					t.Errorf("answered %q, the log says %q", got, sink.titles())
				}
				return
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("answered %q, want %q", got, tt.want)
			}
		})
	}
}

func TestProgramWithFilesButNoToken(t *testing.T) {
	dir, sink := t.TempDir(), &heardEvents{}
	path := filepath.Join(dir, "bot.sh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho hi; : > \"$PERCH_OUT/a\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	replies, err := Exec{Command: []string{path}, Dir: dir, Temp: filepath.Join(dir, "tmp"), Sink: sink}.Handle(t.Context(), question("1", "hello"))
	if err != nil || len(replies) != 2 || replies[0].Text != "hi" || !strings.Contains(replies[1].Text, "no app token") || len(sink.all) != 1 {
		t.Errorf("answered %+v %v; %q", replies, err, sink.titles())
	}
}

func TestWebHookAnswersWithFiles(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret") }))
	t.Cleanup(elsewhere.Close)
	answer := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/chart.png":
			if r.Header.Get("Authorization") != "Bearer sesame" {
				http.Error(w, "no", http.StatusForbidden)
				return
			}
			_, _ = io.WriteString(w, "a chart")
		case "/away":
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		default:
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, answer)
		}
	}))
	t.Cleanup(s.Close)
	large := base64.StdEncoding.EncodeToString(make([]byte, 10<<20))
	for name, tt := range map[string]struct {
		answer string
		want   []string
	}{
		"data":         {`{"reply":"see","files":[{"name":"a.txt","data":"aGVsbG8="},{"name":"b.txt","caption":"two","data":"data:text/plain;base64,aGVs\nbG8="},{"name":"c","data":"data:,a%20b"}]}`, []string{"a.txt (see): hello", "b.txt (two): hello", "c (): a b"}},
		"empty":        {`{"files":[{"name":"e.txt","data":""}]}`, []string{"e.txt (): "}},
		"ten MB":       {`{"files":[{"name":"z.bin","data":"` + large + `"}]}`, []string{"z.bin (): " + strings.Repeat("\x00", 20)}},
		"by its url":   {`{"files":[{"url":"/chart.png"},{"name":"x","url":"` + s.URL + `/chart.png"}],"reaction":"👍"}`, []string{"👍", "chart.png (): a chart", "x (): a chart"}},
		"of others":    {`{"files":[{"url":"` + elsewhere.URL + `/a"},{"url":"file:///etc/passwd"},{"url":"/away"},{"path":"/etc/passwd"}]}`, nil},
		"a wrong kind": {`{"files":[{"name":"../../a.txt","data":"???"}]}`, []string{"The file a.txt is not shared: Its data is neither base64 nor a data URL."}},
	} {
		t.Run(name, func(t *testing.T) {
			answer = tt.answer
			out := &outgoing{map[string]string{}}
			h := HTTP{URL: s.URL + "/hook", Outgoing: out, Sink: &heardEvents{}, Token: bridge.NewSecret("sesame")}
			replies, err := h.Handle(t.Context(), question("1", "hello"))
			if err != nil {
				t.Fatal(err)
			}
			got := out.lines(replies)
			if tt.want == nil {
				if len(got) != 4 || len(out.kept) != 0 || slices.ContainsFunc(got, func(s string) bool { return !strings.Contains(s, "is not shared") }) {
					t.Errorf("answered %q", got)
				}
			} else if !slices.Equal(got, tt.want) {
				t.Errorf("answered %q, want %q", got, tt.want)
			}
		})
	}
}

func TestSharedName(t *testing.T) {
	for name, want := range map[string]string{
		"a.txt": "a.txt", "../../etc/passwd": "passwd", `C:\Users\x\b.png`: "b.png", "": "file", "...": "file", " .hidden": "hidden",
		"a/": "a", "x\x00\ny.txt": "x__y.txt", "ünï 👍.pdf": "ünï 👍.pdf", "a.part": "a_part",
		strings.Repeat("é", 100) + ".jpeg": strings.Repeat("é", 40) + ".jpeg", "a." + strings.Repeat("x", 30): "a." + strings.Repeat("x", 30),
	} {
		if got := SharedName(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}
