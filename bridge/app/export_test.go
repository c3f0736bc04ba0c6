package app

// Woke does what happens after the computer slept.
func (a *App) Woke() { a.woke("test") }
