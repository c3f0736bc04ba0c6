package secret

import (
	"context"
	"strings"

	"perch/bridge"
)

// Environment is a store that reads environment variables, such as os.Getenv.
// It cannot be written to.
type Environment func(name string) string

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

// Variable returns the variable that a secret comes from, empty if none is set.
func (e Environment) Variable(name string) string {
	variable, _ := e.read(name)
	return variable
}

// read returns the variable of a secret and what it says but for one end of
// line. An empty variable is not set.
func (e Environment) read(name string) (variable, value string) {
	for _, variable := range variables(name) {
		if value := strings.TrimSuffix(strings.TrimSuffix(e(variable), "\n"), "\r"); value != "" {
			return variable, value
		}
	}
	return "", ""
}

// Get returns the secret that is in the environment.
func (e Environment) Get(_ context.Context, name string) (bridge.Secret, error) {
	if err := known(name); err != nil {
		return bridge.Secret{}, err
	}
	_, value := e.read(name)
	if value == "" {
		return bridge.Secret{}, notStored(name, nil)
	}
	return bridge.NewSecret(value), nil
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
	text := bridge.Say("Perch cannot change its environment")
	if variable := e.Variable(name); variable != "" {
		text = bridge.Say("the %s comes from the environment variable %s, which Perch cannot change", name, variable)
	}
	return &bridge.Error{
		Code: bridge.CodeDenied,
		Text: text,
		Hint: bridge.Say("change %s where Perch is started, and start it again", variables(name)[0]),
	}
}
