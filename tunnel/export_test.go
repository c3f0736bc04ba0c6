//go:build !notunnel

package tunnel

// Timing is for tests to change before Run.
func (t *Tunnel) Timing() *timing { return &t.timing }
