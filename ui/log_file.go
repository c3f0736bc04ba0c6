package ui

import (
	"io"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/dialog"
)

// askFile asks where to write what the filter lets through, and writes it.
func (p *logPage) askFile(name string, write func(w io.Writer, events []logEvent) error) {
	d := dialog.NewFileSave(func(w fyne.URIWriteCloser, err error) {
		switch {
		case err != nil:
			p.u.failed(unwritable(name, err))
		case w != nil:
			p.write(w, w.URI().Path(), write)
		}
	}, p.u.window)
	d.SetFileName(name)
	d.Show()
}
