package ui

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"fyne.io/fyne/v2"

	"perch/bridge"
	"perch/bridge/config"
	"perch/ui/kit"
)

// fieldset is the fields of a page that show an editor's form. What a person
// changes goes into the form, and from there into the fields again.
type fieldset struct {
	*editor
	rows   []*formRow
	gentle bool // an empty field is not wrong before a person has been there
}

// formRow is a field of the form.
type formRow struct {
	field  *kit.Field
	key    string     // of a setting, or the name of a secret
	entry  *kit.Entry // can be nil
	update func()     // shows what the form has
	typed  func()     // what follows from what a person types; can be nil
	tried  bool       // a person has been there
	within []fyne.CanvasObject

	wrong string // what is shown as wrong or unwise
	tone  kit.Tone
}

// hidden reports whether the row or what it is in cannot be seen.
func (r *formRow) hidden() bool {
	return r.field.Hidden || slices.ContainsFunc(r.within, func(o fyne.CanvasObject) bool { return !o.Visible() })
}

// show shows what the form has in every field, and what is wrong with it.
func (s *fieldset) show() {
	for _, r := range s.rows {
		r.update()
		s.mark(r)
	}
}

func (s *fieldset) mark(r *formRow) {
	problem, t := s.checked.errors[r.key], kit.Bad
	if problem.IsZero() {
		problem, t = s.checked.warnings[r.key], kit.Warn
	}
	if s.gentle && !r.tried && r.entry != nil && r.entry.Text == "" {
		problem = bridge.Text{}
	}
	if r.key == bridge.AppToken && problem.IsZero() {
		problem, t = s.refusedToken(), kit.Bad
	}
	wrong := ""
	if !problem.IsZero() {
		wrong = kit.Sentence(s.u.say(problem))
	}
	if wrong == r.wrong && (t == r.tone || wrong == "") {
		return
	}
	r.wrong, r.tone = wrong, t
	if r.entry != nil {
		var err error
		if wrong != "" && t == kit.Bad {
			err = errors.New(wrong)
		}
		r.entry.Mark(err)
	}
	r.tell()
}

// tell shows what is wrong with the field, else what to know about it.
func (r *formRow) tell() { r.field.SetNote(r.wrong, r.tone) }

// know changes what to know about the field.
func (r *formRow) know(hint bridge.Text) {
	r.field.SetHint(hint)
}

func (s *fieldset) add(r *formRow) *formRow {
	s.rows = append(s.rows, r)
	return r
}

// section puts things below each other; the fields among them count as hidden
// with it.
func (s *fieldset) section(objects ...fyne.CanvasObject) *fyne.Container {
	box := kit.Column(10, objects...)
	for _, r := range s.rows {
		if inside(box, r.field) {
			r.within = append(r.within, box)
		}
	}
	return box
}

// inside reports whether an object is in o, looking into containers alone.
func inside(o, what fyne.CanvasObject) bool {
	c, is := o.(*fyne.Container)
	return o == what || is && slices.ContainsFunc(c.Objects, func(child fyne.CanvasObject) bool { return inside(child, what) })
}

// fields returns the fields of settings.
func (s *fieldset) fields(names ...string) (fields []fyne.CanvasObject) {
	for _, name := range names {
		fields = append(fields, s.field(s.setting(name)).field)
	}
	return fields
}

// field returns the field of a setting: a box to tick, a list to choose from, or
// text, with more beside it.
func (s *fieldset) field(k config.Key, more ...fyne.CanvasObject) *formRow {
	switch {
	case k.Bool:
		return s.tick(k.Name, k.Label, k.Help, func() bool { return s.text(k.Name) == "true" }, func(yes bool) { s.set(k.Name, strconv.FormatBool(yes)) })
	case len(k.Choices) > 0:
		return s.pick(k, func() string { return s.text(k.Name) }, func(value string) { s.set(k.Name, value) })
	}
	placeholder := bridge.Say("%s", k.Example)
	for _, words := range []bridge.Text{k.Sample, k.Unset} {
		if !words.IsZero() {
			placeholder = words
		}
	}
	e := s.u.kit.Entry(placeholder)
	if k.Lines > 0 {
		several(e, k.Lines)
	}
	r := s.add(&formRow{key: k.Name, entry: e})
	r.field = s.u.kit.Field(k.Label, k.Help, append([]fyne.CanvasObject{e}, more...)...)
	e.OnChanged = func(text string) {
		s.set(k.Name, text)
		r.tried = true
		if r.typed != nil {
			r.typed()
		}
		s.edited()
	}
	r.update = func() { setText(e, s.text(k.Name)) }
	return r
}

// several makes an entry one of several lines.
func several(e *kit.Entry, lines int) {
	e.MultiLine, e.Wrapping = true, fyne.TextWrapWord
	e.SetMinRowsVisible(lines)
}

// setText changes the text without a word to OnChanged.
func setText(e *kit.Entry, text string) {
	if e.Text == text {
		return
	}
	changed := e.OnChanged
	e.OnChanged = nil
	e.SetText(text)
	e.OnChanged = changed
}

// tick returns a field with a box to tick.
func (s *fieldset) tick(key string, label, words bridge.Text, get func() bool, take func(yes bool)) *formRow {
	c := s.u.kit.Check(words, func(yes bool) {
		take(yes)
		s.edited()
	})
	r := s.add(&formRow{key: key, field: s.u.kit.Field(label, bridge.Text{}, c)})
	r.update = func() {
		if yes := get(); c.Checked != yes {
			c.Set(yes)
		}
	}
	return r
}

// pick returns a field with a list of values to choose one from, which say
// what they do.
func (s *fieldset) pick(k config.Key, get func() string, take func(value string)) *formRow {
	choices := slices.DeleteFunc(slices.Clone(k.Choices), func(c config.Choice) bool { return c.Name.IsZero() })
	var names []string
	for _, c := range choices {
		names = append(names, s.u.say(c.Name))
	}
	d := s.u.kit.Dropdown(names, func(i int) {
		take(choices[i].Value)
		s.edited()
	})
	r := s.add(&formRow{key: k.Name})
	r.field = s.u.kit.Field(k.Label, bridge.Text{}, kit.Layers(kit.NewPanel(kit.ColorCard, kit.ColorBorder, kit.RadiusControl), d))
	r.update = func() {
		i := slices.IndexFunc(choices, func(c config.Choice) bool { return c.Value == get() })
		if i != d.SelectedIndex() {
			d.Set(i)
		}
	}
	return r
}

// cards returns the values of a setting to choose from, and a chooser with a
// card for each.
func (s *fieldset) cards(k config.Key, take func(value string)) (values []string, chooser *kit.Chooser) {
	var cards []kit.Choice
	for _, c := range k.Choices {
		values = append(values, c.Value)
		cards = append(cards, kit.Choice{Title: c.Name, Subtitle: c.About})
	}
	return values, s.u.kit.ChoiceCards(cards, func(i int) {
		take(values[i])
		s.edited()
	})
}

// secretField is a field for a secret. It is masked, and knows the stored one
// only while a person looks at it.
type secretField struct {
	*formRow
	s        *fieldset
	name     string
	purpose  bridge.Text // shown while there is none
	looking  bool        // it is not masked
	revealed bridge.Secret

	showing, generating, removing *kit.Button
}

// bullets stand for what is stored, however long it is.
const bullets = "•••••••••••••••••••••••••••"

// secretEntry returns a field for a secret; random: Perch can make it, and
// needed: it cannot be removed.
func (s *fieldset) secretEntry(name string, label, purpose bridge.Text, random, needed bool) *secretField {
	f := &secretField{s: s, name: name, purpose: purpose, formRow: s.add(&formRow{key: name, entry: s.u.kit.Entry(bridge.Text{})})}
	f.entry.Password = true
	f.entry.ActionItem = kit.Strut(kit.Space1, 1, kit.Layers()) // in place of Fyne's eye
	f.showing = s.u.kit.Button(bridge.Say("Show"), f.look)
	buttons := []fyne.CanvasObject{f.entry, f.showing}
	if random {
		f.generating = s.u.kit.Button(bridge.Say("Generate"), func() {
			f.value().typed, f.value().remove = s.u.backend.NewSecret().Reveal(), false
			s.edited()
		})
		buttons = append(buttons, f.generating)
	}
	if !needed {
		f.removing = s.u.kit.Button(bridge.Say("Remove"), func() {
			f.mask()
			f.value().typed, f.value().remove = "", true
			s.edited()
		})
		buttons = append(buttons, f.removing)
	}
	f.field = s.u.kit.Field(label, purpose, kit.FoldingRow(kit.Space2, 0, 140, buttons...))
	f.formRow.update = f.update
	f.entry.OnChanged = f.take
	return f
}

func (f *secretField) value() *secretValue { return f.s.secrets[f.name] }

// take takes what a person types.
func (f *secretField) take(text string) {
	v := f.value()
	v.typed, v.remove = text, false
	switch {
	case text == "": // what is stored stays
		f.mask()
	case f.looking && text == f.revealed.Reveal():
		v.typed = ""
	}
	f.s.edited()
}

// mask hides what is typed or stored.
func (f *secretField) mask() { f.looking, f.revealed = false, bridge.Secret{} }

// look shows the secret, or masks it again.
func (f *secretField) look() {
	v := f.value()
	switch {
	case f.looking:
		f.mask()
		f.s.notify()
	case v.typed != "":
		f.looking = true
		f.s.notify()
	default:
		f.s.u.background(func(ctx context.Context) func() {
			secret, err := f.s.u.backend.Secret(ctx, f.name)
			return func() {
				if err != nil {
					f.s.u.failed(err)
					return
				}
				f.looking, f.revealed = true, secret
				f.s.notify()
			}
		})
	}
}

func (f *secretField) update() {
	v, e := f.value(), f.entry
	text := v.typed
	if text == "" && f.looking && !v.remove {
		text = f.revealed.Reveal()
	}
	if e.Password == f.looking {
		e.Password = !f.looking
		e.Refresh()
	}
	setText(e, text)
	placeholder := ""
	if v.stored && !v.remove {
		placeholder = bullets
	}
	if e.PlaceHolder != placeholder {
		e.SetPlaceHolder(placeholder)
	}
	word := bridge.Say("Show")
	if f.looking {
		word = bridge.Say("Hide")
	}
	f.showing.SetText(f.s.u.say(word))
	f.showing.Hidden = v.typed == "" && (!v.stored || v.remove)
	if e.Disabled() != v.fixed {
		if e.Enable(); v.fixed {
			e.Disable()
		}
	}
	if f.generating != nil {
		f.generating.SetEnabled(!v.fixed)
	}
	if f.removing != nil {
		f.removing.Hidden = !v.stored || v.fixed || v.remove
	}
	f.know(f.about())
}

// about says where the secret is, or what it is for.
func (f *secretField) about() bridge.Text {
	v := f.value()
	place := f.s.u.say(v.place)
	switch {
	case v.fixed:
		return bridge.Say("It comes from %s, and can be changed only there.", place)
	case v.remove:
		return bridge.Say("It is removed when you apply.")
	case v.typed != "":
		return bridge.Say("It is stored in %s when you apply.", place)
	case v.err != nil:
		return bridge.Say("It cannot be read: %s", strings.TrimSpace(kit.Sentence(f.s.u.say(bridge.TextOf(v.err)))+" "+f.s.u.say(bridge.HintOf(v.err))))
	case v.stored:
		return bridge.Say("Stored in %s.", place)
	default:
		return f.purpose
	}
}

// testRows shows what a look at the server has found.
type testRows struct {
	kit.Composite
	s     *fieldset
	lines *fyne.Container
	shown trialView
}

// trialView is what is shown of a trial.
type trialView struct {
	busy bool
	rows int
	took string
	err  error
}

func (s *fieldset) testRows() *testRows {
	t := &testRows{s: s, lines: kit.Column(kit.Space2)}
	t.Root = kit.Layers(kit.NewPanel(kit.ColorTint, "", kit.RadiusControl), kit.Inset(11, kit.Space3, t.lines))
	t.ExtendBaseWidget(t)
	t.Hidden = true
	return t
}

func (t *testRows) update() {
	now := t.s.tested
	t.Hidden = now.of == "" || now.of != t.s.text(serverKey)
	view := trialView{now.busy, len(now.report.Rows), now.report.Duration.String(), now.err}
	if view == t.shown {
		return
	}
	t.shown = view
	u, lines := t.s.u, []fyne.CanvasObject(nil)
	add := func(st kit.Status, title, seen string, fix bridge.Text) {
		lines = append(lines, kit.Row(kit.Space2, 1, kit.NewStatusShape(st, 20), kit.NewProse(kit.NewPart(title+"  ", kit.Style{Bold: true}), kit.NewPart(seen, kit.Style{Color: kit.ColorMuted}))))
		if !fix.IsZero() {
			f := u.kit.Fixes()
			f.Set(fix)
			lines = append(lines, kit.Inset(0, 28, f))
		}
	}
	switch {
	case now.busy:
		add(kit.StatusBusy, u.say(bridge.Say("Looking at the server…")), "", bridge.Text{})
	case now.err != nil:
		add(kit.StatusBad, kit.Sentence(u.say(bridge.TextOf(now.err))), "", bridge.HintOf(now.err))
	}
	for _, r := range now.report.Rows {
		seen := u.say(r.Seen)
		if !r.Why.IsZero() {
			seen = kit.Sentence(seen) + " " + kit.Sentence(u.say(r.Why))
		}
		add(kit.StatusOf(r.Status), u.say(r.Title), seen, r.Fix)
	}
	t.lines.Objects = lines
	t.Relayout()
}

// installer shows what is to be typed on the server.
type installer struct {
	kit.Composite
	s       *fieldset
	words   *kit.Prose
	problem *kit.Fixes
	kinds   *fyne.Container
	pills   *kit.Chooser
	code    *kit.CodeLine
	shown   []bridge.Commands
}

func (s *fieldset) installer() *installer {
	i := &installer{s: s, words: kit.NewProse(), problem: s.u.kit.Fixes(), kinds: kit.Layers()}
	i.code = s.u.kit.SecretCode("", bridge.Say("Copy with secret"), func() string { return s.commands[s.server].Lines })
	i.Root = kit.Column(10, i.words, i.problem, i.kinds, i.code)
	i.ExtendBaseWidget(i)
	return i
}

func (i *installer) update() {
	s := i.s
	s.askCommands()
	address, moved := s.address(s.checked.config, s.u.snapshot.Address)
	words, t := installWords(s.u.snapshot.Installed, address, moved, s.renewing())
	var hint bridge.Text
	has := len(s.commands) > 0
	switch {
	case s.secrets[bridge.WebhookSecret].lacking():
		words, t = bridge.Say("The command appears here once there is a webhook secret."), kit.Neutral
	case s.checked.unreachable() || !s.checked.errors[bridge.WebhookSecret].IsZero():
		words, t = bridge.Say("The command appears here once the problems are fixed."), kit.Neutral
	case !has && t == kit.Neutral && s.noCommands != nil:
		words, hint = bridge.Say("%s", kit.Sentence(s.u.say(bridge.TextOf(s.noCommands)))), bridge.HintOf(s.noCommands)
	}
	st := kit.Style{Color: kit.ColorMuted}
	if t == kit.Warn {
		st = kit.Style{Color: kit.ColorWarn, Bold: true}
	}
	i.words.Set(kit.NewPart(s.u.say(words), st))
	i.problem.Set(hint)
	i.problem.Hidden = hint.IsZero()
	i.kinds.Hidden, i.code.Hidden = !has, !has
	if has && !slices.Equal(i.shown, s.commands) {
		if !slices.EqualFunc(i.shown, s.commands, func(a, b bridge.Commands) bool { return a.Server == b.Server }) {
			i.offer()
		}
		i.shown = slices.Clone(s.commands)
	}
	if has {
		i.pills.Set(s.server)
		i.code.Set(s.commands[s.server].Shown)
	}
	i.Relayout()
}

// offer shows the kinds of servers to choose from.
func (i *installer) offer() {
	var names []string
	for _, c := range i.s.commands {
		names = append(names, c.Server)
	}
	i.pills = i.s.u.kit.ChoicePills(names, func(kind int) {
		i.s.server = kind
		i.s.notify()
	})
	i.kinds.Objects = []fyne.CanvasObject{i.pills}
}

// commandList is the user's own commands.
type commandList struct {
	kit.Composite
	s     *fieldset
	lines *fyne.Container
	items []*commandItem
	more  *kit.Button
}

// commandItem is one command: its name, what !help says of it, and its answer.
type commandItem struct {
	box               *fyne.Container
	rows              []*formRow
	name, help, reply *kit.Entry
}

func (s *fieldset) commandList() *commandList {
	l := &commandList{s: s, lines: kit.Column(kit.Space3)}
	l.more = s.u.kit.SmallButton(bridge.Say("Add a command"), func() {
		s.values.commands = append(slices.Clone(s.values.commands), config.Command{})
		s.edited()
		s.u.window.Canvas().Focus(l.items[len(l.items)-1].name)
	})
	l.Root = kit.Column(10, l.lines, kit.Flow(kit.Space2, l.more))
	l.ExtendBaseWidget(l)
	return l
}

func (l *commandList) update() {
	list := l.s.values.commands
	if len(l.items) != len(list) {
		l.items, l.lines.Objects = l.items[:min(len(l.items), len(list))], nil
		for i := len(l.items); i < len(list); i++ {
			l.items = append(l.items, l.item(i))
		}
		for _, item := range l.items {
			l.lines.Objects = append(l.lines.Objects, item.box)
		}
		l.Relayout()
	}
	for i, item := range l.items {
		setText(item.name, list[i].Name)
		setText(item.help, list[i].Help)
		setText(item.reply, list[i].Reply)
		for _, r := range item.rows {
			l.s.mark(r)
		}
	}
}

func (l *commandList) item(i int) *commandItem {
	s := l.s
	entry := func(placeholder bridge.Text, at func(c *config.Command) *string) *kit.Entry {
		e := s.u.kit.Entry(placeholder)
		e.OnChanged = func(text string) {
			s.values.commands = slices.Clone(s.values.commands)
			*at(&s.values.commands[i]) = text
			s.edited()
		}
		return e
	}
	item := &commandItem{
		name:  entry(bridge.Say("wifi"), func(c *config.Command) *string { return &c.Name }),
		help:  entry(bridge.Say("how to get online"), func(c *config.Command) *string { return &c.Help }),
		reply: entry(bridge.Say("The password is on the fridge, {author}."), func(c *config.Command) *string { return &c.Reply }),
	}
	several(item.reply, 2)
	remove := s.u.kit.Button(bridge.Say("Remove"), func() {
		s.values.commands = slices.Delete(slices.Clone(s.values.commands), i, i+1)
		s.u.window.Canvas().Focus(l.more) // the button may be gone
		s.edited()
	})
	key := func(name string) string { return "handler.command[" + strconv.Itoa(i+1) + "]." + name }
	item.rows = []*formRow{
		{key: key("name"), entry: item.name, field: s.u.kit.Field(bridge.Say("Command"), bridge.Text{}, item.name, remove)},
		{key: key("help"), entry: item.help, field: s.u.kit.Field(bridge.Say("What !help says of it"), bridge.Text{}, item.help)},
		{key: key("reply"), entry: item.reply, field: s.u.kit.Field(bridge.Say("Its answer"), bridge.Text{}, item.reply)},
	}
	item.box = kit.Column(kit.Space2, item.rows[0].field, item.rows[1].field, item.rows[2].field, kit.Strut(1, 1, kit.NewPanel(kit.ColorLine, "", 0)))
	return item
}

// choose shows on a chooser what the form has.
func choose(c *kit.Chooser, i int) {
	if c.Selected != i {
		c.Set(i)
	}
}
