package config

import (
	"bytes"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"

	"perch/bridge"
)

// known reports whether there is a handler of that kind.
func known(kind string) bool {
	return slices.ContainsFunc(handlerChoices("kind"), func(c Choice) bool { return c.Value == kind })
}

// checkWord checks a text that is looked for in messages.
func checkWord(word string, most int, at *reporter) bool {
	if word == "" || utf8.RuneCountInString(word) > most || strings.TrimSpace(word) != word || !printable(word) {
		at.fail(bridge.Say("must have 1 to %s characters, without white space around them; %s is none", strconv.Itoa(most), strconv.Quote(shorten(word))), bridge.Text{})
		return false
	}
	return true
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

func checkPrefix(h *Handler, at *reporter) { checkWord(h.Prefix, 32, at) }

func checkNames(h *Handler, at *reporter) {
	var names []string
	for _, name := range h.Names {
		name = strings.TrimPrefix(strings.TrimSpace(name), "@")
		same := func(known string) bool { return strings.EqualFold(known, name) }
		if checkWord(name, 64, at) && !slices.ContainsFunc(names, same) {
			names = append(names, name)
		}
	}
	if len(names) == 0 && len(h.Names) == 0 && h.Trigger == OnMention {
		at.fail(bridge.Say("is required with %s, such as %s", `trigger = "mention"`, `["Perch"]`), bridge.Text{})
	}
	h.Names = names
}

func checkAck(h *Handler, at *reporter) {
	h.Ack = strings.TrimSpace(h.Ack)
	words := regexp.MustCompile(`[\p{L}\p{Z}\x00-\x22\x24-\x29\x2b-\x2f\x3a-\x7f]`).MatchString(h.Ack) // "#️⃣" and "1️⃣" are emoji.
	plain := !strings.ContainsFunc(h.Ack, func(r rune) bool { return r >= utf8.RuneSelf })
	if h.Ack != "" && (words || plain || len(h.Ack) > 64 || !utf8.ValidString(h.Ack)) {
		at.fail(bridge.Say("must be a single emoji, such as %s", `"👀"`), bridge.Text{})
	}
}

func checkTimeout(h *Handler, at *reporter) {
	if h.Timeout < minDuration || h.Timeout > maxDuration {
		at.fail(wrongDuration(), bridge.Text{})
	}
}

func checkHandlerURL(h *Handler, at *reporter) {
	h.URL = strings.TrimSpace(h.URL)
	if h.URL == "" {
		at.fail(bridge.Say("is required: the address that messages are posted to, such as %s", `"http://127.0.0.1:5678/webhook/perch"`), bridge.Text{})
	} else if u, ok := parseURL(h.URL, at); ok && inTheOpen(u) {
		at.warn(bridge.Say("plain http to a public address: everybody on the way can read the messages"), bridge.Text{})
	}
}

func checkModelServer(h *Handler, at *reporter) {
	h.BaseURL = strings.TrimSpace(h.BaseURL)
	if h.BaseURL == "" {
		at.fail(bridge.Say("is required: the address of an OpenAI-compatible server, such as %s", `"http://127.0.0.1:11434/v1"`), bridge.Text{})
		return
	}
	u, ok := checkURL(&h.BaseURL, "/chat/completions", at)
	switch {
	case !ok:
	case inTheOpen(u):
		at.warn(bridge.Say("plain http to a public address: everybody on the way can read the messages"), bridge.Text{})
	case strings.Trim(u.Path, "/") == "":
		at.warn(bridge.Say("has no path; most servers want one"), bridge.Say("try: %s", h.BaseURL+"/v1"))
	}
}

func checkModel(h *Handler, at *reporter) {
	h.Model = strings.TrimSpace(h.Model)
	switch {
	case h.Model == "":
		at.fail(bridge.Say("is required: the model's name, as the server has it, such as %s", `"llama3.2"`), bridge.Text{})
	case !printable(h.Model):
		at.fail(bridge.Say("has characters that cannot be typed, such as an end of line"), bridge.Text{})
	}
}

func checkOnReaction(h *Handler, at *reporter) {
	if h.OnReaction && at.of.Talk.Receive != ByAccount {
		at.warn(bridge.Say("has no effect: a bot is not told who reacted"), bridge.Say("follow an account: %s", `receive = "account"`))
	}
}

func checkStream(h *Handler, at *reporter) {
	if h.Stream && h.Kind == LLM && at.of.Talk.Voice() == Bot {
		at.warn(bridge.Say("has no effect: a bot cannot edit what it has posted"), bridge.Say("set %s, or follow an account", `reply_as = "user"`))
	}
}

func checkTemperature(h *Handler, at *reporter) {
	switch {
	case h.Temperature < 0:
		h.Temperature = -1
	case !(h.Temperature <= 2): // Not a number is not, too.
		at.fail(bridge.Say("must be from 0 to 2, or negative for the server's own"), bridge.Text{})
	}
}

// commandValue is the value of the key "command": a list of strings, the
// program of Exec, or tables, the commands of Commands.
type commandValue struct{ *Handler }

// read sets what v is, unless that does not fit the kind. The key in hand is
// the value's.
func (c *commandValue) read(v any, at *reporter) (ok bool) {
	list, isStrings := stringList(v)
	tables, isTables := tableList(v)
	switch {
	case isStrings && len(list) == 0:
		return true
	case isStrings && c.Kind != Commands:
		c.Command = list
		return true
	case isTables && c.Kind != Exec:
		return c.readTables(tables, at)
	case c.Kind == Commands:
		at.fail(bridge.Say("must be tables with %s: write [[%s]] on a line of its own, with name, help and reply below; a program needs %s",
			`kind = "commands"`, at.key, `kind = "exec"`), bridge.Text{})
	default:
		at.fail(bridge.Say("must be a list of strings with %s: a program and its arguments, such as %s", `kind = "exec"`, `["/home/alice/bot.py"]`),
			bridge.Text{})
	}
	return false
}

func (c *commandValue) readTables(tables []map[string]any, at *reporter) (ok bool) {
	list := at.key
	ok = true
	for i, t := range tables {
		var command Command
		values := map[string]*string{"name": &command.Name, "help": &command.Help, "reply": &command.Reply}
		for _, name := range slices.Sorted(maps.Keys(t)) {
			wrong := suggest(toml.Key{name}.String(), []string{"name", "help", "reply"}, nil)
			if p := values[name]; p != nil {
				wrong = read(p, t[name])
			}
			if !wrong.IsZero() {
				at.key = commandKey(list, i, name)
				at.fail(wrong, bridge.Text{})
				ok = false
			}
		}
		c.Commands = append(c.Commands, command)
	}
	return ok
}

// tableList returns a list of tables, however it is written.
func tableList(v any) (tables []map[string]any, ok bool) {
	if tables, ok := v.([]map[string]any); ok {
		return tables, true
	}
	values, ok := v.([]any)
	for _, e := range values {
		t, isTable := e.(map[string]any)
		ok = ok && isTable
		tables = append(tables, t)
	}
	return tables, ok
}

// commandKey returns the key of a value in a list of tables.
func commandKey(list string, i int, name string) string {
	return list + "[" + strconv.Itoa(i+1) + "]." + toml.Key{name}.String()
}

func (c *commandValue) write(b *bytes.Buffer, path toml.Key) error {
	if c.Kind == Exec || len(c.Command) > 0 {
		return toml.NewEncoder(b).Encode(map[string]any{"command": append([]string{}, c.Command...)})
	}
	for _, command := range c.Commands {
		b.WriteString("\n[[" + path.String() + "]]\n")
		for _, k := range []struct{ name, value string }{{"name", command.Name}, {"help", command.Help}, {"reply", command.Reply}} {
			if k.value == "" {
				continue
			}
			if err := (key{value: &k.value}).write(b, k.name); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkCommand(h *Handler, at *reporter) {
	list := at.key
	if h.Kind == Exec {
		h.Commands = nil // There is one key for both.
		checkProgram(h, at)
		return
	}
	h.Command = nil
	var names []string
	for i := range h.Commands {
		c := &h.Commands[i]
		c.Name, c.Help = strings.TrimSpace(c.Name), strings.TrimSpace(c.Help)
		at.key = commandKey(list, i, "name")
		switch {
		case !regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{M}\p{N}_-]{0,31}$`).MatchString(c.Name):
			at.fail(bridge.Say("must have 1 to 32 letters, digits, - or _, without the prefix; %s is none", strconv.Quote(shorten(c.Name))), bridge.Text{})
		case slices.Contains(names, strings.ToLower(c.Name)):
			at.fail(bridge.Say("there is another command by the name of %s", c.Name), bridge.Text{})
		}
		names = append(names, strings.ToLower(c.Name))
		at.key = commandKey(list, i, "reply")
		if strings.TrimSpace(c.Reply) == "" {
			at.fail(bridge.Say("is required: what the command is answered"), bridge.Text{})
		}
		for _, found := range regexp.MustCompile(`\{[a-z_]+\}`).FindAllString(c.Reply, -1) {
			known := []string{"{text}", "{author}", "{author_id}", "{room}", "{date}", "{time}"}
			if !slices.Contains(known, found) {
				at.warn(bridge.Say("%s is answered as it stands; filled in are %s", found, strings.Join(known, ", ")), bridge.Text{})
			}
		}
	}
}

func checkProgram(h *Handler, at *reporter) {
	switch {
	case len(h.Command) == 0 || h.Command[0] == "":
		at.fail(bridge.Say("is required: a program and its arguments, such as %s", `["/home/alice/bot.py"]`), bridge.Text{})
	case !isPath(h.Command[0]) || slices.ContainsFunc(h.Command[1:], func(s string) bool { return windowsPath.MatchString(s) && !isPath(s) }):
		at.fail(bridge.Say("has characters that cannot be typed, such as an end of line"), singleQuotes())
	case filledByShell.MatchString(h.Command[0]):
		at.fail(bridge.Say("there is no shell that fills in %s: write the whole path of the program", filledByShell.FindString(h.Command[0])), bridge.Text{})
	case len(h.Command) == 1 && oneWord(h.Command[0]):
		at.fail(bridge.Say("there is no shell that takes this apart: write each argument as a string of its own, such as %s", `["python3", "/home/alice/bot.py"]`), bridge.Text{})
	case strings.Contains(strings.Join(h.Command, ""), "\x00"):
		at.fail(bridge.Say("has characters that cannot be typed, such as an end of line"), bridge.Text{})
	}
}

// oneWord reports whether a word is a whole line with the name of a program.
func oneWord(word string) bool { return regexp.MustCompile(`^[^/\\\s]+\s`).MatchString(word) }

var (
	windowsPath   = regexp.MustCompile(`^[A-Za-z]:`)
	filledByShell = regexp.MustCompile(`^~[^/\\]*|^\$\w+|^\$\{\w+\}|^%\w+%`)
)

// isPath reports whether s can be a path: what a backslash makes of the letter
// after it, such as \n, is none.
func isPath(s string) bool { return !strings.ContainsFunc(s, unicode.IsControl) }

// SplitCommand returns the words of a line: white space separates them, but
// not within "…" or '…'. There are no other signs, so that the paths of Windows
// can be typed. closed is false if a quote does not end.
func SplitCommand(line string) (words []string, closed bool) {
	var word strings.Builder
	var quote rune
	within := false
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '"' || r == '\'':
			quote, within = r, true
		case strings.ContainsRune(" \t\r\n", r):
			if within {
				words = append(words, word.String())
				word.Reset()
			}
			within = false
		default:
			word.WriteRune(r)
			within = true
		}
	}
	if within {
		words = append(words, word.String())
	}
	return words, quote == 0
}

// JoinCommand returns a line that SplitCommand splits into words again.
func JoinCommand(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		switch {
		case w != "" && !strings.ContainsAny(w, " \t\r\n\"'"):
			quoted[i] = w
		case !strings.Contains(w, `"`):
			quoted[i] = `"` + w + `"`
		default:
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'"'"'`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

func checkRoomTrigger(r *Room, at *reporter) {
	h, table := &at.of.Handler, handlerTable
	if named := at.of.handlers[r.Handler]; named != nil {
		h, table = named, handlersTable+"."+r.Handler
	}
	if r.Trigger == OnMention && len(h.Names) == 0 {
		at.fail(bridge.Say("its handler has no name to be mentioned by: set %s", table+".names"), bridge.Text{})
	}
}

func checkRoomUsers(r *Room, at *reporter) {
	if r.AllowedUsers == nil {
		return
	}
	r.AllowedUsers = append([]string{}, actors(r.AllowedUsers, at)...)
	switch {
	case len(r.AllowedUsers) == 0:
		at.warn(bridge.Say("nobody is allowed: Perch answers no one in this conversation"),
			bridge.Say("leave the key out to answer those whom %s names", talkTable))
	case slices.Contains(r.AllowedUsers, "*"):
		at.warn(bridge.Say("everybody is allowed who can write in this conversation, guests too"), bridge.Text{})
	}
}

func checkRoomHandler(r *Room, at *reporter) {
	d := at.of
	if r.Handler == "" || d.handlers[r.Handler] != nil {
		return
	}
	if len(d.handlers) == 0 {
		at.fail(bridge.Say("there is no handler by the name of %s", strconv.Quote(shorten(r.Handler))),
			bridge.Say("make one: write [%s] and its keys; without the key, [handler] answers", toml.Key{handlersTable, r.Handler}.String()))
		return
	}
	names := slices.Sorted(maps.Keys(d.handlers))
	at.fail(bridge.Say("there is no handler by the name of %s; there are: %s", strconv.Quote(shorten(r.Handler)), shorten(strings.Join(names, ", "))), bridge.Text{})
}

// checkNamed checks the names of the tables that have one.
func (d *draft) checkNamed(at *reporter) {
	for _, name := range slices.Sorted(maps.Keys(d.handlers)) {
		if at.key = (toml.Key{handlersTable, name}).String(); !regexp.MustCompile(`^[a-z0-9_]{1,32}$`).MatchString(name) {
			at.fail(bridge.Say("the name of a handler has 1 to 32 small letters, digits or _"), bridge.Text{})
		}
	}
	for _, token := range slices.Sorted(maps.Keys(d.rooms)) {
		if at.key = (toml.Key{roomsTable, token}).String(); !regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`).MatchString(token) {
			at.fail(bridge.Say("this is no conversation's token: it is what follows /call/ in the conversation's address"), bridge.Text{})
		}
	}
}
