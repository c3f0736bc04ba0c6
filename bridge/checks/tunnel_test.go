package checks_test

import (
	"strings"
	"testing"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/doctor"
	"perch/bridge/practice"
	"perch/tunnel/tunneltest"
)

func TestDoctorLooksThroughTheTunnel(t *testing.T) {
	edge := tunneltest.New(t)
	token, hostname := edge.Named()
	p := newPerch(t, practice.Options{})
	p.options.Getenv = edge.Getenv
	p.cfg.Tunnel.Mode, p.cfg.Tunnel.Hostname = config.TunnelNamed, hostname
	p.save()
	p.set(p.keychain, bridge.TunnelToken, token)
	p.run()
	p.running.await("The tunnel is online")
	for noted := false; !noted; { // it is written down a moment later
		check(t, t.Context().Err())
		report, _ := p.diagnose(doctor.Options{Only: []string{"tunnel"}})
		noted = find(t, report, "tunnel").Status == bridge.StatusOK
	}
	report, _ := p.diagnose(doctor.Options{})
	for id, want := range map[string]struct {
		status bridge.Status
		seen   string
	}{
		"tunnel-edge":  {bridge.StatusWarn, "another edge than Cloudflare's"},
		"tunnel-token": {bridge.StatusOK, "of the tunnel"},
		"tunnel":       {bridge.StatusOK, "online at https://" + hostname},
		"public-url":   {bridge.StatusOK, "a signed request came back"},
	} {
		if row := find(t, report, id); row.Status != want.status || !strings.Contains(row.Seen.String(), want.seen) {
			t.Errorf("%s is %s: %s (%s)", id, row.Status, row.Seen, row.Fix)
		}
	}

	p.running.stop()
	report, _ = p.diagnose(doctor.Options{})
	for _, id := range []string{"tunnel", "public-url"} {
		if row := find(t, report, id); row.Status != bridge.StatusSkip {
			t.Errorf("without a running Perch %s is %s: %s", id, row.Status, row.Seen)
		}
	}
}
