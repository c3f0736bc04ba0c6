package handler

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"perch/bridge"
)

// Diagnose tells whether the server answers, takes the key and has the model. It
// asks for the list of models only, so that no model is loaded for it.
func (l LLM) Diagnose(ctx context.Context) bridge.Result {
	why := bridge.Say("Messages are not answered until the model can be asked.")
	base, err := l.base()
	if err != nil {
		return bridge.FailedBy(err, why)
	}
	models, err := l.models(ctx)
	if r, ok := errors.AsType[*refusal](err); ok && r.status == http.StatusNotFound && strings.Contains(base.Path, "/v") {
		return bridge.Warned(
			bridge.Say("%s answers, but does not list its models", base.Host),
			bridge.Say("So it is not known whether it takes the key and has the model."),
			bridge.Say("Write to the bot and see. If it does not answer, check base_url and model."))
	}
	if err != nil {
		return bridge.FailedBy(err, why)
	}
	names := make([]string, len(models))
	for i, m := range models {
		names[i] = m.ID
	}
	slices.Sort(names)
	switch {
	case strings.TrimSpace(l.Model) == "":
		return bridge.Failed(bridge.Say("No model is chosen"), why, l.choose(names))
	case len(models) == 1 && models[0].OwnedBy == "llamacpp":
		return bridge.Passed(bridge.Say("%[1]s answers with the one model that it has, %[2]s", base.Host, names[0]))
	case !slices.ContainsFunc(models, l.isOurs):
		return bridge.Failed(bridge.Say("%[1]s answers, but has no model %[2]s", base.Host, l.Model), why, l.pull(names))
	}
	if l.Tools != nil {
		defer l.Tools.Close()
		if err := l.Tools.diagnose(ctx); err != nil {
			return bridge.FailedBy(err, bridge.Say("The model answers without it."))
		}
	}
	return bridge.Passed(bridge.Say("%[1]s answers and has %[2]s", base.Host, l.Model))
}

// isOurs reports whether m is the model that is to be asked. Ollama writes the
// tag that it takes where none is given.
func (l LLM) isOurs(m model) bool {
	return m.ID == l.Model || m.ID == l.Model+":latest"
}

// choose returns which models there are to choose from.
func (l LLM) choose(names []string) bridge.Text {
	if len(names) == 0 {
		return bridge.Say("Get one; with Ollama: ollama pull llama3.2\nand set: model = %s", `"llama3.2"`)
	}
	return bridge.Say("Set model to one of these: %s", strings.Join(names[:min(len(names), 10)], ", "))
}
