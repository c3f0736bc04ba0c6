package ui

import (
	"reflect"
	"slices"

	"fyne.io/fyne/v2"

	"perch/bridge"
	"perch/bridge/config"
	"perch/ui/kit"
)

// reachSection is how Nextcloud reaches this computer: the four ways, and what
// belongs to the one that is chosen.
type reachSection struct {
	kit.Composite
	s     *fieldset
	ways  *kit.Chooser
	moved *kit.Prose // what becomes of the bot that Talk has

	tunnel, named *fyne.Container
	modes         []string // in the order of the cards
	sorts         *kit.Chooser
	trial         *kit.Prose
	token         *secretField
	pill          *kit.Pill
	online        *kit.Prose
	hint          *kit.Fixes

	local     *fyne.Container
	addresses []string
	pills     *fyne.Container
	chooser   *kit.Chooser
	listens   *kit.Prose

	proxy *fyne.Container
	self  *kit.Prose
}

// reach returns the section; with detail it has the fields that few need.
func (s *fieldset) reach(detail bool) *reachSection {
	r := &reachSection{s: s}
	r.moved = kit.NewProse(kit.NewPart(
		s.u.say(bridge.Say("This gives the bot another address. After you apply it, install the bot again; the command is below.")),
		kit.Style{Color: kit.ColorWarn, Bold: true},
	))
	muted := func(t bridge.Text) *kit.Prose {
		return kit.NewProse(kit.NewPart(s.u.say(t), kit.Style{Color: kit.ColorMuted}))
	}
	r.ways = s.u.kit.ChoiceCards([]kit.Choice{
		reachTunnel: {Title: bridge.Say("Cloudflare tunnel"), Subtitle: bridge.Say("public, no open port")},
		reachLocal:  {Title: bridge.Say("Same network"), Subtitle: bridge.Say("no network now")},
		reachProxy:  {Title: bridge.Say("My own proxy"), Subtitle: bridge.Say("an address of yours")},
		reachSelf:   {Title: bridge.Say("This computer"), Subtitle: bridge.Text{}},
	}, func(i int) {
		s.takeReach(reach(i), s.u.backend.LocalAddresses())
		s.edited()
	})

	sorts := s.setting(tunnelKey)
	sorts.Choices = slices.DeleteFunc(sorts.Choices, func(c config.Choice) bool { return c.Value == string(config.TunnelOff) })
	r.modes, r.sorts = s.cards(sorts, func(mode string) { s.set(tunnelKey, mode) })
	r.trial = muted(bridge.Say("Good for trying Perch: Cloudflare changes the address now and then, and after each change the bot must be installed again. For permanent use, choose a named tunnel; if Nextcloud is in your own network, no tunnel is needed."))
	r.token = s.secretEntry(
		bridge.TunnelToken, bridge.Say("Tunnel token"),
		bridge.Say("Paste the whole line that the Cloudflare dashboard shows for the tunnel."), false, false,
	)
	r.named = s.section(append(s.fields(hostnameKey), r.token.field)...)
	protocol := s.field(s.setting(protocolKey))
	protocol.field.Hidden = !detail
	r.pill, r.online, r.hint = kit.NewPill(kit.Neutral), kit.NewProse(), s.u.kit.Fixes()
	state := s.u.kit.Field(bridge.Say("Tunnel now"), bridge.Text{}, kit.Column(kit.Space2, kit.Flow(kit.Space2, r.pill), r.online, r.hint))
	r.tunnel = s.section(r.sorts, r.trial, r.named, protocol.field, state)

	r.pills, r.listens = kit.Layers(), kit.NewProse()
	r.local = s.section(
		s.u.kit.Field(
			bridge.Say("Perch listens at"), bridge.Say("An address of this computer in your network. Talk accepts plain http to it, and Perch listens there only while this is selected."),
			kit.Column(kit.Space2, r.pills, r.listens),
		),
	)
	address := s.field(s.setting(publicKey))
	update := address.update
	address.update = func() {
		update()
		address.know(bridge.Say("Your proxy forwards it to %s. If the proxy is on another computer, Perch must listen where the proxy can reach it.", "http://"+s.text(listenKey)))
	}
	r.proxy = s.section(address.field)
	r.self = muted(bridge.Say("For Nextcloud on this computer: nobody else can reach Perch."))

	r.Root = kit.Column(kit.Space3, r.ways, r.tunnel, r.local, r.proxy, r.self, r.moved)
	r.ExtendBaseWidget(r)
	return r
}

func (r *reachSection) update() {
	s, u := r.s, r.s.u
	way, listen, mode := s.values.reach, s.text(listenKey), s.tunnelMode()
	choose(r.ways, int(way))
	addresses := u.backend.LocalAddresses()
	if host := hostOf(listen); way == reachLocal && host != "" {
		r.ways.SetSubtitle(int(reachLocal), bridge.Say("%s", "http://"+listen))
	} else if len(addresses) > 0 {
		r.ways.SetSubtitle(int(reachLocal), bridge.Say("%s", "http://"+s.listening(addresses[0])))
	} else {
		r.ways.SetSubtitle(int(reachLocal), bridge.Say("no network now"))
	}
	r.ways.SetSubtitle(int(reachSelf), bridge.Say("%s", "http://"+s.listening("127.0.0.1")))

	r.tunnel.Hidden = way != reachTunnel
	r.local.Hidden = way != reachLocal
	r.proxy.Hidden = way != reachProxy
	r.self.Hidden = way != reachSelf
	choose(r.sorts, slices.Index(r.modes, string(mode)))
	r.trial.Hidden, r.named.Hidden = mode != config.TunnelQuick, mode != config.TunnelNamed
	r.showTunnel()
	r.offer(addresses)

	address, moved := s.address(s.checked.config, u.snapshot.Address)
	r.moved.Hidden = !moved || u.snapshot.Installed == "" || address == u.snapshot.Installed || len(s.checked.errors) > 0
	r.Relayout()
}

// showTunnel shows how the tunnel is.
func (r *reachSection) showTunnel() {
	u, now := r.s.u, r.s.u.snapshot.Tunnel
	words, t := u.tunnelWords(now)
	same := reflect.DeepEqual(r.s.checked.config.Tunnel, r.s.base.Tunnel) && r.s.exists
	if !same || words == "" {
		words, t = u.say(bridge.Say("connects when you apply")), kit.Neutral
		if same {
			words = u.say(bridge.Say("not connected"))
		}
	}
	r.pill.Set(words, t)
	about := now.Address
	if now.Phase != "online" {
		about = u.say(now.Reason)
	}
	r.online.Set(kit.NewPart(about, kit.Style{Color: kit.ColorMuted}))
	r.online.Hidden = !same || about == ""
	r.hint.Set(now.Hint)
	r.hint.Hidden = !same || now.Phase == "online" || now.Hint.IsZero()
}

// offer shows this computer's addresses to choose from.
func (r *reachSection) offer(addresses []string) {
	s, u := r.s, r.s.u
	if r.chooser == nil || !slices.Equal(addresses, r.addresses) {
		r.addresses = addresses
		r.chooser = u.kit.ChoicePills(addresses, func(i int) {
			s.listenAt(addresses[i])
			s.edited()
		})
		r.pills.Objects = []fyne.CanvasObject{r.chooser}
	}
	choose(r.chooser, slices.Index(addresses, hostOf(s.text(listenKey))))
	r.pills.Hidden = len(addresses) == 0
	words, c := "", kit.ColorBad
	if wrong := s.checked.errors[listenKey]; len(addresses) == 0 {
		words, c = u.say(bridge.Say("This computer is in no network now.")), kit.ColorWarn
	} else if !wrong.IsZero() {
		words = kit.Sentence(u.say(wrong))
	}
	r.listens.Hidden = words == ""
	r.listens.Set(kit.NewPart(words, kit.Style{Color: c, Size: kit.SizeSmall}))
}
