package control

import (
	"log/slog"
	"slices"
	"time"

	"perch/bridge"
)

// tally is what the events of the last hour add up to.
type tally struct {
	bars    [len(bridge.Hour{}.Bars)]count // by time, in turn
	waits   [256]wait                      // of the newest replies, in turn
	next    int                            // in waits
	last    bridge.Message                 // that was received
	problem bridge.Event                   // that nothing good came after
}

// count is what happened in one of the hour's parts.
type count struct {
	part                                int64 // since 1970
	received, answered, refused, failed int
}

type wait struct {
	at   time.Time
	took time.Duration
}

// partOfHour is how long one bar of the hour is.
const partOfHour = time.Hour / time.Duration(len(bridge.Hour{}.Bars))

func partOf(t time.Time) int64 { return t.UnixNano() / int64(partOfHour) }

// add counts an event.
func (t *tally) add(e bridge.Event) {
	part := partOf(e.Time)
	c := &t.bars[int(part)%len(t.bars)]
	if part > c.part {
		*c = count{part: part}
	}
	if part < c.part {
		return // longer ago than an hour
	}
	failed := e.Level >= slog.LevelError
	switch {
	case e.Stage == bridge.StageIntake && e.Title.Format == "Message received":
		c.received++
		t.last = bridge.Message{Key: bridge.Key{ID: e.MessageID}, Room: e.Room, Author: e.Actor, ReceivedAt: e.Time}
	case e.Stage == bridge.StageIntake && e.Code == bridge.CodeDenied, e.Stage == bridge.StageWebhook && e.Level >= slog.LevelWarn:
		c.refused++
	case e.Stage == bridge.StageSender && e.Code == "" && !failed:
		c.answered++
		if e.Waited > 0 {
			t.waits[t.next] = wait{e.Time, e.Waited}
			t.next = (t.next + 1) % len(t.waits)
		}
	case (e.Stage == bridge.StageHandler || e.Stage == bridge.StageSender) && failed:
		c.failed++
	}
	t.judge(e)
}

// judge remembers a problem until something good comes from where it was.
func (t *tally) judge(e bridge.Event) {
	switch {
	case e.Level >= slog.LevelWarn:
		if e.Stage != bridge.StageApp && e.Stage != bridge.StageTunnel { // the present state says what is wrong there
			t.problem = e
		}
	case e.Stage == t.problem.Stage && (e.Stage == bridge.StageHandler || e.Stage == bridge.StageSender && e.Code == ""):
		t.problem = bridge.Event{}
	}
}

// hour returns the traffic of the hour before now, and the median time from a
// message to its reply.
func (t *tally) hour(now time.Time) (h bridge.Hour, median time.Duration) {
	present := partOf(now)
	for i := range h.Bars {
		part := present - int64(len(h.Bars)-1-i)
		c := t.bars[int(part)%len(t.bars)]
		if c.part != part {
			continue
		}
		h.Bars[i] = bridge.Bar{Messages: c.received, Failures: c.failed}
		h.Received += c.received
		h.Answered += c.answered
		h.Refused += c.refused
		h.Failed += c.failed
	}
	var took []time.Duration
	for _, w := range t.waits {
		if w.took > 0 && now.Sub(w.at) < time.Hour {
			took = append(took, w.took)
		}
	}
	if len(took) > 0 {
		slices.Sort(took)
		median = took[len(took)/2]
	}
	return h, median
}
