package notify

import "time"

// SetClock makes h take now for the present.
func (h *Handler) SetClock(now func() time.Time) { h.now = now }
