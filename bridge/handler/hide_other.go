//go:build !linux

package handler

// Hide does nothing here.
func Hide() {}
