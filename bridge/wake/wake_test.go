package wake

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// step lets d pass on the clock, and the watcher look if that is due or the
// system announces that it woke up.
type step struct {
	d         time.Duration
	addresses string
	announce  bool
}

func TestWatch(t *testing.T) {
	const home, office = "192.0.2.7/24", "198.51.100.9/24 2001:db8::9/64"
	tick := step{10 * time.Second, home, false}
	tests := []struct {
		name  string
		steps []step
		want  []Reason
	}{
		{"nothing happens", []step{tick, tick, tick}, nil},
		{"a busy computer", []step{tick, {25 * time.Second, home, false}, tick}, nil},
		{"slept", []step{tick, {time.Hour, home, false}, tick}, []Reason{Woke}},
		{"slept twice", []step{{time.Minute, home, false}, tick, {time.Hour, home, false}}, []Reason{Woke, Woke}},
		{"announced, then its tick", []step{{time.Hour, home, true}, tick}, []Reason{Woke}},
		{"a tick, then announced", []step{{time.Hour, home, false}, {time.Second, home, true}, tick}, []Reason{Woke}},
		{"announced twice", []step{{time.Hour, home, true}, {time.Hour, home, true}}, []Reason{Woke, Woke}},
		{"another network", []step{tick, {10 * time.Second, office, false}, {10 * time.Second, office, false}}, []Reason{Network}},
		{"no network for a while", []step{{10 * time.Second, "", false}, tick}, nil},
		{"another network after none", []step{{10 * time.Second, "", false}, {10 * time.Second, office, false}}, []Reason{Network}},
		{"woke elsewhere", []step{{time.Hour, office, false}}, []Reason{Woke, Network}},
		{"the clock was set back", []step{{-time.Hour, home, false}, tick}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				now, addresses := time.Now(), home
				tick, announced := make(chan time.Time), make(chan struct{})
				var noticed []Reason
				ctx, cancel := context.WithCancel(t.Context())
				go watch(ctx, func(r Reason) { noticed = append(noticed, r) }, tick,
					func() time.Time { return now }, announced, func() []string { return strings.Fields(addresses) })
				synctest.Wait()
				for _, s := range test.steps {
					now, addresses = now.Add(s.d), s.addresses
					if s.announce {
						announced <- struct{}{}
					} else {
						tick <- now
					}
					synctest.Wait()
				}
				cancel()
				synctest.Wait()
				if diff := cmp.Diff(test.want, noticed); diff != "" {
					t.Errorf("noticed (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestAddresses(t *testing.T) {
	for _, a := range addresses() {
		ip, _, err := net.ParseCIDR(a)
		if err != nil || ip.IsLoopback() || ip.IsLinkLocalUnicast() {
			t.Errorf("%s: error %v", a, err)
		}
	}
}
