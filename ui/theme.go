package ui

import (
	"image/color"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/theme"
)

// Names of the theme's colours, beside those of Fyne. Each kind of news has a
// colour and a ground that it is readable on.
const (
	colorText   = theme.ColorNameForeground
	colorGround = theme.ColorNameBackground
	colorMuted  = theme.ColorNamePlaceHolder
	colorLine   = theme.ColorNameSeparator
	colorAccent = theme.ColorNamePrimary
	colorOK     = theme.ColorNameSuccess
	colorWarn   = theme.ColorNameWarning
	colorBad    = theme.ColorNameError

	colorCard         fyne.ThemeColorName = "perch-card"
	colorRail         fyne.ThemeColorName = "perch-rail"
	colorTint         fyne.ThemeColorName = "perch-tint" // of code, bubbles and neutral pills
	colorOnAccent                         = theme.ColorNameForegroundOnPrimary
	colorAccentHover  fyne.ThemeColorName = "perch-accent-hover"
	colorAccentGround fyne.ThemeColorName = "perch-accent-ground"
	colorOKGround     fyne.ThemeColorName = "perch-ok-ground"
	colorWarnGround   fyne.ThemeColorName = "perch-warn-ground"
	colorBadGround    fyne.ThemeColorName = "perch-bad-ground"
)

// Sizes of text.
const (
	sizeText   = theme.SizeNameText           // 14
	sizeSmall  = theme.SizeNameCaptionText    // 12.5
	sizeTitle  = theme.SizeNameSubHeadingText // 15
	sizeFigure = theme.SizeNameHeadingText    // 25
)

// Spaces and corners.
const (
	space1        = 4
	space2        = 8
	space3        = 12
	space4        = 16
	space5        = 22
	radiusControl = 8
	radiusCard    = 12
)

// tone is what a thing tells by its colour. It is never told by colour alone.
type tone int

const (
	neutral tone = iota
	accent
	ok
	warn
	bad
)

// color returns the colour of text and lines of a tone.
func (t tone) color() fyne.ThemeColorName {
	switch t {
	case accent:
		return colorAccent
	case ok:
		return colorOK
	case warn:
		return colorWarn
	case bad:
		return colorBad
	default:
		return colorMuted
	}
}

// ground returns the colour behind the text of a tone.
func (t tone) ground() fyne.ThemeColorName {
	switch t {
	case accent:
		return colorAccentGround
	case ok:
		return colorOKGround
	case warn:
		return colorWarnGround
	case bad:
		return colorBadGround
	default:
		return colorTint
	}
}

// NewTheme returns how Perch looks: light or dark as the application's settings
// have it.
func NewTheme() fyne.Theme { return look{theme.DefaultTheme()} }

// look is the theme; what it does not say is as in Fyne's own.
type look struct{ fyne.Theme }

// Color returns the colour of that name.
func (l look) Color(name fyne.ThemeColorName, variant fyne.ThemeVariant) color.Color {
	if rgb, ok := palette(name, variant == theme.VariantLight); ok {
		return rgb
	}
	return l.Theme.Color(name, variant)
}

// palette returns a colour of Perch's own.
func palette(name fyne.ThemeColorName, light bool) (color.Color, bool) {
	pick := func(inLight, inDark uint32) (color.Color, bool) {
		rgba := inDark
		if light {
			rgba = inLight
		}
		part := func(shift int) uint8 { return uint8(rgba >> shift & 0xff) }
		return color.NRGBA{R: part(24), G: part(16), B: part(8), A: part(0)}, true
	}
	switch name {
	case colorGround:
		return pick(0xf6f7f9ff, 0x14181dff)
	case colorCard, theme.ColorNameButton, theme.ColorNameInputBackground, theme.ColorNameMenuBackground,
		theme.ColorNameOverlayBackground, theme.ColorNameHeaderBackground:
		return pick(0xffffffff, 0x1c2229ff)
	case colorRail:
		return pick(0xeef1f4ff, 0x181d23ff)
	case colorText:
		return pick(0x1c2430ff, 0xe6eaf0ff)
	case colorMuted:
		return pick(0x667085ff, 0x94a0b0ff)
	case theme.ColorNameDisabled:
		return pick(0x98a2b3ff, 0x5b6675ff)
	case theme.ColorNameDisabledButton:
		return pick(0xf1f4f7ff, 0x181d23ff)
	case colorLine, theme.ColorNameInputBorder:
		return pick(0xe4e7ecff, 0x2b333dff)
	case colorTint:
		return pick(0xf1f4f7ff, 0x14181dff)
	case theme.ColorNameHover:
		return pick(0x1c24300d, 0xe6eaf012)
	case theme.ColorNamePressed:
		return pick(0x1c24301f, 0xe6eaf024)
	case colorAccent, theme.ColorNameHyperlink:
		return pick(0x0f766eff, 0x2dd4bfff)
	case colorAccentHover:
		return pick(0x0d655eff, 0x5eead4ff)
	case colorOnAccent:
		return pick(0xffffffff, 0x0b1f1dff)
	case colorAccentGround:
		return pick(0xd9f0edff, 0x123a37ff)
	case theme.ColorNameFocus:
		return pick(0x0f766e66, 0x2dd4bf66)
	case theme.ColorNameSelection:
		return pick(0xd9f0edff, 0x123a37ff)
	case colorOK:
		return pick(0x15803dff, 0x4ade80ff)
	case colorOKGround:
		return pick(0xdcfce7ff, 0x12301dff)
	case colorWarn:
		return pick(0xb45309ff, 0xfbbf24ff)
	case colorWarnGround:
		return pick(0xfef3c7ff, 0x3a2c0bff)
	case colorBad:
		return pick(0xb42318ff, 0xf87171ff)
	case colorBadGround:
		return pick(0xfee4e2ff, 0x3b1715ff)
	case theme.ColorNameForegroundOnError, theme.ColorNameForegroundOnSuccess, theme.ColorNameForegroundOnWarning:
		return pick(0xffffffff, 0x14181dff)
	case theme.ColorNameScrollBar:
		return pick(0x66708566, 0x94a0b066)
	case theme.ColorNameScrollBarBackground:
		return pick(0x00000000, 0x00000000)
	case theme.ColorNameShadow:
		return pick(0x1c243026, 0x00000066)
	default:
		return nil, false
	}
}

// Size returns the size of that name.
func (l look) Size(name fyne.ThemeSizeName) float32 {
	switch name {
	case sizeText:
		return 14
	case sizeSmall:
		return 12.5
	case sizeTitle:
		return 15
	case sizeFigure:
		return 25
	case theme.SizeNameInputRadius, theme.SizeNameButtonRadius, theme.SizeNameSelectionRadius, theme.SizeNameMenuRadius, theme.SizeNamePopupRadius:
		return radiusControl
	case theme.SizeNameCardRadius, theme.SizeNameDialogRadius:
		return radiusCard
	case theme.SizeNameInlineIcon:
		return 18
	case theme.SizeNameScrollBar:
		return 10
	case theme.SizeNameScrollBarSmall:
		return 4
	default:
		return l.Theme.Size(name)
	}
}
