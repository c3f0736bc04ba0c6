package config

// Room returns what is in force in the conversation with this token: of what
// [rooms.<token>] leaves open, AllowedUsers and Trigger are filled in. Trigger
// stays empty if there is no handler by the room's name for it.
func (c Config) Room(token string) Room {
	r, ok := c.Rooms[token]
	if !ok {
		r.Enabled = true
	}
	if r.AllowedUsers == nil {
		r.AllowedUsers = c.Talk.AllowedUsers
	}
	if h, ok := c.HandlerBy(r.Handler); ok && r.Trigger == "" {
		if r.Trigger = h.Asked(); c.Talk.Receive == ByAccount && h.Trigger == "" {
			r.Trigger = OnAddressed
		}
	}
	return r
}

// HandlerBy returns the handler with this name; the one in [handler] has the
// empty name.
func (c Config) HandlerBy(name string) (h Handler, ok bool) {
	if name == "" {
		return c.Handler, true
	}
	h, ok = c.Handlers[name]
	return h, ok
}
