package ui

import (
	"fyne.io/fyne/v2"

	"perch/bridge"
)

// logPage is a stub.
type logPage struct {
	u    *UI
	body *scroller
}

func newLog(u *UI) *logPage {
	return &logPage{u: u, body: newScroller(inset(18, space5, column(14)))}
}

func (p *logPage) object() fyne.CanvasObject { return p.body }
func (p *logPage) header() header            { return p.u.botHeader() }
func (p *logPage) refresh(bridge.Snapshot)   {}
func (p *logPage) shown()                    {}
func (p *logPage) hidden()                   {}
