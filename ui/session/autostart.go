package session

import (
	"cmp"
	"os"

	"perch/bridge"
)

// StartsAtLogin says if Perch starts, hidden, when the user logs in.
func StartsAtLogin() bool { return startsAtLogin(os.Getenv) }

// SetStartsAtLogin makes Perch start when the user logs in, or not. The error
// is a *bridge.Error.
func SetStartsAtLogin(yes bool) error {
	program, err := programPath(os.Getenv)
	if err == nil {
		err = setStartsAtLogin(os.Getenv, program, yes)
	}
	if err == nil {
		return nil
	}
	return &bridge.Error{
		Code:  bridge.CodeUnavailable,
		Text:  bridge.Say("starting with your session cannot be changed"),
		Hint:  bridge.Say("add %s to the programs that start with your session, in the system's settings", program+" "+hidden),
		Cause: err,
	}
}

// hidden is the flag with which the session starts Perch.
const hidden = "--hidden"

// programPath returns the path of what is to be started: an AppImage unpacks the
// program to another place each time, and says where it is itself.
func programPath(getenv func(string) string) (string, error) {
	self, err := os.Executable()
	return cmp.Or(getenv("APPIMAGE"), self), err
}
