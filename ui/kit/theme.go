// Package kit has what the pages of the window are made of: the theme, text,
// layouts, panels and controls. It knows no page.
package kit

import (
	"image/color"

	"fyne.io/fyne/v2"
	"fyne.io/fyne/v2/theme"
)

// Names of the theme's colours, beside those of Fyne. Each kind of news has a
// colour and a ground that it is readable on.
const (
	ColorText       = theme.ColorNameForeground
	ColorBackground = theme.ColorNameBackground
	ColorMuted      = theme.ColorNamePlaceHolder
	ColorLine       = theme.ColorNameSeparator
	ColorBorder     = theme.ColorNameInputBorder // of what can be used; ColorLine only divides
	ColorAccent     = theme.ColorNamePrimary
	ColorOK         = theme.ColorNameSuccess
	ColorWarn       = theme.ColorNameWarning
	ColorBad        = theme.ColorNameError

	ColorCard             fyne.ThemeColorName = "perch-card"
	ColorRail             fyne.ThemeColorName = "perch-rail"
	ColorTint             fyne.ThemeColorName = "perch-tint" // of code, bubbles and neutral pills
	ColorOnAccent                             = theme.ColorNameForegroundOnPrimary
	ColorAccentHover      fyne.ThemeColorName = "perch-accent-hover"
	ColorAccentBackground fyne.ThemeColorName = "perch-accent-ground"
	ColorOKBackground     fyne.ThemeColorName = "perch-ok-ground"
	ColorWarnBackground   fyne.ThemeColorName = "perch-warn-ground"
	ColorBadBackground    fyne.ThemeColorName = "perch-bad-ground"
)

// Sizes of text.
const (
	SizeText   = theme.SizeNameText           // 14
	SizeSmall  = theme.SizeNameCaptionText    // 12.5
	SizeTitle  = theme.SizeNameSubHeadingText // 15
	SizeFigure = theme.SizeNameHeadingText    // 25
)

// Spaces and corners.
const (
	Space1        = 4
	Space2        = 8
	Space3        = 12
	Space4        = 16
	Space5        = 22
	RadiusControl = 8
	RadiusCard    = 12
)

// Tone is what a thing tells by its colour. It is never told by colour alone.
type Tone int

// The tones.
const (
	Neutral Tone = iota
	Accent
	OK
	Warn
	Bad
)

// Color returns the colour of text and lines of a tone.
func (t Tone) Color() fyne.ThemeColorName {
	switch t {
	case Accent:
		return ColorAccent
	case OK:
		return ColorOK
	case Warn:
		return ColorWarn
	case Bad:
		return ColorBad
	default:
		return ColorMuted
	}
}

// Background returns the colour behind the text of a tone.
func (t Tone) Background() fyne.ThemeColorName {
	switch t {
	case Accent:
		return ColorAccentBackground
	case OK:
		return ColorOKBackground
	case Warn:
		return ColorWarnBackground
	case Bad:
		return ColorBadBackground
	default:
		return ColorTint
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
	case ColorBackground:
		return pick(0xf6f7f9ff, 0x14181dff)
	case ColorCard, theme.ColorNameButton, theme.ColorNameInputBackground, theme.ColorNameMenuBackground,
		theme.ColorNameOverlayBackground, theme.ColorNameHeaderBackground:
		return pick(0xffffffff, 0x1c2229ff)
	case ColorRail:
		return pick(0xeef1f4ff, 0x181d23ff)
	case ColorText:
		return pick(0x1c2430ff, 0xe6eaf0ff)
	case ColorMuted:
		return pick(0x5c667aff, 0x94a0b0ff)
	case theme.ColorNameDisabled:
		return pick(0x98a2b3ff, 0x5b6675ff)
	case theme.ColorNameDisabledButton:
		return pick(0xf1f4f7ff, 0x181d23ff)
	case ColorLine:
		return pick(0xe4e7ecff, 0x2b333dff)
	case ColorBorder:
		return pick(0x7f8998ff, 0x6f7b8aff)
	case ColorTint:
		return pick(0xf1f4f7ff, 0x14181dff)
	case theme.ColorNameHover:
		return pick(0x1c24300d, 0xe6eaf012)
	case theme.ColorNamePressed:
		return pick(0x1c24301f, 0xe6eaf024)
	case ColorAccent, theme.ColorNameHyperlink:
		return pick(0x0e6f67ff, 0x2dd4bfff)
	case ColorAccentHover:
		return pick(0x0d655eff, 0x5eead4ff)
	case ColorOnAccent:
		return pick(0xffffffff, 0x0b1f1dff)
	case ColorAccentBackground:
		return pick(0xd9f0edff, 0x123a37ff)
	case theme.ColorNameFocus:
		return pick(0x0f766e66, 0x2dd4bf66)
	case theme.ColorNameSelection:
		return pick(0xd9f0edff, 0x123a37ff)
	case ColorOK:
		return pick(0x15803dff, 0x4ade80ff)
	case ColorOKBackground:
		return pick(0xdcfce7ff, 0x12301dff)
	case ColorWarn:
		return pick(0xb45309ff, 0xfbbf24ff)
	case ColorWarnBackground:
		return pick(0xfef3c7ff, 0x3a2c0bff)
	case ColorBad:
		return pick(0xb42318ff, 0xf87171ff)
	case ColorBadBackground:
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
	case SizeText:
		return 14
	case SizeSmall:
		return 12.5
	case SizeTitle:
		return 15
	case SizeFigure:
		return 25
	case theme.SizeNameInputRadius, theme.SizeNameButtonRadius, theme.SizeNameSelectionRadius, theme.SizeNameMenuRadius, theme.SizeNamePopupRadius:
		return RadiusControl
	case theme.SizeNameCardRadius, theme.SizeNameDialogRadius:
		return RadiusCard
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
