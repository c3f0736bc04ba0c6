package app

import "perch/bridge/webhook"

// Woke does what happens after the computer slept.
func (a *App) Woke() { a.woke("test") }

// Receiver receives a webhook that comes now.
func (a *App) Receiver() webhook.Receiver { return a.receivers().Current() }
