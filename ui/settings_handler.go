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
	kinds   *kit.Chooser
	forgets *kit.Prose
	parts   map[*fyne.Container][]string // and the kinds that they are for

	list   *commandList
	words  *kit.Prose // of the program
	token  *secretField
	secret *secretField

	listing    *kit.Button
	models     *kit.Dropdown
	listed     string // base_url and key that the models are of
	noModels   *kit.Prose
	stopModels context.CancelFunc

	trigger, prefix, names *formRow
	others                 *kit.Prose
}

// handlerKinds returns the kinds in the order of their cards.
func handlerKinds() []string {
	return []string{config.Commands, config.Exec, config.HTTP, config.LLM, config.Relay}
}

// kindName returns what a kind of handler is called.
func kindName(kind string) bridge.Text {
	switch kind {
	case config.Exec:
		return bridge.Say("Program")
	case config.HTTP:
		return bridge.Say("Web hook")
	case config.LLM:
		return bridge.Say("Language model")
	case config.Relay:
		return bridge.Say("Other bot")
	default:
		return bridge.Say("Commands")
	}
}

func (s *fieldset) handlerSection() *handlerSection {
	h := &handlerSection{s: s, forgets: kit.NewProse(), others: kit.NewProse(), parts: map[*fyne.Container][]string{}}
	var cards []kit.Choice
	for i, about := range []bridge.Text{
		bridge.Say("built in and yours"), bridge.Say("in any language"), bridge.Say("n8n, Node-RED, …"),
		bridge.Say("Ollama, OpenAI, …"), bridge.Say("on this network"),
	} {
		cards = append(cards, kit.Choice{Title: kindName(handlerKinds()[i]), Subtitle: about})
	}
	h.kinds = s.u.kit.ChoiceCards(cards, func(i int) {
		s.takeKind(handlerKinds()[i])
		s.edited()
	})
	part := func(kinds []string, objects ...fyne.CanvasObject) *fyne.Container {
		box := s.section(objects...)
		h.parts[box] = kinds
		return box
	}
	h.Root = kit.Column(
		kit.Space3, h.kinds, h.forgets,
		part([]string{config.Commands}, h.ownCommands()...),
		part([]string{config.Exec}, h.program()...),
		part([]string{config.HTTP, config.Relay}, h.address()...),
		part([]string{config.LLM}, h.server()),
		part([]string{config.HTTP, config.LLM}, h.bearer()),
		part([]string{config.HTTP}, h.signing()),
		part([]string{config.LLM}, h.model()...),
		kit.Strut(1, 1, kit.NewPanel(kit.ColorLine, "", 0)),
		part(nil, h.asked()...),
		part([]string{config.Commands, config.Exec, config.HTTP, config.LLM}, h.manner()...),
		part(nil, h.limits()...),
		part([]string{config.Exec, config.HTTP, config.LLM}, h.files()),
		h.others,
	)
	h.ExtendBaseWidget(h)
	return h
}

func (h *handlerSection) ownCommands() []fyne.CanvasObject {
	h.list = h.s.commandList()
	return []fyne.CanvasObject{
		kit.NewProse(kit.NewPart(
			h.s.u.say(bridge.Say("In addition to the built-in ones. In an answer, %s are filled in.", "{text}, {author}, {author_id}, {room}, {date}, {time}")),
			kit.Style{Color: kit.ColorMuted},
		)), h.list,
	}
}

func (h *handlerSection) program() []fyne.CanvasObject {
	line := h.s.text(
		"handler.command", bridge.Say("Command"),
		bridge.Say("The program and its arguments; put quotes around an argument with spaces. No shell is involved. The program reads the message as JSON and writes the answer."),
		asItIs("python3 /home/alice/bot.py"), func(v *values) *string { return &v.Command },
	)
	h.words = kit.NewProse()
	return []fyne.CanvasObject{line.field, h.s.u.kit.Field(bridge.Text{}, bridge.Text{}, h.words)}
}

func (h *handlerSection) address() []fyne.CanvasObject {
	return []fyne.CanvasObject{h.s.text(
		"handler.url", bridge.Say("Address"), bridge.Say("Messages are posted to it."),
		asItIs("http://127.0.0.1:5678/webhook/perch"), func(v *values) *string { return &v.URL },
	).field}
}

func (h *handlerSection) server() fyne.CanvasObject {
	return h.s.text(
		"handler.base_url", bridge.Say("Server"), bridge.Say("Any server with an OpenAI-compatible API; its address ends in /v1."),
		asItIs("http://127.0.0.1:11434/v1"), func(v *values) *string { return &v.BaseURL },
	).field
}

func (h *handlerSection) bearer() fyne.CanvasObject {
	h.token = h.s.secretEntry(bridge.HandlerToken, bridge.Say("Key"), bridge.Say("Only if the other side wants one: it is sent as a bearer token."), false, false)
	return h.token.field
}

func (h *handlerSection) signing() fyne.CanvasObject {
	h.secret = h.s.secretEntry(bridge.HandlerSecret, bridge.Say("Signing secret"), bridge.Say("Only if the web hook checks it: signed as Talk does."), true, false)
	return h.secret.field
}

func (h *handlerSection) model() []fyne.CanvasObject {
	s := h.s
	h.listing = s.u.kit.Button(bridge.Say("Show models"), h.askModels)
	h.models = s.u.kit.Dropdown(nil, func(i int) {
		if i >= 0 {
			s.values.Model = h.models.Options[i]
			s.edited()
		}
	})
	h.models.PlaceHolder = s.u.say(bridge.Say("What the server has"))
	h.models.Hide()
	h.noModels = kit.NewProse()
	h.noModels.Hide()
	number := func(key string, label, hint, placeholder bridge.Text, at func(v *values) *string) fyne.CanvasObject {
		return s.text(key, label, hint, placeholder, at).field
	}
	return []fyne.CanvasObject{
		s.text(
			"handler.model", bridge.Say("Model"), bridge.Text{},
			asItIs("llama3.2"), func(v *values) *string { return &v.Model }, h.models, h.listing,
		).field,
		h.noModels,
		s.area(
			"handler.system_prompt", bridge.Say("Instructions"), bridge.Text{},
			bridge.Say("You are Perch, a friendly bird in a family's chat. Answer briefly."), 4, func(v *values) *string { return &v.SystemPrompt },
		).field,
		number(
			"handler.temperature", bridge.Say("Temperature"), bridge.Say("0 to 2; higher is more varied. Empty: the server's default."),
			bridge.Say("the server's own"), func(v *values) *string { return &v.Temperature },
		),
		number(
			"handler.history", bridge.Say("Remembers"), bridge.Say("How many earlier messages and answers of a conversation it sees; !forget clears them."),
			asItIs("20"), func(v *values) *string { return &v.History },
		),
		number(
			"handler.max_tokens", bridge.Say("Longest answer"), bridge.Say("In tokens, about four letters each. Empty: the server's default."),
			bridge.Say("the server's own"), func(v *values) *string { return &v.MaxTokens },
		),
	}
}

func (h *handlerSection) asked() []fyne.CanvasObject {
	s := h.s
	h.trigger = s.pick("handler.trigger", bridge.Say("It answers"), bridge.Text{}, []pickOption{
		{string(config.OnAll), bridge.Say("every message of an allowed user")},
		{string(config.OnPrefix), bridge.Say("messages that begin with the prefix")},
		{string(config.OnMention), bridge.Say("messages that begin with its name")},
	}, func(v values) string { return string(v.asked()) }, func(f *form, value string) { f.takeTrigger(config.Trigger(value)) })
	h.prefix = s.text("handler.prefix", bridge.Say("Prefix"), bridge.Text{}, asItIs("!"), func(v *values) *string { return &v.Prefix })
	h.names = s.text(
		"handler.names", bridge.Say("Its names"), bridge.Say("Separated by commas. Talk cannot mention bots, so a name at the start counts."),
		asItIs("Perch"), func(v *values) *string { return &v.Names },
	)
	return []fyne.CanvasObject{h.trigger.field, h.prefix.field, h.names.field}
}

func (h *handlerSection) manner() []fyne.CanvasObject {
	return []fyne.CanvasObject{
		h.s.tick("handler.quote", bridge.Say("Answers"), bridge.Say("Show the message that they are for"), func(v *values) *bool { return &v.Quote }).field,
		h.s.tick("handler.silent", bridge.Text{}, bridge.Say("Notify nobody"), func(v *values) *bool { return &v.Silent }).field,
	}
}

func (h *handlerSection) limits() []fyne.CanvasObject {
	return []fyne.CanvasObject{
		h.s.text(
			"handler.ack", bridge.Say("While it works"), bridge.Say("A reaction on the message until the answer is there. Empty: none."),
			asItIs("👀"), func(v *values) *string { return &v.Ack },
		).field,
		h.s.text(
			"handler.on_error", bridge.Say("If it fails"), bridge.Say("Posted in the conversation. Empty: nothing."),
			bridge.Say("Sorry, that did not work."), func(v *values) *string { return &v.OnError },
		).field,
		h.s.text(
			"handler.timeout", bridge.Say("It may take"), bridge.Say("30s, 5m: after that it counts as failed."),
			asItIs("1m"), func(v *values) *string { return &v.Timeout },
		).field,
	}
}

func (h *handlerSection) files() fyne.CanvasObject {
	return h.s.pick("handler.attachments", bridge.Say("Shared files"), bridge.Text{}, []pickOption{
		{string(config.FileLink), bridge.Say("it gets their names and links")},
		{string(config.FileCopy), bridge.Say("it gets what is in them, with the app token")},
	}, func(v values) string { return string(v.Files) }, func(f *form, value string) { f.values.Files = config.Files(value) }).field
}

func (h *handlerSection) update() {
	s, v, u := h.s, h.s.values, h.s.u
	choose(h.kinds, slices.Index(handlerKinds(), v.Kind))
	for box, kinds := range h.parts {
		box.Hidden = kinds != nil && !slices.Contains(kinds, v.Kind)
	}
	h.prefix.field.Hidden = v.asked() != config.OnPrefix && v.Kind != config.Commands && s.checked.errors["handler.prefix"].IsZero()
	h.names.field.Hidden = v.asked() != config.OnMention && s.checked.errors["handler.names"].IsZero()

	forgets := s.forgets()
	h.forgets.Hidden = forgets == ""
	h.forgets.Set(kit.NewPart(u.say(bridge.Say("When you apply, what is set for %s is forgotten.", u.say(kindName(forgets)))), kit.Style{Color: kit.ColorWarn}))

	words, _ := config.SplitCommand(v.Command)
	for i, w := range words {
		words[i] = "[" + w + "]"
	}
	h.words.Set(kit.NewPart(strings.Join(words, " "), kit.Style{Color: kit.ColorMuted, Size: kit.SizeSmall, Mono: true}))
	h.words.Hidden = len(words) < 2
	h.list.update()
	h.updateModels()

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
	h.listing.SetEnabled(s.checked.errors["handler.base_url"].IsZero() && s.values.BaseURL != "")
	if h.listed != s.values.BaseURL {
		h.models.Hide()
		h.noModels.Hide()
	}
	if i := slices.Index(h.models.Options, s.values.Model); i != h.models.SelectedIndex() {
		if h.models.ClearSelected(); i >= 0 {
			h.models.Set(i)
		}
	}
}

// askModels asks the server for its models.
func (h *handlerSection) askModels() {
	h.stop()
	s := h.s
	handler, key, of := s.checked.config.Handler, s.secret(bridge.HandlerToken), s.values.BaseURL
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
