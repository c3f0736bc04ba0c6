package handler

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/config"
)

func TestWhatIsShownOfAGrowingAnswer(t *testing.T) {
	l := LLM{Model: "m"}
	for text, want := range map[string]string{
		"":                              "",
		"The first sente":               "",
		"Hi. ":                          "",
		"It is late, and":               "",
		"The first sentence is here.":   "", // it may go on: example.com
		"The first sentence is here. A": "The first sentence is here. A […]",
		"**The first one ends!** And":   "**The first one ends!** And […]",
		"A line without an end\nand":    "A line without an end\nand […]",
		"これは最初の文です。そして":                                                       "これは最初の文です。そして […]",
		"<think>Who asks this? I wonder. Let me see":                          "",
		"<think>Who asks this? I wonder.</think>The answer is here. It is":    "The answer is here. It is […]",
		"m: The name in front goes. As":                                       "The name in front goes. As […]",
		"This is how it is done:\n```sh\nls -l\n":                             "This is how it is done:\n```sh\nls -l\n```\n[…]",
		strings.Repeat("A long sentence. ", maxText/10):                       strings.TrimSpace(clip(strings.Repeat("A long sentence. ", maxText/10), maxText)) + " […]",
		"<|channel|>analysis<|message|>They want something. I think. <|end|>": "",
	} {
		if got := l.part(text); got != want {
			t.Errorf("of %.60q is shown %.90q, want %.90q", text, got, want)
		}
	}
}

// shown is a Draft that a test can read.
type shown struct {
	mu    sync.Mutex
	texts []string
	more  chan struct{}
}

func (s *shown) Show(_ context.Context, r bridge.Reply) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts = append(s.texts, r.Text)
	s.more <- struct{}{}
	return nil
}

func (s *shown) Ref(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.texts) == 0 {
		return "", nil
	}
	return "the draft", nil
}

// What is shown of an answer is the beginning of it, and nothing after the whole.
func TestLLMGrows(t *testing.T) {
	for _, broken := range []bool{false, true} {
		d := &shown{more: make(chan struct{}, 100)}
		s := serveModel(t, func(w http.ResponseWriter, r *http.Request, _ int) {
			for _, text := range []string{"The first sentence ends here. ", "The second is longer. ", "And "} {
				stream(w, piece(text))
				select {
				case <-d.more:
				case <-r.Context().Done():
					return
				}
			}
			if !broken {
				stream(w, piece("done."), lastPiece)
			}
		})
		l := s.llm()
		l.Grows = time.Millisecond
		a := &asked{handler: l, slots: make(chan struct{}, 1), sink: nowhere{}}
		a.config.Stream, a.config.OnError, a.config.Timeout = true, "Sorry.", config.Duration(time.Minute)
		replies, err := a.respond(t.Context(), func(bridge.Message) Draft { return d }, question("1", "hello"))
		want := "The first sentence ends here. The second is longer. And done."
		if broken {
			want = "Sorry."
		}
		if broken != (err != nil) || len(replies) != 1 || replies[0].Text != want || replies[0].Edits != "the draft" {
			t.Errorf("broken %t: answered %+v %v", broken, replies, err)
		}
		if want := []string{
			"The first sentence ends here. […]", "The first sentence ends here. The second is longer. […]",
			"The first sentence ends here. The second is longer. And […]",
		}; !slices.Equal(d.texts[:min(3, len(d.texts))], want) {
			t.Errorf("shown %q, want %q", d.texts, want)
		}
	}
}

type nowhere struct{}

func (nowhere) Publish(bridge.Event) {}
