// Package wake notices what a program that stays connected should look into:
// that the computer slept, or that its network is another one.
package wake

import (
	"context"
	"net"
	"slices"
	"time"
)

// Reason is what Watch noticed.
type Reason string

// The reasons.
const (
	Woke    Reason = "woke"    // the computer slept, or stood still, and goes on
	Network Reason = "network" // it has other network addresses than before
)

const (
	interval = 10 * time.Second
	slack    = 20 * time.Second // by which a busy computer can be late
)

// Watch calls notice until ctx is done, from the goroutine that called Watch:
// at once after the computer woke up where the system announces it (Linux with
// logind), else within 10 s. A system without network addresses is noticed when
// it has some again.
func Watch(ctx context.Context, notice func(Reason)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	watch(ctx, notice, ticker.C, time.Now, wakeups(ctx), addresses)
}

// watch is Watch with its sources: when to look, the clock, the system's
// announcements, and the addresses of this machine.
func watch(
	ctx context.Context, notice func(Reason), tick <-chan time.Time, clock func() time.Time,
	announced <-chan struct{}, addresses func() []string,
) {
	wall := func() time.Time { return clock().Round(0) } // the clock that does not stop in sleep
	last, known := wall(), addresses()
	var woke time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-announced:
			last = wall()
			if last.Sub(woke) > interval { // else the ticker was faster
				woke = last
				notice(Woke)
			}
		case <-tick:
			now := wall()
			if now.Sub(last) > interval+slack {
				woke = now
				notice(Woke)
			}
			last = now
			if current := addresses(); len(current) > 0 && !slices.Equal(current, known) {
				known = current
				notice(Network)
			}
		}
	}
}

// addresses returns the addresses by which this machine can be reached from
// others, in order.
func addresses() (all []string) {
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range interfaces {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() {
			all = append(all, ip.String())
		}
	}
	slices.Sort(all)
	return all
}
