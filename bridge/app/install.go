package app

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"perch/bridge"
	"perch/bridge/config"
)

// Servers returns the ways in which Nextcloud can run, as Commands knows them.
func Servers() []string { return []string{"host", "docker", "aio", "snap"} }

// occ returns how occ is called, by how Nextcloud runs.
func occ(server string) string {
	return map[string]string{
		"host":   "sudo -u www-data php /var/www/nextcloud/occ",
		"docker": "docker exec -u www-data nextcloud php occ",
		"aio":    "sudo docker exec --user www-data -it nextcloud-aio-nextcloud php occ",
		"snap":   "sudo nextcloud.occ",
	}[server]
}

// Installation is how a bot is installed on a server.
type Installation struct {
	Name    string
	Secret  bridge.Secret
	Address string   // of its webhook
	Old     string   // address that it is installed with already; empty: none
	Rooms   []string // tokens of the conversations that it is to be enabled in; empty: to be filled in
	ID      int      // its number, if it is installed at Address already; else 0
}

// Commands returns the commands that install the bot, without comments, one a
// line: first of all those that take an earlier installation away, because
// Talk takes neither an address nor a secret twice. One that is installed is
// switched on, with its features.
func (b Installation) Commands(server string) []string {
	occ := occ(server)
	rooms := "TOKEN"
	if len(b.Rooms) > 0 {
		rooms = strings.Join(b.Rooms, " ")
	}
	if b.ID != 0 {
		id := strconv.Itoa(b.ID)
		return []string{occ + " talk:bot:state -f webhook -f response " + id + " 1", occ + " talk:bot:setup " + id + " " + rooms}
	}
	var lines []string
	if b.Old != "" {
		lines = append(lines, occ+" talk:bot:uninstall --url="+shellQuote(b.Old))
	}
	return append(lines,
		occ+" talk:bot:install -f webhook -f response -- "+shellQuote(b.Name)+" "+shellQuote(b.Secret.Reveal())+" "+shellQuote(b.Address),
		occ+" talk:bot:list",
		occ+" talk:bot:setup BOT-ID "+rooms)
}

// shellQuote returns s as one word of a POSIX shell.
func shellQuote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// Address returns the URL at which Nextcloud reaches the webhook that listens
// on an address; empty if that is not known. A tunnel's address, if it has one,
// goes before the one in the configuration.
func Address(cfg config.Config, listen, tunnel string) string {
	hook := cfg.Webhook
	switch {
	case cfg.Talk.Receive == config.ByAccount:
		return ""
	case tunnel != "":
		hook.PublicURL = tunnel
	case cfg.Tunnel.Mode == config.TunnelNamed && cfg.Tunnel.Hostname != "":
		hook.PublicURL = "https://" + cfg.Tunnel.Hostname
	case cfg.Tunnel.Mode == config.TunnelQuick:
		return ""
	case hook.PublicURL == "":
		host, port, err := net.SplitHostPort(listen)
		ip, _ := netip.ParseAddr(host)
		if err != nil || host == "" || port == "0" || ip.IsUnspecified() {
			return ""
		}
		hook.Listen = listen
	}
	return hook.Address()
}
