//go:build !headless

package desktop

import (
	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/container"
	"fyne.io/fyne/v2/layout"
	"fyne.io/fyne/v2/widget"

	"perch/bridge"
)

// answer is a button of a question. Its keys are those of every dialog: Enter
// takes it, Escape leaves.
type answer struct {
	widget.Button
	leave func()
}

// TypedKey implements fyne.Focusable.
func (a *answer) TypedKey(e *fyne.KeyEvent) {
	switch e.Name {
	case fyne.KeyReturn, fyne.KeyEnter:
		a.Tapped(nil)
	case fyne.KeyEscape:
		a.leave()
	default:
		a.Button.TypedKey(e)
	}
}

// choice is what a user can answer, and what is done then.
type choice struct {
	label bridge.Text
	do    func()
}

// ask asks the user something in the window, one thing at a time. The last of
// the choices is the one that Enter takes; Escape takes none.
func (p *program) ask(title, text bridge.Text, choices ...choice) {
	if p.asking {
		return
	}
	p.asking = true
	heading := widget.NewLabelWithStyle(p.say(title), fyne.TextAlignLeading, fyne.TextStyle{Bold: true})
	words := widget.NewLabel(p.say(text))
	words.Wrapping = fyne.TextWrapWord
	var question *widget.PopUp
	leave := func() {
		p.o.Log.DebugContext(p.ctx, "question answered", "title", title.String())
		p.asking = false
		question.Hide()
	}
	buttons := container.New(layout.NewCustomPaddedHBoxLayout(10), layout.NewSpacer())
	var last *answer
	for _, c := range choices {
		last = &answer{leave: leave}
		last.Text = p.say(c.label)
		last.OnTapped = func() {
			leave()
			c.do()
		}
		last.ExtendBaseWidget(last)
		buttons.Add(last)
	}
	last.Importance = widget.HighImportance
	question = widget.NewModalPopUp(container.New(layout.NewCustomPaddedLayout(10, 10, 12, 12), container.NewVBox(heading, words, buttons)), p.window.Canvas())
	question.Resize(fyne.NewSize(min(440, p.window.Canvas().Size().Width-40), 0))
	question.Show()
	p.window.Canvas().Focus(last)
	p.o.Log.DebugContext(p.ctx, "question asked", "title", title.String())
}

func (p *program) askPause() {
	p.ask(
		bridge.Say("Pause Perch?"),
		bridge.Say("While Perch is paused it takes no messages, and Talk does not send them again."),
		choice{bridge.Say("Cancel"), func() {}},
		choice{bridge.Say("Pause"), func() { p.try(p.o.Backend.Pause) }},
	)
}

func (p *program) askClose() {
	p.ask(
		bridge.Say("Keep Perch running?"),
		bridge.Say("There is no panel here that could show its icon. Perch can keep running with its window minimised, or quit: then nobody answers your messages."),
		choice{bridge.Say("Cancel"), func() {}},
		choice{bridge.Say("Quit"), p.quitAll},
		choice{bridge.Say("Keep running"), p.minimize},
	)
}

// report tells the user about an error, and what to do about it.
func (p *program) report(err error) {
	text := bridge.TextOf(err)
	if hint := bridge.HintOf(err); !hint.IsZero() {
		text = bridge.Say("%s\n\n%s", p.say(text), p.say(hint))
	}
	p.ask(bridge.Say("That did not work"), text, choice{bridge.Say("Close"), func() {}})
}
