package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"rsc.io/qr"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/secret"
	"perch/bridge/talk"
)

// setup is one run of perch setup.
type setup struct {
	Env

	cmd  *cobra.Command
	home config.Home
	cfg  config.Config
	in   *bufio.Reader
	ask  bool // a person answers

	credential string        // file to keep the app password in, where there is no keychain
	token      bridge.Secret // that is in credential
}

func newSetup(env Env) *cobra.Command {
	var server, credential string
	var allow []string
	var printLink, logOut, asBot bool
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Log in to your Nextcloud, or set up a bot there",
		Long: `Ask for what is missing, one question at a time: your server, whether Perch takes
part with an account or as a bot of the server, and who may write to it. Then
log in: open the link, or scan it with a phone, and grant access. Two-factor
log-in works as usual. Perch gets an app password of its own, which you can
revoke at any time in Nextcloud (Settings, Security).

It ends with the doctor. What is set already is kept, and can be changed here.`,
		Example: `  perch setup
  perch setup --server https://cloud.example.com --allow alice --print-link
  perch setup --log-out`,
		GroupID: setUp,
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, err := env.home()
			if err != nil {
				return err
			}
			s := &setup{Env: env, cmd: cmd, home: home, in: bufio.NewReader(env.Stdin), ask: !printLink, credential: credential}
			if err := s.load(); err != nil {
				return err
			}
			if logOut {
				return s.logOut()
			}
			if err := s.chooseServer(server); err != nil {
				return err
			}
			s.cfg.Talk.Receive = config.ByAccount
			if asBot {
				s.cfg.Talk.Receive = config.ByWebhook
			} else if s.ask {
				if err := s.chooseWay(); err != nil {
					return err
				}
			}
			if err := s.choosePeople(allow); err != nil {
				return err
			}
			if s.cfg.Talk.Receive == config.ByAccount {
				err = s.logIn(printLink)
			} else {
				err = s.makeBot()
			}
			if err != nil {
				return err
			}
			return s.examine()
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&server, "server", "", "the `ADDRESS` of your Nextcloud; else it is asked for")
	flags.StringSliceVar(&allow, "allow", nil, "answer the Nextcloud user `USER-ID`; can be given again")
	flags.BoolVar(&printLink, "print-link", false, "ask nothing: print the link to log in with, and wait")
	flags.BoolVar(&asBot, "bot", false, "be a bot of the server, which needs an administrator")
	flags.StringVar(&credential, "credential", "", "where there is no keychain, keep the app password in this `FILE`, for the service to load")
	flags.BoolVar(&logOut, "log-out", false, "revoke the app password and delete it")
	return cmd
}

// load reads the settings that there are.
func (s *setup) load() error {
	s.cfg = config.Default()
	if _, err := os.Lstat(s.home.ConfigFile()); err != nil {
		return nil //nolint:nilerr // there are none yet
	}
	var err error
	s.cfg, _, err = config.Load(s.home.ConfigFile())
	return err
}

// question asks a question and returns the answer; normal for an empty one.
func (s *setup) question(q bridge.Text, normal string) (string, error) {
	text := s.say(q)
	if normal != "" {
		text += " [" + normal + "]"
	}
	_, _ = fmt.Fprint(s.Stdout, text+": ")
	var line string
	var err error
	done := make(chan struct{})
	go func() { // ends with the input, at the latest with the process
		defer close(done)
		line, err = s.in.ReadString('\n')
	}()
	select {
	case <-done:
	case <-s.cmd.Context().Done():
		return "", s.cmd.Context().Err()
	}
	line = strings.TrimSpace(line)
	switch {
	case err != nil && (!errors.Is(err, io.EOF) || line == "" && normal == ""):
		return "", &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("The questions were not answered"), Hint: bridge.Say("Without a terminal, say all there is to say: perch setup --server ADDRESS --allow USER-ID --print-link"), Cause: err}
	case line == "":
		return normal, nil
	default:
		return line, nil
	}
}

// chooseServer finds the server that a person speaks of, and asks again as long
// as none answers.
func (s *setup) chooseServer(given string) error {
	for {
		address := given
		if address == "" && !s.ask {
			if address = s.cfg.Talk.BaseURL; address == "" {
				return misuse(s.cmd, "say which server: --server ADDRESS")
			}
		}
		if address == "" {
			var err error
			if address, err = s.question(bridge.Say("Address of your Nextcloud"), s.cfg.Talk.BaseURL); err != nil {
				return err
			}
		}
		var last error
		for _, candidate := range candidates(address) {
			status, err := s.try(candidate)
			if err == nil {
				s.tell(s.Stderr, bridge.Say("%[1]s is Nextcloud %[2]s.", s.cfg.Talk.BaseURL, status.Version))
				return nil
			}
			if last == nil || bridge.CodeOf(last) == bridge.CodeInvalid {
				last = err
			}
		}
		if given != "" || !s.ask || s.cmd.Context().Err() != nil {
			return last
		}
		s.printError(s.Stderr, last)
	}
}

// try makes an address that of the server if one answers there.
func (s *setup) try(address string) (talk.Status, error) {
	before := s.cfg.Talk.BaseURL
	s.cfg.Talk.BaseURL = address
	client, err := s.client(bridge.Secret{})
	var status talk.Status
	if err == nil {
		defer client.Close()
		status, err = client.Status(s.cmd.Context())
	}
	if err != nil {
		s.cfg.Talk.BaseURL = before
	}
	return status, err
}

// candidates returns the addresses that a person can mean: without a scheme
// https, and for a machine nearby http, too.
func candidates(typed string) []string {
	server, wrong := config.ParseServer(typed)
	switch _, near, isNear := strings.Cut(server.URL, "http://"); {
	case !wrong.IsZero() && strings.Contains(typed, "://"):
		return []string{strings.TrimSpace(typed)}
	case !wrong.IsZero(): // A name without a dot can only be a machine nearby.
		typed = strings.Trim(strings.TrimSpace(typed), "/")
		return []string{"https://" + typed, "http://" + typed}
	case isNear && !strings.Contains(typed, "://"):
		return []string{"https://" + near, server.URL}
	default:
		return []string{server.URL}
	}
}

func (s *setup) client(token bridge.Secret) (*talk.Client, error) {
	pool, err := s.cfg.Talk.CertPool(filepath.Dir(s.home.ConfigFile()))
	if err != nil {
		return nil, err
	}
	name := "Perch"
	if host, err := os.Hostname(); err == nil {
		name += " (" + host + ")"
	}
	return talk.NewClient(talk.Options{BaseURL: s.cfg.Talk.BaseURL, AppToken: token, RootCAs: pool, UserAgent: name})
}

func (s *setup) chooseWay() error {
	s.tell(s.Stdout, bridge.Say("How is Perch to take part?\n  1  with an account: you log in once\n  2  as a bot of the server: needs an administrator"))
	for {
		answer, err := s.question(bridge.Say("1 or 2"), "1")
		if err != nil {
			return err
		}
		switch answer {
		case "1":
			return nil
		case "2":
			s.cfg.Talk.Receive = config.ByWebhook
			return nil
		}
	}
}

func (s *setup) choosePeople(given []string) error {
	if len(given) == 0 && s.ask {
		answer, err := s.question(bridge.Say("Who may write to it? Their user ids, with commas between"), strings.Join(s.cfg.Talk.AllowedUsers, ","))
		if err != nil {
			return err
		}
		given = strings.FieldsFunc(answer, func(r rune) bool { return r == ',' || r == ' ' })
	}
	if len(given) > 0 {
		s.cfg.Talk.AllowedUsers = given
	}
	_, err := s.cfg.Validate()
	return err
}

// logIn has a person grant the log-in, and keeps what comes of it.
func (s *setup) logIn(linkOnly bool) error {
	store := s.secrets(s.home)
	if err := store.Status(s.cmd.Context(), bridge.AppToken).Err; err != nil && bridge.CodeOf(err) != bridge.CodeNotFound && s.credential == "" {
		s.printError(s.Stderr, err)
		if s.ask {
			file, err := s.question(bridge.Say("Keep the app password in a file instead, for the service to load"), "/etc/credstore/perch."+bridge.AppToken)
			if err != nil {
				return err
			}
			s.credential = file
		}
	}
	client, err := s.client(bridge.Secret{})
	if err != nil {
		return err
	}
	defer client.Close()
	login, err := client.StartLogin(s.cmd.Context())
	if err != nil {
		return err
	}
	if linkOnly {
		_, _ = fmt.Fprintln(s.Stdout, login.Link)
	} else {
		s.tell(s.Stdout, bridge.Say("Open this link, or scan it with a phone, log in as the account that Perch is to use, and grant access:\n\n%s\n", login.Link))
		_, _ = io.WriteString(s.Stdout, square(login.Link, s.colour()))
	}
	s.tell(s.Stderr, bridge.Say("Waiting for the log-in …"))
	token, err := login.Wait(s.cmd.Context())
	if err != nil {
		return err
	}
	if err := s.keep(store, token); err != nil {
		if own, newErr := s.client(token); newErr == nil { // nobody can use it
			_ = own.Revoke(context.WithoutCancel(s.cmd.Context()))
			own.Close()
		}
		return err
	}
	own, err := s.client(token)
	if err != nil {
		return err
	}
	defer own.Close()
	who, err := own.User(s.cmd.Context())
	if err != nil {
		return err
	}
	s.tell(s.Stdout, bridge.Say("Logged in as %[1]s (%[2]s).", who.String(), who.ID))
	return nil
}

// keep keeps the app password where Perch finds it, and the settings.
func (s *setup) keep(store *secret.Store, token bridge.Secret) error {
	if s.credential != "" {
		if err := writeCredential(s.credential, token); err != nil {
			return err
		}
		s.tell(s.Stdout, bridge.Say("The app password is in %s. The service loads it at its next start.", s.credential))
	} else if err := store.Set(s.cmd.Context(), bridge.AppToken, token); err != nil {
		return err
	}
	s.token = token
	if _, err := config.Save(s.home.ConfigFile(), s.cfg); err != nil {
		return err
	}
	if s.credential == "" {
		s.tell(s.Stdout, bridge.Say("%s is stored in the system's keychain.", bridge.AppToken))
		s.warnOfVariable(store.Status(s.cmd.Context(), bridge.AppToken))
	}
	return config.Touch(s.home.ConfigFile())
}

// writeCredential writes a secret for a service manager to load, readable by
// its owner alone.
func writeCredential(file string, value bridge.Secret) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		err = errors.Join(f.Chmod(0o600), writeAll(f, value.Reveal()), f.Close())
	}
	if err != nil {
		return &bridge.Error{
			Code: bridge.CodeUnavailable, Text: bridge.Say("The app password cannot be written to %s", file),
			Hint: bridge.Say("Name a file in a folder that you may write to: --credential FILE. The one of the system's service needs sudo."), Cause: err,
		}
	}
	return nil
}

func writeAll(w io.Writer, text string) error {
	_, err := io.WriteString(w, text)
	return err
}

// makeBot keeps the settings of a bot, and says what is to be done on the server.
func (s *setup) makeBot() error {
	if _, err := config.Save(s.home.ConfigFile(), s.cfg); err != nil {
		return err
	}
	store := s.secrets(s.home)
	_, err := store.Get(s.cmd.Context(), bridge.WebhookSecret)
	if bridge.CodeOf(err) == bridge.CodeNotFound {
		err = s.storeSecret(s.cmd, bridge.WebhookSecret, secret.Generate())
	}
	if err != nil {
		return err
	}
	s.tell(s.Stdout, bridge.Say("Next, the command for your server: perch occ"))
	return nil
}

// logOut revokes the app password and deletes it.
func (s *setup) logOut() error {
	store := s.secrets(s.home)
	token, err := store.Get(s.cmd.Context(), bridge.AppToken)
	if err != nil {
		return err
	}
	client, err := s.client(token)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Revoke(s.cmd.Context()); err != nil {
		return err
	}
	s.tell(s.Stdout, bridge.Say("The app password is revoked; the server no longer takes it."))
	if variable := store.Status(s.cmd.Context(), bridge.AppToken).Variable; variable != "" {
		s.tell(s.Stderr, bridge.Say("Unset %s where Perch is started.", variable))
		return nil
	}
	if err := store.Delete(s.cmd.Context(), bridge.AppToken); err != nil {
		return err
	}
	return config.Touch(s.home.ConfigFile())
}

// examine ends with the doctor, who knows the new app password wherever it is.
func (s *setup) examine() error {
	env := s.Env
	if s.credential != "" {
		env.Getenv = func(name string) string {
			if name == "PERCH_APP_TOKEN" {
				return s.token.Reveal()
			}
			return s.Getenv(name)
		}
	}
	examine := env.doctorCommand("doctor")
	examine.SetArgs([]string{})
	examine.SetOut(s.Stdout)
	examine.SetErr(s.Stderr)
	examine.SilenceErrors, examine.SilenceUsage = true, true
	if err := examine.ExecuteContext(s.cmd.Context()); err != nil {
		return err
	}
	if len(s.cfg.Talk.AllowedUsers) > 0 {
		s.tell(s.Stdout, bridge.Say("Now start it: perch run. Then write to it in Talk, as %s.", strings.Join(slices.Clone(s.cfg.Talk.AllowedUsers), ", ")))
	}
	return nil
}

// square returns a text as a QR code for a terminal, two rows in a line; empty
// if it is too long for one.
func square(text string, colour bool) string {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return ""
	}
	const margin = 2
	black := func(x, y int) bool { return code.Black(x, y) } // false outside
	var b strings.Builder
	for y := -margin; y < code.Size+margin; y += 2 {
		if colour {
			b.WriteString("\x1b[30;107m")
		}
		for x := -margin; x < code.Size+margin; x++ {
			top, bottom := black(x, y), black(x, y+1)
			if !colour { // most terminals are dark
				top, bottom = !top, !bottom
			}
			switch {
			case top && bottom:
				b.WriteString("█")
			case top:
				b.WriteString("▀")
			case bottom:
				b.WriteString("▄")
			default:
				b.WriteString(" ")
			}
		}
		if colour {
			b.WriteString(reset)
		}
		b.WriteString("\n")
	}
	return b.String()
}
