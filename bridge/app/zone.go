package app

import (
	"log/slog"
	"strings"
	"time"

	"perch/bridge"
)

// UnknownZone returns what the variable TZ says if that is no time zone that is
// known, so that all times are those of UTC; else nothing.
func UnknownZone(getenv func(string) string) string {
	zone := getenv("TZ")
	switch name := strings.TrimPrefix(zone, ":"); {
	case name == "" || name == "UTC":
		return ""
	case time.Local.String() == "UTC": // package time took it for that
		return zone
	default:
		return ""
	}
}

// WhichZone says how to name a time zone.
func WhichZone() bridge.Text {
	return bridge.Say("Set TZ to the name of a time zone, such as Europe/Berlin, or do not set it.")
}

// warnOfZone says so if the time zone is not known.
func (a *App) warnOfZone() {
	if zone := UnknownZone(a.Getenv); zone != "" {
		a.Bus.Publish(bridge.Event{
			Stage: bridge.StageApp, Kind: bridge.EventSettingsProblem, Level: slog.LevelWarn, Code: bridge.CodeInvalid,
			Title: bridge.Say("There is no time zone %s, as the variable TZ says; times are in UTC", zone),
			Hint:  WhichZone(),
		})
	}
}
