package ui

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"fyne.io/fyne/v2"

	"perch/bridge"
	"perch/bridge/config"
	"perch/ui/kit"
)

// handlerSection is what answers messages, what that needs, and when it is
// asked.
type handlerSection struct {
	kit.Composite
	s       *fieldset
	kinds   []string
	cards   *kit.Chooser
	forgets *kit.Prose
	rows    []*formRow // of settings that not all kinds have

	intro  *kit.Prose
	list   *commandList
	words  *kit.Prose // of the program
	token  *secretField
	secret *secretField

	listing    *kit.Button
	models     *kit.Dropdown
	listed     string // the server that the models are of
	noModels   *kit.Prose
	stopModels context.CancelFunc

	prefix, names *formRow
	others        *kit.Prose
	tools         *kit.Prose
}

func (s *fieldset) handlerSection() *handlerSection {
	h := &handlerSection{s: s, forgets: kit.NewProse(), words: kit.NewProse(), others: kit.NewProse(), tools: kit.NewProse()}
	h.kinds, h.cards = s.cards(s.setting(kindKey), s.takeKind)
	h.list = s.commandList()
	h.intro = kit.NewProse(kit.NewPart(
		s.u.say(bridge.Say("In addition to the built-in ones. In an answer, %s are filled in.", "{text}, {author}, {author_id}, {room}, {date}, {time}")),
		kit.Style{Color: kit.ColorMuted},
	))
	h.token = s.secretEntry(bridge.HandlerToken, bridge.Say("Key"), bridge.Say("Only if the other side wants one: it is sent as a bearer token."), false, false)
	h.secret = s.secretEntry(bridge.HandlerSecret, bridge.Say("Signing secret"), bridge.Say("Only if the web hook checks it: signed as Talk does."), true, false)
	h.offerModels()

	objects := []fyne.CanvasObject{h.cards, h.forgets, h.intro, h.list}
	field := func(name string, more ...fyne.CanvasObject) *formRow {
		r := s.field(s.setting(name), more...)
		h.rows, objects = append(h.rows, r), append(objects, r.field)
		return r
	}
	field(commandKey)
	objects = append(objects, h.words)
	field("handler.url")
	field(modelHostKey)
	objects = append(objects, h.token.field, h.secret.field)
	field(modelKey, h.models, h.listing)
	objects = append(objects, h.noModels)
	for _, name := range []string{"handler.system_prompt", "handler.temperature", "handler.history", "handler.max_tokens", "handler.stream"} {
		field(name)
	}
	objects = append(objects, h.tools)
	objects = append(
		objects, kit.Strut(1, 1, kit.NewPanel(kit.ColorLine, "", 0)),
		s.pick(s.setting(triggerKey), func() string { return string(s.asked()) }, func(value string) { s.takeTrigger(config.Trigger(value)) }).field,
	)
	h.prefix, h.names = field(prefixKey), field(namesKey)
	for _, name := range []string{"handler.quote", "handler.silent", "handler.ack", "handler.on_error", "handler.timeout", "handler.attachments", "handler.on_reaction"} {
		field(name)
	}
	h.Root = kit.Column(10, append(objects, h.others)...)
	h.ExtendBaseWidget(h)
	return h
}

// offerModels makes what shows the models of a server.
func (h *handlerSection) offerModels() {
	s := h.s
	h.listing = s.u.kit.Button(bridge.Say("Show models"), h.askModels)
	h.models = s.u.kit.Dropdown(nil, func(i int) {
		if i >= 0 {
			s.set(modelKey, h.models.Options[i])
			s.edited()
		}
	})
	h.models.PlaceHolder = s.u.say(bridge.Say("What the server has"))
	h.models.Hide()
	h.noModels = kit.NewProse()
	h.noModels.Hide()
}

func (h *handlerSection) update() {
	s, u, kind := h.s, h.s.u, h.s.kind()
	choose(h.cards, slices.Index(h.kinds, kind))
	for _, r := range h.rows {
		r.field.Hidden = !s.counts(s.setting(r.key))
	}
	of := func(kinds ...string) bool { return slices.Contains(kinds, kind) }
	h.intro.Hidden, h.list.Hidden = !of(config.Commands), !of(config.Commands)
	h.token.field.Hidden, h.secret.field.Hidden = !of(config.HTTP, config.LLM), !of(config.HTTP)
	h.prefix.field.Hidden = s.asked() != config.OnPrefix && !of(config.Commands) && s.checked.errors[prefixKey].IsZero()
	h.names.field.Hidden = s.asked() != config.OnMention && s.checked.errors[namesKey].IsZero()

	forgets := s.forgets()
	h.forgets.Hidden = forgets == ""
	if forgets != "" {
		name := u.say(s.setting(kindKey).Choices[slices.Index(h.kinds, forgets)].Name)
		h.forgets.Set(kit.NewPart(u.say(bridge.Say("When you apply, what is set for %s is forgotten.", name)), kit.Style{Color: kit.ColorWarn}))
	}

	words, _ := config.SplitCommand(s.text(commandKey))
	for i, w := range words {
		words[i] = "[" + w + "]"
	}
	h.words.Set(kit.NewPart(strings.Join(words, " "), kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall, Mono: true}))
	h.words.Hidden = len(words) < 2 || !of(config.Exec)
	h.list.update()
	h.updateModels()

	var tools []string
	for _, t := range s.base.Handler.Tools {
		tools = append(tools, t.Name)
	}
	h.tools.Hidden = len(tools) == 0 || !of(config.LLM)
	h.tools.Set(kit.NewPart(
		u.say(bridge.Say("It can use these tools, which config.toml has: %s", strings.Join(tools, ", "))),
		kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall},
	))

	rooms, handlers := len(s.base.Rooms), len(s.base.Handlers)
	h.others.Hidden = rooms+handlers == 0
	h.others.Set(kit.NewPart(
		u.say(bridge.Say("config.toml also has %s conversations and %s handlers of their own. They stay as they are.", strconv.Itoa(rooms), strconv.Itoa(handlers))),
		kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall},
	))
	h.Relayout()
}

// updateModels shows the models as long as they are those of the server.
func (h *handlerSection) updateModels() {
	s := h.s
	h.listing.SetEnabled(s.checked.errors[modelHostKey].IsZero() && s.text(modelHostKey) != "")
	if h.listed != s.text(modelHostKey) || s.kind() != config.LLM {
		h.listed = ""
		h.models.Hide()
		h.noModels.Hide()
	}
	if i := slices.Index(h.models.Options, s.text(modelKey)); i != h.models.SelectedIndex() {
		if h.models.ClearSelected(); i >= 0 {
			h.models.Set(i)
		}
	}
}

// askModels asks the server for its models.
func (h *handlerSection) askModels() {
	h.stop()
	s := h.s
	handler, key, of := s.checked.config.Handler, s.secret(bridge.HandlerToken), s.text(modelHostKey)
	h.listing.SetText(s.u.say(bridge.Say("Asking…")))
	h.stopModels = s.u.background(func(ctx context.Context) func() {
		secret, err := key(ctx)
		var models []string
		if err == nil || bridge.CodeOf(err) == bridge.CodeNotFound {
			models, err = s.u.backend.Models(ctx, handler, secret)
		}
		if err != nil {
			models = nil
		}
		return func() {
			h.stop()
			h.listed = of
			h.models.SetOptions(models)
			h.models.Hidden, h.noModels.Hidden = len(models) == 0, len(models) > 0
			switch {
			case err != nil:
				h.noModels.Set(kit.NewPart(strings.TrimSpace(kit.Sentence(s.u.say(bridge.TextOf(err)))+" "+s.u.say(bridge.HintOf(err))), kit.Style{Color: kit.ColorBad}))
			case len(models) == 0:
				h.noModels.Set(kit.NewPart(s.u.say(bridge.Say("The server has no models yet.")), kit.Style{Color: kit.ColorWarn}))
			}
			s.notify()
		}
	})
}

// stop ends what is under way.
func (h *handlerSection) stop() {
	if h.stopModels != nil {
		h.stopModels()
		h.stopModels = nil
	}
	h.listing.SetText(h.s.u.say(bridge.Say("Show models")))
}
