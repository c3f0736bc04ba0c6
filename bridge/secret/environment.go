package secret

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"perch/bridge"
)

// Environment is a store that reads what the environment gives, such as
// os.Getenv: the variable of a secret, else the file that the variable with
// _FILE behind its name points to, else the file with the secret's name in
// systemd's $CREDENTIALS_DIRECTORY. It cannot be written to.
type Environment func(name string) string

// maxSecretFile bounds what is read of a file with a secret, in bytes.
const maxSecretFile = 16 << 10

// origin is where in the environment a secret comes from.
type origin struct {
	variable string // that has the secret, or names the file or its folder; empty: nowhere
	file     string // that has the secret; empty: the variable has it
}

// variables returns the environment variables of a secret; the first that is
// set counts.
func variables(name string) []string {
	if !Known(name) {
		return nil
	}
	names := []string{"PERCH_" + strings.ToUpper(name)}
	if name == bridge.WebhookSecret {
		names = append(names, "ZEROCLAW_NEXTCLOUD_TALK_WEBHOOK_SECRET")
	}
	return names
}

// read returns a secret and where it comes from. What is empty is not set. The
// error is a *bridge.Error of CodeUnavailable if a file that is named cannot be
// read.
func (e Environment) read(name string) (from origin, value string, err error) {
	names := variables(name)
	for _, variable := range names {
		if value := e(variable); strings.TrimSpace(value) != "" {
			return origin{variable: variable}, value, nil
		}
	}
	for _, variable := range names {
		variable += "_FILE"
		if file := e(variable); file != "" {
			from := origin{variable, file}
			value, err := from.read()
			return from, value, err
		}
	}
	if dir := e("CREDENTIALS_DIRECTORY"); dir != "" && len(names) > 0 {
		from := origin{"CREDENTIALS_DIRECTORY", filepath.Join(dir, name)}
		value, err := from.read()
		if !errors.Is(err, fs.ErrNotExist) && (err != nil || value != "") {
			return from, value, err
		}
	}
	return origin{}, "", nil
}

// read returns what is in the file, nothing for white space alone.
func (o origin) read() (string, error) {
	fail := func(cause error) error {
		return &bridge.Error{
			Code:  bridge.CodeUnavailable,
			Text:  bridge.Say("the file %[1]s, which %[2]s names, cannot be read", o.file, o.variable),
			Hint:  bridge.Say("write the secret alone into it, and let the user that Perch runs as read it"),
			Cause: cause,
		}
	}
	info, err := os.Stat(o.file)
	if err != nil {
		return "", fail(err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxSecretFile {
		return "", fail(errors.New("not a file with a secret"))
	}
	data, err := os.ReadFile(o.file)
	if err != nil {
		return "", fail(err)
	}
	return strings.TrimSpace(string(data)), nil
}

// from returns where a secret comes from; the zero value if it is not set here.
func (e Environment) from(name string) origin {
	from, _, _ := e.read(name)
	return from
}

// Get returns the secret that is in the environment.
func (e Environment) Get(_ context.Context, name string) (bridge.Secret, error) {
	if err := known(name); err != nil {
		return bridge.Secret{}, err
	}
	_, value, err := e.read(name)
	if err != nil {
		return bridge.Secret{}, err
	}
	if value == "" {
		return bridge.Secret{}, notStored(name, nil)
	}
	return Normalize(name, bridge.NewSecret(value)), nil
}

// Set returns an error of CodeDenied.
func (e Environment) Set(_ context.Context, name string, _ bridge.Secret) error {
	return e.readOnly(name)
}

// Delete returns an error of CodeDenied, or of CodeNotFound if there is nothing
// to delete.
func (e Environment) Delete(ctx context.Context, name string) error {
	if _, err := e.Get(ctx, name); err != nil {
		return err
	}
	return e.readOnly(name)
}

func (e Environment) readOnly(name string) error {
	if err := known(name); err != nil {
		return err
	}
	from := e.from(name)
	text := bridge.Say("Perch cannot change its environment")
	switch {
	case from.file != "":
		text = bridge.Say("the %[1]s comes from the file %[2]s, which Perch does not change", name, from.file)
	case from.variable != "":
		text = bridge.Say("the %s comes from the environment variable %s, which Perch cannot change", name, from.variable)
	}
	return &bridge.Error{Code: bridge.CodeDenied, Text: text, Hint: from.change(name)}
}

// name returns what the secret is in.
func (o origin) name() string { return cmp.Or(o.file, o.variable) }

// change says how a person gives Perch another secret.
func (o origin) change(name string) bridge.Text {
	switch {
	case o.file != "":
		return bridge.Say("write the right one into %s, and start Perch again", o.file)
	case o.variable != "":
		return bridge.Say("change %s where Perch is started, and start it again", o.variable)
	default:
		return bridge.Say("change %s where Perch is started, and start it again", variables(name)[0])
	}
}

// Without returns what os.Environ did without the variables that have secrets,
// for programs that need none.
func Without(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		if runtime.GOOS == "windows" {
			name = strings.ToUpper(name)
		}
		if slices.Contains(variables(bridge.WebhookSecret), name) {
			return true
		}
		key, ours := strings.CutPrefix(name, "PERCH_")
		return ours && Known(strings.ToLower(key))
	})
}
