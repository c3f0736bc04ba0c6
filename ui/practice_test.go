package ui

import (
	"testing"

	"fyne.io/fyne/v2"
)

// practising opens the practice page and waits for its server.
func practising(t *testing.T, b *fakeBackend, v fyne.ThemeVariant) (*tested, *practicePage) {
	t.Helper()
	x := openIn(t, b, v)
	x.Show(PagePractice)
	p := x.pages[PagePractice].(*practicePage)
	x.settle(func() bool { return p.server() != nil || p.failure != nil })
	return x, p
}

func TestPractice(t *testing.T) {
	inBoth(t, func(t *testing.T, name string, v fyne.ThemeVariant) {
		t.Helper()
		x, _ := practising(t, newFake(), v)
		x.shoot("practice-" + name)
		x.golden("practice-" + name)
		x.window.Resize(fyne.NewSize(540, 350))
		x.shoot("practice-narrow-" + name)
	})
}
