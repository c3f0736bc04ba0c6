package tray

import (
	"testing"
	"time"

	"perch/bridge"
)

func TestNotices(t *testing.T) {
	const first, second = "https://calm-owl.trycloudflare.com", "https://brisk-wren.trycloudflare.com"
	running := bridge.Snapshot{State: bridge.StateRunning, Title: bridge.Say("Running")}
	with := func(change func(*bridge.Snapshot)) bridge.Snapshot {
		s := running
		change(&s)
		return s
	}
	is := func(state bridge.State) bridge.Snapshot {
		return bridge.Snapshot{State: state, Title: bridge.Say("now " + string(state))}
	}
	tunnel := func(phase, address string) bridge.Snapshot {
		return with(func(s *bridge.Snapshot) { s.Tunnel = bridge.TunnelState{Phase: phase, Address: address} })
	}
	held := with(func(s *bridge.Snapshot) { s.State, s.Held = bridge.StateDegraded, true })
	message := with(func(s *bridge.Snapshot) { s.Hour.Received, s.Waiting, s.Last.ReceivedAt = 7, 3, time.Now() })
	elsewhere := tunnel("online", second)
	elsewhere.Installed = first + "/nextcloud-talk"
	installed := tunnel("online", first)
	installed.Installed = first + "/nextcloud-talk"

	type step struct {
		after time.Duration // since the step before; until then whatever is due is told
		now   bridge.Snapshot
	}
	tests := []struct {
		name  string
		steps []step
		want  []string
	}{
		{"all is well", []step{{0, is(bridge.StateStarting)}, {time.Second, running}, {time.Hour, message}}, nil},
		{"messages", []step{{0, running}, {time.Minute, message}, {time.Minute, running}}, nil},
		{
			"the server is unreachable for a while",
			[]step{{0, running}, {time.Minute, is(bridge.StateDegraded)}, {time.Hour, running}},
			[]string{"now degraded", "Perch runs as it should again"},
		},
		{"over at once", []step{{0, running}, {time.Minute, is(bridge.StateDegraded)}, {time.Second, running}}, nil},
		{
			"back within the minute",
			[]step{{0, is(bridge.StateDegraded)}, {30 * time.Second, running}, {15 * time.Second, is(bridge.StateFailed)}},
			[]string{"now degraded"},
		},
		{
			"the latest within the minute wins",
			[]step{{0, is(bridge.StateDegraded)}, {30 * time.Second, held}, {15 * time.Second, running}},
			[]string{"now degraded", "Perch runs as it should again"},
		},
		{"worse", []step{{0, is(bridge.StateDegraded)}, {time.Hour, is(bridge.StateFailed)}}, []string{"now degraded"}},
		{
			"a restart is no news",
			[]step{{0, is(bridge.StateDegraded)}, {time.Minute, is(bridge.StateStarting)}, {time.Minute, is(bridge.StateDegraded)}},
			[]string{"now degraded"},
		},
		{
			"well after a restart",
			[]step{{0, is(bridge.StateDegraded)}, {time.Minute, is(bridge.StateStarting)}, {time.Minute, running}},
			[]string{"now degraded", "Perch runs as it should again"},
		},
		{
			"paused by the user",
			[]step{{0, is(bridge.StateDegraded)}, {time.Minute, is(bridge.StatePaused)}, {time.Minute, running}},
			[]string{"now degraded"},
		},
		{"nothing configured", []step{{0, is(bridge.StateNew)}}, nil},
		{
			"a reply is refused",
			[]step{{0, running}, {time.Minute, held}, {time.Hour, running}},
			[]string{"A reply was refused, and replies are held back", "Replies are sent again"},
		},
		{
			"the tunnel",
			[]step{
				{0, tunnel("requesting", "")},
				{time.Minute, tunnel("online", first)},
				{time.Minute, tunnel("reconnecting", first)},
				{time.Hour, tunnel("connecting", first)},
				{time.Hour, tunnel("online", first)},
			},
			[]string{"The tunnel is down", "The tunnel is up again"},
		},
		{
			"the tunnel connects anew",
			[]step{{0, tunnel("online", first)}, {time.Minute, tunnel("connecting", first)}, {time.Minute, tunnel("online", first)}},
			nil,
		},
		{
			"the tunnel tries again",
			[]step{
				{0, tunnel("online", first)},
				{time.Minute, tunnel("failed", "")},
				{time.Hour, tunnel("connecting", "")},
				{time.Hour, tunnel("failed", "")},
			},
			[]string{"The tunnel is down"},
		},
		{
			"the tunnel is elsewhere",
			[]step{{0, tunnel("online", first)}, {time.Minute, tunnel("failed", "")}, {time.Hour, tunnel("online", second)}},
			[]string{"The tunnel is down", "The tunnel has another address"},
		},
		{"Talk sends elsewhere since an earlier start", []step{{0, elsewhere}}, []string{"The tunnel has another address"}},
		{"Talk sends here since an earlier start", []step{{0, installed}}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			var n notices
			var got []string
			var last time.Time
			tell := func(from, until time.Time) { // as timers do
				for at := from; ; {
					told, ok, wait := n.due(at)
					if ok {
						if !last.IsZero() && at.Sub(last) < noticeEvery {
							t.Errorf("%v after the last one", at.Sub(last))
						}
						last = at
						got = append(got, told.title.String())
						continue
					}
					if at = at.Add(wait); wait == 0 || at.After(until) {
						return
					}
				}
			}
			at := start
			for i, s := range test.steps {
				if i > 0 {
					tell(at, at.Add(s.after-1))
				}
				at = at.Add(s.after)
				n.see(s.now, at)
			}
			tell(at, at.Add(time.Hour))
			if len(got) != len(test.want) {
				t.Fatalf("told %q, want %q", got, test.want)
			}
			for i := range got {
				if got[i] != test.want[i] {
					t.Errorf("told %q, want %q", got, test.want)
				}
			}
		})
	}
}

// A notification says why.
func TestNoticeBody(t *testing.T) {
	var n notices
	at := time.Now()
	n.see(bridge.Snapshot{
		State: bridge.StateRunning, Title: bridge.Say("Running"),
		Tunnel: bridge.TunnelState{Phase: "failed", Reason: bridge.Say("the network is gone")},
	}, at)
	told, ok, _ := n.due(at.Add(settled))
	if !ok || told.body.String() != "the network is gone" {
		t.Errorf("told %v, %v", told, ok)
	}
}
