package config

import (
	"errors"
	"io/fs"

	"perch/bridge"
)

// Draft reads a config.toml for a form: as far as it can be understood, with
// everything that is wrong or unwise in it; what it does not say, or says
// wrongly, is as in Default. exists is false if there is no file.
func Draft(path string) (c Config, problems []Problem, exists bool) {
	data, err := readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Default(), nil, false
	case err != nil:
		return Default(), []Problem{{File: path, Text: bridge.Say("the configuration %s cannot be read", path)}}, true
	}
	c, at := parse(path, data, migrations())
	if c.Version == 0 { // nothing of it could be understood
		c = Default()
	}
	return c, append(at.errors, at.warnings...), true
}
