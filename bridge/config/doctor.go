package config

import (
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"perch/bridge"
)

// Diagnose reads the configuration of a home as Load does and says what is wrong
// or unwise in it, without what DiagnoseAllowList says, and whether others can
// change it. The Config is of use unless the status is fail.
func Diagnose(home Home) (Config, bridge.Result) {
	path := home.ConfigFile()
	c, warnings, err := Load(path)
	if invalid, ok := errors.AsType[*InvalidError](err); ok {
		return c, bridge.Failed(
			bridge.Say("%s", joined(invalid.Problems, Problem.String)),
			bridge.Say("Perch does not start with a configuration that it does not understand."),
			fixOf(path, invalid.Problems))
	}
	if err != nil {
		fix := bridge.HintOf(err)
		if bridge.CodeOf(err) == bridge.CodeNotFound {
			fix = bridge.Say("perch setup\nor, for a bot of the server: perch config init https://cloud.example.com --allow USER-ID\nwith the address of your Nextcloud, and your user id there")
		}
		return c, bridge.Failed(bridge.TextOf(err), bridge.Say("Without it Perch does not know your server."), fix)
	}
	warnings = slices.DeleteFunc(warnings, func(p Problem) bool { return p.Key == talkTable+".allowed_users" })
	warnings = append(warnings, home.Exposed()...)
	if len(warnings) > 0 {
		return c, bridge.Warned(
			bridge.Say("%s", joined(warnings, Problem.String)),
			bridge.Say("Perch runs with it, but it is not safe, or not what it seems."),
			fixOf(path, warnings))
	}
	return c, bridge.Passed(bridge.Say("%s", path))
}

// joined returns the problems on lines of their own.
func joined(problems []Problem, text func(Problem) string) string {
	var lines []string
	for _, p := range problems {
		if s := text(p); s != "" {
			lines = append(lines, s)
		}
	}
	return strings.Join(lines, "\n")
}

// fixOf returns what to do about problems in the file.
func fixOf(path string, problems []Problem) bridge.Text {
	if hints := joined(problems, func(p Problem) string { return p.Hint.String() }); hints != "" {
		return bridge.Say("%s", hints)
	}
	line := 1
	if len(problems) > 0 {
		line = max(line, problems[0].Line)
	}
	return bridge.Say("correct line %[1]s of %[2]s, then: perch config check", strconv.Itoa(line), path)
}

// DiagnoseAllowList says whether the right people are answered.
func (t Talk) DiagnoseAllowList(file string) bridge.Result {
	var odd []string
	for _, entry := range t.AllowedUsers {
		actor := bridge.ParseActor(entry)
		if actor.Type == bridge.ActorUser && (strings.Contains(actor.ID, "@") || strings.Contains(actor.ID, " ")) {
			odd = append(odd, actor.ID)
		}
	}
	switch {
	case len(t.AllowedUsers) == 0:
		return bridge.Warned(bridge.Say("nobody is on it"),
			bridge.Say("The bot answers no one."),
			bridge.Say("in %s, write: allowed_users = [\"USER-ID\"]\nwith the ids of those it may answer; perch log --level warn tells the id of who was not", file))
	case slices.Contains(t.AllowedUsers, "*"):
		return bridge.Warned(bridge.Say(`"*" answers everybody, guests too`),
			bridge.Say("Whoever gets into a conversation of the bot can use it."),
			bridge.Say("in %s, write: allowed_users = [\"USER-ID\"]\nwith the ids of those whom you mean", file))
	case len(odd) > 0:
		return bridge.Warned(
			bridge.Say("%s looks like an e-mail address or a display name", strings.Join(odd, ", ")),
			bridge.Say("People are known by their user id, which is often shorter than both; anybody else is not answered."),
			bridge.Say("let that person write to the bot, then take the id from the warning: perch log --level warn\nand put it into allowed_users in %s", file))
	}
	return bridge.Passed(bridge.Say("%[1]s allowed: %[2]s", strconv.Itoa(len(t.AllowedUsers)), strings.Join(t.AllowedUsers, ", ")))
}

// IsLocal reports whether a host, with or without a port, is on this machine
// or in a private network, by its name or address.
func IsLocal(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return isPrivate(strings.Trim(host, "[]"))
}

// CAFilePath returns where a certificate for ca_file is to be put.
func CAFilePath(file string) string { return filepath.Join(filepath.Dir(file), "nextcloud-ca.pem") }
