package notify

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// maxAlerts bounds the alerts of a group that are listed.
const maxAlerts = 20

// alerts is a group of alerts as Prometheus Alertmanager posts it (version 4),
// and Grafana with more fields.
type alerts struct {
	Alerts      []alert           `json:"alerts"`
	GroupLabels map[string]string `json:"groupLabels"`
	Truncated   int               `json:"truncatedAlerts"`
}

type alert struct {
	Status      string            `json:"status"` // "firing" or "resolved"
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	Generator   string            `json:"generatorURL"`
	Panel       string            `json:"panelURL"`     // Grafana
	Dashboard   string            `json:"dashboardURL"` // Grafana
}

// render returns the group as a message: a headline, and a line for each alert.
func (g alerts) render(title string) string {
	firing := 0
	for _, a := range g.Alerts {
		if a.Status != "resolved" {
			firing++
		}
	}
	headline := oneLine(title)
	if headline == "" {
		headline = "[RESOLVED] "
		if firing > 0 {
			headline = "[FIRING:" + strconv.Itoa(firing) + "] "
		}
		headline = strings.TrimSpace(headline + g.name())
	}
	lines := []string{sign(firing > 0) + " **" + headline + "**"}
	for i, a := range g.Alerts {
		if i == maxAlerts {
			break
		}
		lines = append(lines, "- "+a.line(len(g.Alerts) > 1))
	}
	if more := max(0, len(g.Alerts)-maxAlerts) + max(0, g.Truncated); more > 0 {
		lines = append(lines, "- … and "+strconv.Itoa(more)+" more")
	}
	return strings.Join(lines, "\n")
}

// name returns what the alerts have in common.
func (g alerts) name() string {
	name := g.GroupLabels["alertname"]
	for _, a := range g.Alerts {
		if own := a.Labels["alertname"]; name == "" {
			name = own
		} else if own != name && g.GroupLabels["alertname"] == "" {
			return strconv.Itoa(len(g.Alerts)) + " alerts"
		}
	}
	return oneLine(name)
}

// line returns an alert in a line; signed, if the others of its group may be in
// another state.
func (a alert) line(signed bool) string {
	words := cmp.Or(a.Annotations["summary"], a.Annotations["description"], a.Annotations["message"], a.Labels["alertname"], "an alert")
	line := oneLine(words)
	if signed {
		line = sign(a.Status != "resolved") + " " + line
	}
	var labels []string
	for name, value := range a.Labels {
		if name != "alertname" && !strings.HasPrefix(name, "__") && !strings.Contains(words, value) {
			labels = append(labels, name+"="+value)
		}
	}
	slices.Sort(labels)
	if len(labels) > 0 {
		line += " (" + oneLine(strings.Join(labels, ", ")) + ")"
	}
	if link := cmp.Or(a.Panel, a.Dashboard, a.Generator); isLink(link) {
		line += " " + link
	}
	return line
}

func sign(firing bool) string {
	if firing {
		return "🔴"
	}
	return "🟢"
}

// isLink reports whether s can stand in a message as an address.
func isLink(s string) bool {
	const most = 500
	return len(s) <= most && (strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://")) && !strings.ContainsAny(s, " \n\t")
}
