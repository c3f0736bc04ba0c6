package webhook

import (
	"cmp"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"perch/bridge"
)

// noise is a kind of refusal. Anybody can cause most of them, as often as they
// like.
type noise string

// The kinds, in words for the log.
const (
	noiseNoSecret  noise = "no webhook secret is set" //nolint:gosec // It is none.
	noiseUnsigned  noise = "without a signature"
	noiseForged    noise = "with a wrong signature"
	noisePersists  noise = "with a wrong signature, from an address with too many"
	noiseLarge     noise = "too large"
	noiseCutShort  noise = "did not arrive whole"
	noiseSlow      noise = "too slow"
	noiseCrowd     noise = "too many at once"
	noisePath      noise = "to another path"
	noiseMisled    noise = "signed, to another path"
	noiseUnread    noise = "not understood"
	noiseNotStored noise = "could not be stored"
)

const (
	// noisePause is for how long a kind of refusal that was just told of is only
	// counted.
	noisePause = time.Minute
	// maxPaths bounds the paths that are told of one by one.
	maxPaths = 4
	// maxTold bounds the addresses that are named with a number.
	maxTold = 3
)

// tally tells of the first refusal of a kind at once, and of all that follow
// once a minute, in one event with their number: whatever comes in, and however
// often, the log grows by little.
type tally struct {
	sink bridge.EventSink

	mu     sync.Mutex
	counts map[noise]*count // of the kinds that were told of within noisePause
	timer  *time.Timer      // nil: nothing is to be counted
	closed bool
	paths  []string // the first maxPaths that webhooks came to by mistake
}

// count is what of one kind came since it was last told of.
type count struct {
	level slog.Level
	n     int
	from  []netip.Addr // the first maxTold
}

// misled returns the kind of requests that seem to be webhooks and came to
// another path. The first maxPaths paths are told of at once, each by itself: a
// proxy or an installation with another address has one of its own.
func (t *tally) misled(path string) noise {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.paths) == maxPaths || slices.Contains(t.paths, path) {
		return noiseMisled
	}
	t.paths = append(t.paths, path)
	return noiseMisled + noise(" "+path)
}

// add publishes e if it is the first of its kind, and else counts it.
func (t *tally) add(kind noise, from netip.Addr, e bridge.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.counts[kind]; c != nil {
		c.n++
		if len(c.from) < maxTold && !slices.Contains(c.from, from) {
			c.from = append(c.from, from)
		}
		return
	}
	if !t.closed {
		if t.counts == nil {
			t.counts = map[noise]*count{}
		}
		t.counts[kind] = &count{level: e.Level}
		if t.timer == nil {
			t.timer = time.AfterFunc(noisePause, t.tick)
		}
	}
	t.sink.Publish(e)
}

// tick tells of what was counted. A kind of which nothing more came is told of
// at once when it comes again.
func (t *tally) tick() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.sum()
	maps.DeleteFunc(t.counts, func(_ noise, c *count) bool { return c.n == 0 })
	if len(t.counts) == 0 {
		t.timer = nil
		return
	}
	for _, c := range t.counts {
		c.n, c.from = 0, nil
	}
	t.timer.Reset(noisePause)
}

// sum publishes what was counted; t.mu is held.
func (t *tally) sum() {
	e := bridge.Event{Stage: bridge.StageWebhook, Kind: bridge.EventWebhookRefused}
	var parts []string
	for _, kind := range slices.SortedFunc(maps.Keys(t.counts), func(a, b noise) int {
		return cmp.Or(t.counts[b].n-t.counts[a].n, strings.Compare(string(a), string(b)))
	}) {
		if c := t.counts[kind]; c.n > 0 {
			e.Count += c.n
			e.Level = max(e.Level, c.level)
			parts = append(parts, strconv.Itoa(c.n)+" "+string(kind)+c.sources())
		}
	}
	if e.Count == 0 {
		return
	}
	e.Title = bridge.Say("More requests to the webhook were refused within a minute: %s", strconv.Itoa(e.Count))
	e.Cause = strings.Join(parts, "; ")
	t.sink.Publish(e)
}

// sources names who it came from, or some of them.
func (c *count) sources() string {
	names := make([]string, len(c.from))
	for i, addr := range c.from {
		names[i] = addr.String()
	}
	if len(names) == maxTold && c.n > maxTold {
		names = append(names, "…")
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// close tells of what was counted and ends the counting.
func (t *tally) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	t.closed = true
	if t.timer != nil {
		t.timer.Stop()
	}
	t.sum()
	t.counts = nil
}
