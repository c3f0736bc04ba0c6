package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"perch/bridge"
)

// Imported is what Perch can use of another program's config.toml, or of its
// own with secrets in it.
type Imported struct {
	Config  Config                   // Default, but for what the file says
	Secrets map[string]bridge.Secret // by name, to be stored
	Table   string                   // where they were found: "channels_config.nextcloud_talk"
	Notes   []Problem                // what was left out, and what a person should know of the rest
}

// Import reads the config.toml of PRX or ZeroClaw; file is its name in
// messages. Only the table of Nextcloud Talk is looked at. A config.toml of
// Perch with secrets in it is taken over whole. The error is an *InvalidError,
// or a *bridge.Error of CodeInvalid if there is no such table.
func Import(file string, data []byte) (Imported, error) {
	doc, at := decode(file, data)
	if doc == nil {
		return Imported{}, at.err()
	}
	name, table, err := findTalk(file, doc.tree)
	if err != nil {
		return Imported{}, err
	}
	in := Imported{Table: name, Secrets: map[string]bridge.Secret{}}
	signs := false // There is a secret to sign with.
	for _, from := range []struct{ key, secret string }{
		{"bot_token", bridge.WebhookSecret}, // ZeroClaw has had both names for it.
		{bridge.WebhookSecret, bridge.WebhookSecret},
		{bridge.AppToken, bridge.AppToken},
	} {
		v, ok := table[from.key]
		if !ok {
			continue
		}
		delete(table, from.key)
		at.key = name + "." + from.key
		value, ok := v.(string)
		signs = signs || from.secret == bridge.WebhookSecret && value != ""
		switch {
		case !ok:
			at.fail(bridge.Say("must be a string, in quotes"), bridge.Text{})
		case strings.HasPrefix(value, "enc:"), strings.HasPrefix(value, "enc2:"):
			p := at.problem(bridge.Say("is encrypted with a key of ZeroClaw's, and was left out"),
				bridge.Say("give it to Perch as this says: perch secret --help"))
			p.Secret = from.secret
			at.warnings = append(at.warnings, p)
		case value != "":
			in.Secrets[from.secret] = bridge.NewSecret(value)
		}
	}
	if err := at.err(); err != nil {
		return Imported{}, err
	}
	if _, ok := table["reply_as"]; !ok && !signs && !in.Secrets[bridge.AppToken].IsZero() {
		table["reply_as"] = string(User)
	}

	own := &reporter{file: file, line: doc.line, warnings: slices.Clip(at.warnings)}
	elsewhere := map[string]misplaced{}
	takeSecrets(doc.tree, nil, elsewhere)
	if doc.migrate(own, migrations()) {
		if in.Config = doc.config(own); own.err() == nil {
			in.Notes = own.warnings
			in.add(elsewhere, own)
			return in, own.err()
		}
	}

	// It is not ours. Its table is read as if it were.
	foreign := &document{tree: map[string]any{}}
	read := map[string]any{}
	for _, k := range Keys() {
		if in, last := split(k.Name); in == talkTable {
			if v, ok := table[last]; ok {
				read[last] = v
			}
		}
	}
	foreign.tree["channels_config"] = map[string]any{"nextcloud_talk": read}
	theirs := func(key string) string { return strings.Replace(key, talkTable, name, 1) }
	at.line = func(key string) int { return doc.line(theirs(key)) }
	in.Config = foreign.config(at)
	for _, problems := range [][]Problem{at.errors, at.warnings} {
		for i := range problems {
			problems[i].Key = theirs(problems[i].Key)
		}
	}
	if err := at.err(); err != nil {
		return Imported{}, err
	}
	in.Notes = at.warnings
	return in, nil
}

// misplaced is a secret in a file.
type misplaced struct {
	name  string
	value any
}

// takeSecrets moves the secrets in a tree to found, by their keys.
func takeSecrets(tree map[string]any, parent toml.Key, found map[string]misplaced) {
	for key, v := range tree {
		path := append(slices.Clip(parent), key)
		if inner, ok := v.(map[string]any); ok {
			takeSecrets(inner, path, found)
		} else if name := secretAt(path); name != "" {
			found[path.String()] = misplaced{name, v}
			delete(tree, key)
		}
	}
}

// add adds secrets that were found outside of the table of Nextcloud Talk.
func (in *Imported) add(found map[string]misplaced, at *reporter) {
	for _, key := range slices.Sorted(maps.Keys(found)) {
		at.key = key
		value, ok := found[key].value.(string)
		other, taken := in.Secrets[found[key].name]
		switch {
		case !ok:
			at.fail(bridge.Say("must be a string, in quotes"), bridge.Text{})
		case taken && other.Reveal() != value:
			at.fail(bridge.Say("there are two different ones of the secret %s", found[key].name), bridge.Say("remove the wrong one"))
		case value != "":
			in.Secrets[found[key].name] = bridge.NewSecret(value)
		}
	}
}

// findTalk returns the table of Nextcloud Talk and its name.
func findTalk(file string, tree map[string]any) (string, map[string]any, error) {
	for _, name := range []string{talkTable, "channels.nextcloud_talk"} {
		v, _ := lookup(tree, strings.Split(name, "."))
		table, ok := v.(map[string]any)
		if !ok {
			continue
		}
		bots := map[string]map[string]any{} // [channels.nextcloud_talk.<name of the bot>]
		for alias, v := range table {
			if bot, ok := v.(map[string]any); ok {
				bots[alias] = bot
			}
		}
		switch names := slices.Sorted(maps.Keys(bots)); {
		case len(bots) == 0, table["base_url"] != nil:
			return name, table, nil
		case len(bots) == 1:
			return name + "." + toml.Key(names).String(), bots[names[0]], nil
		default:
			return "", nil, &bridge.Error{
				Code: bridge.CodeInvalid,
				Text: bridge.Say("%s has several bots for Nextcloud Talk: %s", file, shorten(strings.Join(names, ", "))),
				Hint: bridge.Say("leave one of them in a copy of the file, and import the copy"),
			}
		}
	}
	var found []string
	for name, v := range tree {
		table, ok := v.(map[string]any)
		if ok && (name == "channels" || name == "channels_config") {
			for channel := range table {
				found = append(found, name+"."+channel)
			}
			continue
		}
		found = append(found, name)
	}
	slices.Sort(found)
	text := bridge.Say("%s has no table for Nextcloud Talk: it is empty", file)
	if len(found) > 0 {
		text = bridge.Say("%s has no table for Nextcloud Talk; it has %s", file, shorten(strings.Join(found, ", ")))
	}
	return "", nil, &bridge.Error{
		Code: bridge.CodeInvalid,
		Text: text,
		Hint: bridge.Say("Perch imports [%s] and [%s]", talkTable, "channels.nextcloud_talk"),
	}
}
