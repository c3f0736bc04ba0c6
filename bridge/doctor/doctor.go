// Package doctor runs checks and reports what they found: which stage of the
// way from Talk to the bot and back is broken, why, and what to type.
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"perch/bridge"
)

// How long checks may take.
const (
	CheckTimeout = 6 * time.Second  // each
	TotalTimeout = 13 * time.Second // all of them
	// grace is how long a check may take to notice that its time is over.
	grace = 200 * time.Millisecond
)

// Options say how to run.
type Options struct {
	Only   []string      // ids; nil: all
	Strict bool          // a warning is a failure for the verdict
	Each   time.Duration // for one check; 0: CheckTimeout
	Total  time.Duration // for all; 0: TotalTimeout
	Again  string        // what a command that runs a check again is to end with; can be empty
}

// Request says what a running bot is to examine.
type Request struct {
	Only []string `json:"only,omitempty"` // ids; none: all
	Room string   `json:"room,omitempty"` // token of the conversation to look at; empty: the one last heard from
	Wait bool     `json:"wait,omitempty"` // for a webhook that somebody causes
}

// Row is a check and what it found.
type Row struct {
	ID    string      `json:"id"`
	Title bridge.Text `json:"title"`
	Needs []string    `json:"needs"`
	bridge.Result
	Duration time.Duration `json:"duration"`
}

// Report is what all checks found, in their order.
type Report struct {
	Rows     []Row         `json:"rows"`
	Duration time.Duration `json:"duration"`
	Strict   bool          `json:"strict,omitempty"`
}

// Run runs checks side by side, each after those that it needs, and calls row
// with each one in the order of checks as soon as it and all before it are
// done; what row returns stands in the report. A check is skipped if one that it needs failed. With Only, the others
// run only if they are needed, and have a row only if they failed.
//
// The error is of CodeInvalid if Only names a check that there is not. Every
// check's needs must come before it.
func Run(ctx context.Context, checks []bridge.Check, o Options, row func(Row) Row) (Report, error) {
	if o.Each == 0 {
		o.Each = CheckTimeout
	}
	if o.Total == 0 {
		o.Total = TotalTimeout
	}
	wanted, err := choose(checks, o.Only)
	if err != nil {
		return Report{}, err
	}
	started := time.Now()
	for _, c := range checks {
		if _, ok := wanted[c.ID]; ok {
			o.Total += c.Takes
		}
	}
	ctx, cancel := context.WithTimeout(ctx, o.Total)
	defer cancel()

	running := map[string]*probe{}
	var order []*probe
	for _, c := range checks {
		if _, ok := wanted[c.ID]; !ok {
			continue
		}
		p := &probe{check: c, done: make(chan struct{})}
		for _, id := range c.Needs {
			if need := running[id]; need != nil {
				p.needs = append(p.needs, need)
			}
		}
		running[c.ID] = p
		order = append(order, p)
		go p.run(ctx, o)
	}
	report := Report{Strict: o.Strict}
	for _, p := range order {
		<-p.done // each ends with its deadline
		if !wanted[p.check.ID] && p.row.Status != bridge.StatusFail {
			continue
		}
		report.Rows = append(report.Rows, row(p.row))
	}
	report.Duration = time.Since(started)
	return report, nil
}

// choose returns the checks to run: true if they were asked for, false if
// those need them.
func choose(checks []bridge.Check, only []string) (map[string]bool, error) {
	wanted := map[string]bool{}
	if len(only) == 0 {
		for _, c := range checks {
			wanted[c.ID] = true
		}
		return wanted, nil
	}
	var include func(id string)
	include = func(id string) {
		for _, c := range checks {
			if c.ID != id {
				continue
			}
			for _, need := range c.Needs {
				if _, ok := wanted[need]; !ok {
					wanted[need] = false
					include(need)
				}
			}
		}
	}
	for _, id := range only {
		if !slices.ContainsFunc(checks, func(c bridge.Check) bool { return c.ID == id }) {
			return nil, &bridge.Error{
				Code: bridge.CodeInvalid,
				Text: bridge.Say("there is no check %s", fmt.Sprintf("%q", id)),
				Hint: bridge.Say("the checks are: %s", strings.Join(ids(checks), ", ")),
			}
		}
		wanted[id] = true
		include(id)
	}
	return wanted, nil
}

func ids(checks []bridge.Check) []string {
	list := make([]string, len(checks))
	for i, c := range checks {
		list[i] = c.ID
	}
	return list
}

// probe is a check under way.
type probe struct {
	check   bridge.Check
	needs   []*probe
	done    chan struct{} // closed when row is there
	row     Row
	blocked string // id of the failed check that this one could not do without
}

// run waits for what the check needs, runs it, and fills in the row.
func (p *probe) run(ctx context.Context, o Options) {
	defer close(p.done)
	needs := p.check.Needs
	if needs == nil {
		needs = []string{}
	}
	p.row = Row{ID: p.check.ID, Title: p.check.Title, Needs: needs}
	for _, need := range p.needs {
		<-need.done
	}
	for _, need := range p.needs {
		switch {
		case need.row.Status == bridge.StatusFail:
			p.blocked = need.check.ID
		case need.blocked != "":
			p.blocked = need.blocked
		default:
			continue
		}
		p.row.Result = bridge.Skipped(bridge.Say("needs %s", p.blocked))
		return
	}
	started := time.Now()
	p.row.Result = contained(ctx, p.check, o)
	if p.row.Status == bridge.StatusFail && p.row.Late && ctx.Err() == nil {
		p.row.Result = contained(ctx, p.check, o) // the machine may have been busy
	}
	p.row.Duration = time.Since(started)
}

// contained runs a check and returns what it found, or that it broke or did
// not end in time. One that ignores its context is left behind.
func contained(ctx context.Context, c bridge.Check, o Options) bridge.Result {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.Takes, o.Each))
	defer cancel()
	found := make(chan bridge.Result, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				found <- bridge.Failed(
					bridge.Say("the check itself broke: %s", fmt.Sprint(p)),
					bridge.Say("This is a fault of Perch and says nothing about your bot."),
					bridge.Say("run the others, and report this one with what it says: perch doctor --json%s", o.Again))
			}
		}()
		found <- c.Run(ctx)
	}()
	select {
	case r := <-found:
		return r
	case <-ctx.Done():
	}
	late := time.NewTimer(grace)
	defer late.Stop()
	select {
	case r := <-found:
		return r.InVain()
	case <-late.C:
		return bridge.Failed(
			bridge.Say("no answer within %s", time.Since(started).Round(100*time.Millisecond).String()),
			bridge.Say("What does not answer the doctor does not answer the bot either."),
			bridge.Say("try it alone: perch doctor --only %s", c.ID+o.Again))
	}
}

// Verdict returns the gravest status of the rows; a warning is a failure if
// the report is strict.
func (r Report) Verdict() bridge.Status {
	switch {
	case r.Count(bridge.StatusFail) > 0, r.Strict && r.Count(bridge.StatusWarn) > 0:
		return bridge.StatusFail
	case r.Count(bridge.StatusWarn) > 0:
		return bridge.StatusWarn
	default:
		return bridge.StatusOK
	}
}

// Count returns how many rows have a status.
func (r Report) Count(s bridge.Status) (n int) {
	for _, row := range r.Rows {
		if row.Status == s {
			n++
		}
	}
	return n
}
