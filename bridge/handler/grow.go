package handler

import (
	"cmp"
	"context"
	"regexp"
	"strings"
	"time"
	"unicode"

	"perch/bridge"
)

// growsEvery is how long an answer stands before it is shown anew.
const growsEvery = 2 * time.Second

// Draft is the beginning of an answer in the room, until the whole replaces it.
type Draft interface {
	// Show posts r, or gives what was posted its text.
	Show(ctx context.Context, r bridge.Reply) error
	// Ref returns the Ref of what was posted, now or before the process ended last;
	// empty if nothing was.
	Ref(ctx context.Context) (string, error)
}

// growing is a Handler that can tell of its answer while it makes it.
type growing interface {
	// handleGrowing is Handle that calls show with the answer as far as there is
	// one, now and then, and not after it has returned.
	handleGrowing(ctx context.Context, m bridge.Message, show func(ctx context.Context, text string)) ([]bridge.Reply, error)
}

// growth shows a text that grows, at its own pace.
type growth struct {
	latest chan string // the newest alone
	ending chan struct{}
	ended  chan struct{}
}

// grow begins to show what say is given, as part returns it, no more often than
// so; not before part returns something.
func grow(ctx context.Context, every time.Duration, part func(text string) string, show func(ctx context.Context, text string)) *growth {
	g := &growth{latest: make(chan string, 1), ending: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(g.ended)
		shown := ""
		for {
			var text string
			select {
			case text = <-g.latest:
			case <-g.ending:
				return
			}
			pause := every
			if text = part(text); text == "" || text == shown {
				pause = min(every, 100*time.Millisecond)
			} else {
				show(ctx, text)
				shown = text
			}
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-g.ending:
				timer.Stop()
				return
			}
		}
	}()
	return g
}

// say tells how far the text has grown. One caller at a time may.
func (g *growth) say(text string) {
	select {
	case <-g.latest:
	default:
	}
	g.latest <- text
}

// end returns when nothing is shown any more.
func (g *growth) end() {
	close(g.ending)
	<-g.ended
}

// handleGrowing implements growing.
func (l LLM) handleGrowing(ctx context.Context, m bridge.Message, show func(ctx context.Context, text string)) ([]bridge.Reply, error) {
	g := grow(ctx, cmp.Or(l.Grows, growsEvery), l.part, show)
	defer g.end()
	l.said = g.say
	return l.Handle(ctx, m)
}

// part returns what can be shown of an answer that goes on, and says that it
// does; nothing before there is a sentence.
func (l LLM) part(text string) string {
	text = strings.ToValidUTF8(clip(text, maxText), "")
	end := text[len(strings.TrimRightFunc(text, unicode.IsSpace)):]
	text = strings.TrimSpace(l.clean(text))
	if !hasSentence(text + end) {
		return ""
	}
	var code codeState
	code.read(text)
	if code.fenced {
		return text + "\n```\n" + strings.TrimSpace(goingOn)
	}
	return text + goingOn
}

// hasSentence reports whether a sentence or a line ends in text.
func hasSentence(text string) bool {
	return regexp.MustCompile(`(?s)^.{6,}?(?:[.!?…][")\]*_»”]*\s|[。！？]|\n)`).MatchString(text)
}
