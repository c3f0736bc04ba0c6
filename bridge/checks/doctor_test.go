package checks_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/checks"
	"perch/bridge/config"
	"perch/bridge/doctor"
	"perch/bridge/eventlog"
	"perch/bridge/journal"
	"perch/bridge/practice"
	"perch/bridge/secret"
	"perch/bridge/testenv"
)

const otherKey = "another-secret-of-forty-characters-and-more-000"

// perch is a home with everything in order: a server that can be reached, on
// which its bot is installed and enabled.
type perch struct {
	t        *testing.T
	server   *practice.Server
	room     string
	bot      int
	cfg      config.Config
	home     config.Home
	env      map[string]string
	keychain bridge.SecretStore
	options  checks.Options // what differs from the usual
	running  *bot
}

func newPerch(t *testing.T, o practice.Options) *perch {
	t.Helper()
	o.Admin = true
	server, err := practice.Start(t.Context(), o)
	check(t, err)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	p := &perch{
		t: t, server: server, cfg: config.Default(), env: map[string]string{}, keychain: secret.Memory(),
		home: config.Home{ConfigDir: dir, DataDir: filepath.Join(dir, "data")},
	}
	p.room = server.AddRoom("Kitchen", "alice", "bob")
	p.cfg.Talk.BaseURL = server.URL()
	p.cfg.Talk.AllowedUsers = []string{"alice"}
	p.cfg.Webhook.Listen = testenv.FreeAddr(t)
	p.save()
	p.set(p.keychain, bridge.WebhookSecret, key)
	p.install(practice.Bot{Name: "Perch", Secret: key})
	p.options.Room = p.room
	return p
}

func (p *perch) save() {
	p.t.Helper()
	_, err := config.Save(p.home.ConfigFile(), p.cfg)
	check(p.t, err)
}

func (p *perch) set(store bridge.SecretStore, name, value string) {
	p.t.Helper()
	check(p.t, store.Set(p.t.Context(), name, bridge.NewSecret(value)))
}

// install puts a bot in the place of the one on the server, and enables it.
func (p *perch) install(b practice.Bot) {
	p.t.Helper()
	if b.URL == "" {
		b.URL = p.cfg.Webhook.Address()
	}
	_ = p.server.UninstallBot(b.URL)
	id, err := p.server.InstallBot(b)
	check(p.t, err)
	p.bot = id
	_, err = p.server.EnableBot(p.t.Context(), p.room, id)
	check(p.t, err)
}

// token gives Perch an app token of a user.
func (p *perch) token(user string) {
	p.t.Helper()
	p.set(p.keychain, bridge.AppToken, p.server.AppToken(user))
}

// write replaces a line of config.toml.
func (p *perch) write(table, name, value string) {
	p.t.Helper()
	data, err := os.ReadFile(p.home.ConfigFile())
	check(p.t, err)
	line := regexp.MustCompile(`(?m)^` + name + ` = .*$`)
	before, rest, found := strings.Cut(string(data), "["+table+"]\n")
	if !found {
		p.t.Fatalf("no table %s", table)
	}
	within, after, more := strings.Cut(rest, "\n[")
	if line.MatchString(within) {
		within = line.ReplaceAllLiteralString(within, name+" = "+value)
	} else {
		within = name + " = " + value + "\n" + within
	}
	text := before + "[" + table + "]\n" + within
	if more {
		text += "\n[" + after
	}
	check(p.t, os.WriteFile(p.home.ConfigFile(), []byte(text), 0o600))
}

// run starts the bot, and stops it when the test ends.
func (p *perch) run() {
	p.t.Helper()
	p.running = p.start(p.home, p.keychain)
}

// diagnose runs the doctor, and returns its report as it is with --show-private.
func (p *perch) diagnose(o doctor.Options) (doctor.Report, *doctor.Private) {
	p.t.Helper()
	private := &doctor.Private{}
	options := p.options
	options.Home, options.Version, options.Private = p.home, "test", private
	options.Secrets = secret.Chain(func(name string) string { return p.env[name] }, p.keychain)
	all, end := checks.New(options)
	defer end()
	report, err := doctor.Run(p.t.Context(), all, o, func(row doctor.Row) doctor.Row { return row })
	check(p.t, err)
	return report, private
}

// waitingKeychain waits for a password that nobody types.
type waitingKeychain struct{ lockedKeychain }

func (k waitingKeychain) Get(ctx context.Context, _ string) (bridge.Secret, error) {
	<-ctx.Done()
	return bridge.Secret{}, k.err()
}

// A keychain that waits for its password keeps nobody else waiting.
func TestKeychainThatWaits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env  string
		want map[string]bridge.Status
	}{
		"alone": {"", map[string]bridge.Status{
			"keychain": bridge.StatusFail, "secret": bridge.StatusSkip, "app-token": bridge.StatusSkip, "bot-secret": bridge.StatusSkip,
		}},
		"beside the environment": {key, map[string]bridge.Status{
			"keychain": bridge.StatusWarn, "secret": bridge.StatusOK, "self-post": bridge.StatusOK, "public-url": bridge.StatusOK,
			"bot-secret": bridge.StatusOK, "app-token": bridge.StatusSkip,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPerch(t, practice.Options{})
			p.run()
			p.keychain, p.env["PERCH_WEBHOOK_SECRET"] = waitingKeychain{}, test.env
			report, _ := p.diagnose(doctor.Options{})
			for _, id := range []string{"config", "server-dns", "server-tcp", "server-tls", "server-status", "capabilities", "clock", "listener", "traffic"} {
				test.want[id] = bridge.StatusOK
			}
			for id, want := range test.want {
				if row := find(t, report, id); row.Status != want {
					t.Errorf("%s is %s: %s", id, row.Status, row.Seen)
				}
			}
		})
	}
}

// A server and a public address that take connections and never answer do not
// keep the doctor.
func TestNothingAnswers(t *testing.T) {
	p := newPerch(t, practice.Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	t.Cleanup(func() { _ = ln.Close() })
	p.cfg.Talk.BaseURL = "https://" + ln.Addr().String()
	p.cfg.Webhook.PublicURL = "https://" + ln.Addr().String()
	p.save()
	report, _ := p.diagnose(doctor.Options{})
	for id, seen := range map[string]string{"server-tls": "did not answer in time", "public-url": "too slow"} {
		if row := find(t, report, id); row.Status != bridge.StatusFail || !strings.Contains(row.Seen.String(), seen) {
			t.Errorf("%s is %s: %s", id, row.Status, row.Seen)
		}
	}
	if report.Duration > testenv.Patience { // it has deadlines of its own, far below on any machine
		t.Errorf("it took %s", report.Duration)
	}
}

func find(t *testing.T, report doctor.Report, id string) doctor.Row {
	t.Helper()
	for _, row := range report.Rows {
		if row.ID == id {
			return row
		}
	}
	t.Fatalf("no row %s", id)
	return doctor.Row{}
}

// follow does what a fix says, as far as it can be done here, and reports
// whether it did anything.
func (p *perch) follow(fix string) (done bool) {
	p.t.Helper()
	match := func(pattern string, do func(m []string)) {
		if m := regexp.MustCompile(pattern).FindStringSubmatch(fix); m != nil {
			do(m)
			done = true
		}
	}
	match(`perch config init \S+ --allow`, func([]string) { p.save() })
	match(`(?s)openssl .*?-out \S+`, func(m []string) {
		out, err := exec.CommandContext(p.t.Context(), "sh", "-c", m[0]).CombinedOutput()
		if err != nil {
			p.t.Fatalf("%s: %v\n%s", m[0], err, out)
		}
	})
	match(`touch (\S+)`, func(m []string) {
		now := time.Now()
		check(p.t, os.Chtimes(m[1], now, now))
		p.running.await("The settings were read again")
	})
	match(`set require_signature = true`, func([]string) { p.write("webhook", "require_signature", "true") })
	match(`write: (\w+) = (.*)`, func(m []string) {
		table := "channels_config.nextcloud_talk"
		if strings.Contains(fix, "[webhook]") {
			table = "webhook"
		}
		p.write(table, m[1], strings.NewReplacer("USER-ID", "alice", "127.0.0.1:8460", testenv.FreeAddr(p.t)).Replace(m[2]))
	})
	match(`perch secret generate webhook_secret`, func([]string) { p.set(p.keychain, bridge.WebhookSecret, key) })
	match(`perch secret set webhook_secret`, func([]string) { p.set(p.keychain, bridge.WebhookSecret, key) })
	match(`perch secret set app_token`, func([]string) { p.token("alice") })
	match(`variable PERCH_WEBHOOK_SECRET=`, func([]string) { p.env["PERCH_WEBHOOK_SECRET"] = key })
	match(`unset (PERCH\w+)`, func(m []string) { delete(p.env, m[1]) })
	match(`occ talk:bot:uninstall --url='([^']*)'`, func(m []string) {
		check(p.t, p.server.UninstallBot(m[1]))
		p.install(practice.Bot{Name: "Perch", Secret: key})
	})
	match(`occ talk:bot:state ((?:-f \w+ )+)(\S+) 1`, func(m []string) {
		if m[2] != "BOT-ID" && m[2] != strconv.Itoa(p.bot) {
			p.t.Errorf("the fix names another bot: %s", m[0])
		}
		features := map[string]practice.Features{"webhook": practice.FeatureWebhook, "response": practice.FeatureResponse, "reaction": practice.FeatureReaction}
		var all practice.Features
		for name := range strings.FieldsSeq(strings.ReplaceAll(m[1], "-f", "")) {
			all |= features[name]
		}
		check(p.t, p.server.SetBotState(p.bot, true, all))
	})
	match(`what this prints: perch occ`, func([]string) { p.install(practice.Bot{Name: "Perch", Secret: key}) })
	match(`occ talk:bot:setup (\S+) (\w+)`, func(m []string) {
		if m[1] != "BOT-ID" && m[1] != strconv.Itoa(p.bot) || m[2] != p.room {
			p.t.Errorf("the fix names another bot or room: %s", m[0])
		}
		_, err := p.server.EnableBot(p.t.Context(), m[2], p.bot)
		check(p.t, err)
	})
	match(`occ security:bruteforce:reset 127\.0\.0\.1`, func([]string) { p.server.ResetBruteforce() })
	match(`occ maintenance:mode --off`, func([]string) { p.server.SetFaults() })
	match(`perch retry`, func([]string) {
		j, err := journal.Open(p.t.Context(), p.home.JournalFile(), journal.Options{Guest: true})
		if bridge.CodeOf(err) == bridge.CodeNotFound {
			return
		}
		check(p.t, err)
		check(p.t, errors.Join(j.Resume(p.t.Context()), j.Close()))
	})
	return done
}

// front puts a TLS server with a certificate before the practice server, and
// names it in the configuration.
func (p *perch) front(certificate tls.Certificate, ca []byte) {
	p.t.Helper()
	to, err := url.Parse(p.server.URL())
	check(p.t, err)
	proxy := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
	})
	proxy.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	proxy.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	proxy.StartTLS()
	p.t.Cleanup(proxy.Close)
	p.cfg.Talk.BaseURL = proxy.URL
	if ca != nil {
		p.cfg.Talk.CAFile = filepath.Join(p.home.ConfigDir, "test-ca.pem")
		check(p.t, os.WriteFile(p.cfg.Talk.CAFile, ca, 0o600))
	}
	p.save()
}

// serve answers in the place of the Nextcloud server; what answer leaves
// alone, the practice server answers.
func (p *perch) serve(answer func(w http.ResponseWriter, r *http.Request) bool) *httptest.Server {
	p.t.Helper()
	to, err := url.Parse(p.server.URL())
	check(p.t, err)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !answer(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	p.t.Cleanup(server.Close)
	p.cfg.Talk.BaseURL = server.URL
	p.save()
	return server
}

// status answers status.php with this.
func (p *perch) status(body string) {
	p.serve(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/status.php" {
			_, _ = io.WriteString(w, body)
			return true
		}
		return false
	})
}

// public puts a handler at the public address.
func (p *perch) public(h http.HandlerFunc) *httptest.Server {
	p.t.Helper()
	server := httptest.NewServer(h)
	p.t.Cleanup(server.Close)
	p.cfg.Webhook.PublicURL = server.URL
	p.save()
	return server
}

// toListener is a proxy that leads to an address.
func toListener(addr string) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: addr})
	}}
}

// authority signs certificates.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA", Organization: []string{"Test CA"}},
		NotBefore: time.Now().Add(-time.Hour * 24 * 400), NotAfter: time.Now().Add(time.Hour * 24 * 400),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	check(t, err)
	cert, err := x509.ParseCertificate(der)
	check(t, err)
	return &authority{t, k, cert}
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// certificate returns one for a name, or an address, that is valid for so long.
func (a *authority) certificate(name string, left time.Duration) tls.Certificate {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour * 24 * 90), NotAfter: time.Now().Add(left),
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	check(a.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: k}
}

// lockedKeychain fails as a keychain does whose user is not there.
type lockedKeychain struct{}

func (lockedKeychain) err() error {
	return &bridge.Error{
		Code:  bridge.CodeUnavailable,
		Text:  bridge.Say("the keychain is locked, and was not unlocked"),
		Hint:  bridge.Say("unlock it: log in at the desktop\nor set the environment variable %s where Perch is started", "PERCH_WEBHOOK_SECRET=…"),
		Cause: secret.ErrLocked,
	}
}

func (k lockedKeychain) Get(context.Context, string) (bridge.Secret, error) {
	return bridge.Secret{}, k.err()
}
func (k lockedKeychain) Set(context.Context, string, bridge.Secret) error { return k.err() }
func (k lockedKeychain) Delete(context.Context, string) error             { return k.err() }

const month = 30 * 24 * time.Hour

// fault is one thing that is wrong.
type fault struct {
	name  string
	id    string        // of the check that finds it
	want  bridge.Status // of that check
	seen  string        // part of what it says it saw
	plant func(p *perch)
	cured bool // the printed fix can be carried out here, and cures it
}

// calls returns what the server calls itself: its address, but for one fault.
func (f fault) calls() string {
	if f.id == "backend" {
		return "https://cloud.example.net"
	}
	return ""
}

func faults() []fault {
	const fail, warn = bridge.StatusFail, bridge.StatusWarn
	talkFault := func(f practice.Fault) func(*perch) {
		return func(p *perch) { p.server.SetFaults(f) }
	}
	configLine := func(old, line string) func(*perch) {
		return func(p *perch) {
			data, err := os.ReadFile(p.home.ConfigFile())
			check(p.t, err)
			check(p.t, os.WriteFile(p.home.ConfigFile(), []byte(strings.Replace(string(data), old, line, 1)), 0o600))
		}
	}
	page := func(status int, header http.Header, body string) func(*perch) {
		return func(p *perch) {
			p.public(func(w http.ResponseWriter, _ *http.Request) {
				maps.Copy(w.Header(), header)
				w.WriteHeader(status)
				_, _ = io.WriteString(w, body)
			})
		}
	}
	publicTLS := func(name string, left time.Duration, trusted bool) func(*perch) {
		return func(p *perch) {
			ca := newAuthority(p.t)
			proxy := httptest.NewUnstartedServer(toListener(p.cfg.Webhook.Listen))
			proxy.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
			proxy.TLS = &tls.Config{Certificates: []tls.Certificate{ca.certificate(name, left)}}
			proxy.StartTLS()
			p.t.Cleanup(proxy.Close)
			p.cfg.Webhook.PublicURL = proxy.URL
			p.save()
			if trusted {
				p.options.RootCAs = ca.pool()
			}
		}
	}
	serverTLS := func(name string, left time.Duration) func(*perch) {
		return func(p *perch) {
			ca := newAuthority(p.t)
			p.front(ca.certificate(name, left), ca.pem())
		}
	}
	return []fault{
		{"no configuration", "config", fail, "there is no configuration yet", func(p *perch) { check(p.t, os.Remove(p.home.ConfigFile())) }, true},
		{"an unknown key", "config", fail, "unknown key; did you mean listen?", configLine("listen =", "lisen ="), false},
		{"a web page as base_url", "config", warn, "is taken as", func(p *perch) {
			p.write("channels_config.nextcloud_talk", "base_url", strconv.Quote(p.server.URL()+"/index.php/apps/dashboard/"))
		}, true},
		{"index.php in base_url", "config", warn, "is taken as", func(p *perch) {
			p.write("channels_config.nextcloud_talk", "base_url", strconv.Quote(p.server.URL()+"/index.php"))
		}, true},
		{"a secret in the file", "config", fail, "secrets do not live in files", configLine("reply_as =", "webhook_secret = \""+key+"\"\nreply_as ="), false},
		{"no TOML", "config", fail, "not valid TOML", configLine(`reply_as = "bot"`, "reply_as = bot"), false},
		{"no server named", "config", fail, "is required", configLine("base_url =", "# base_url ="), false},

		{"a locked keychain", "keychain", fail, "is locked", func(p *perch) { p.keychain = lockedKeychain{} }, false},
		{"a locked keychain beside the environment", "keychain", warn, "is locked", func(p *perch) {
			p.keychain = lockedKeychain{}
			p.env["PERCH_WEBHOOK_SECRET"] = key
		}, false},

		{"no secret", "secret", fail, "not set", func(p *perch) {
			check(p.t, p.keychain.Delete(p.t.Context(), bridge.WebhookSecret))
		}, true},
		{"a short secret", "secret", fail, "has 12 characters", func(p *perch) { p.set(p.keychain, bridge.WebhookSecret, "twelve-chars") }, true},
		{"white space around the secret", "secret", fail, "white space", func(p *perch) { p.set(p.keychain, bridge.WebhookSecret, " "+key) }, true},
		{"a short secret in the environment", "secret", fail, "has 12 characters", func(p *perch) { p.env["PERCH_WEBHOOK_SECRET"] = "twelve-chars" }, false},
		{"another secret in the environment", "secret", warn, "the environment's is used", func(p *perch) {
			p.set(p.keychain, bridge.WebhookSecret, otherKey)
			p.env["PERCH_WEBHOOK_SECRET"] = key
		}, false},

		{"no such server name", "server-dns", fail, "there is no name cloud.example.com", func(p *perch) {
			p.cfg.Talk.BaseURL, p.cfg.Webhook.PublicURL = "https://cloud.example.com", "http://"+p.cfg.Webhook.Listen
			p.save()
			p.options.Lookup = func(_ context.Context, host string) ([]string, error) {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
		}, false},
		{"a resolver that does not answer", "server-dns", fail, "no name server answered", func(p *perch) {
			p.cfg.Talk.BaseURL, p.cfg.Webhook.PublicURL = "https://cloud.example.com", "http://"+p.cfg.Webhook.Listen
			p.save()
			p.options.Lookup = func(_ context.Context, host string) ([]string, error) {
				return nil, &net.DNSError{Err: "i/o timeout", Name: host, IsTimeout: true}
			}
		}, false},
		{"a server that is down", "server-tcp", fail, "refuses connections", func(p *perch) {
			p.cfg.Talk.BaseURL = "http://" + testenv.FreeAddr(p.t)
			p.save()
		}, false},

		{"an expired certificate", "server-tls", fail, "the certificate has expired on ", serverTLS("127.0.0.1", -time.Hour), false},
		{"a certificate for another name", "server-tls", fail, "for cloud.example.org, not for 127.0.0.1", serverTLS("cloud.example.org", 3*month), false},
		{"a certificate of an unknown authority", "server-tls", fail, "signed by nobody that this machine knows", func(p *perch) {
			p.front(newAuthority(p.t).certificate("127.0.0.1", 3*month), nil)
		}, true},
		{"a certificate that expires soon", "server-tls", warn, "valid for 5 more days", serverTLS("127.0.0.1", 5*24*time.Hour+time.Hour), false},
		{"https where there is none", "server-tls", fail, "does not speak https", func(p *perch) {
			p.cfg.Talk.BaseURL = strings.Replace(p.server.URL(), "http:", "https:", 1)
			p.save()
		}, true},

		{"maintenance", "server-status", fail, "is in maintenance mode", talkFault(practice.Fault{Kind: practice.FaultMaintenance}), true},
		{"an upgrade that is not finished", "server-status", fail, "waits for its upgrade", func(p *perch) {
			p.status(`{"installed":true,"maintenance":false,"needsDbUpgrade":true,"versionstring":"32.0.1"}`)
		}, false},
		{"no installation yet", "server-status", fail, "is not installed yet", func(p *perch) {
			p.status(`{"installed":false,"maintenance":false,"needsDbUpgrade":false,"versionstring":"32.0.1"}`)
		}, false},
		{"an old Nextcloud", "server-status", fail, "Nextcloud 27.0.9", func(p *perch) {
			p.status(`{"installed":true,"maintenance":false,"needsDbUpgrade":false,"versionstring":"27.0.9"}`)
		}, false},
		{"no Nextcloud at all", "server-status", fail, "is not Nextcloud", func(p *perch) { p.status("<html><body>It works!</body></html>") }, false},
		{"a name that is not trusted", "server-status", fail, "not among its trusted domains", func(p *perch) {
			u, err := url.Parse(p.server.URL())
			check(p.t, err)
			p.cfg.Talk.BaseURL = "http://cloud.localhost:" + u.Port()
			p.save()
			p.options.Lookup = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
		}, false},
		{"a proxy without its server", "server-status", fail, "status 502 and a web page", talkFault(practice.Fault{Kind: practice.FaultProxyPage}), false},
		{"a redirection", "server-status", fail, "sends us elsewhere", func(p *perch) {
			to := p.server.URL()
			p.serve(func(w http.ResponseWriter, r *http.Request) bool {
				http.Redirect(w, r, to+r.URL.Path, http.StatusMovedPermanently)
				return true
			})
		}, true},
		{"a server that hangs up", "server-status", fail, "broke the connection off", talkFault(practice.Fault{Kind: practice.FaultDropBefore}), false},
		{"a server that fails", "server-status", fail, "failed with status 500", talkFault(practice.Fault{Kind: practice.FaultStatus}), false},
		{"a lock-out of everything", "server-status", fail, "takes no more requests", talkFault(practice.Fault{Kind: practice.FaultThrottle}), false},

		{"no Talk", "capabilities", fail, "Talk is not enabled", func(p *perch) {
			p.serve(func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, "/cloud/capabilities") {
					_, _ = io.WriteString(w, `{"ocs":{"meta":{"status":"ok"},"data":{"version":{"string":"32.0.1"},"capabilities":{}}}}`)
					return true
				}
				return false
			})
		}, false},
		{"a Talk without bots", "capabilities", fail, "Talk 16.0.1 is too old", func(p *perch) {
			p.serve(func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, "/cloud/capabilities") {
					_, _ = io.WriteString(w, `{"ocs":{"meta":{"status":"ok"},"data":{"version":{"string":"27.1.0"},"capabilities":{"spreed":{"version":"16.0.1","features":["chat-v2"],"config":{}}}}}}`)
					return true
				}
				return false
			})
		}, false},
		{"capabilities behind a log-in", "capabilities", fail, "asks for a log-in", talkFault(practice.Fault{Kind: practice.FaultRedirect, On: practice.EndpointCapabilities}), false},

		{"a clock an hour off", "clock", fail, "ahead of the server's", func(p *perch) {
			p.options.Now = func() time.Time { return time.Now().Add(time.Hour) }
		}, false},
		{"a clock two minutes off", "clock", warn, "behind the server's", func(p *perch) {
			p.options.Now = func() time.Time { return time.Now().Add(-2 * time.Minute) }
		}, false},

		{"a busy port", "listener", fail, "is taken by checks.test (process " + strconv.Itoa(os.Getpid()) + ")", func(p *perch) {
			ln, err := net.Listen("tcp", p.cfg.Webhook.Listen)
			check(p.t, err)
			p.t.Cleanup(func() { _ = ln.Close() })
		}, true},
		{"an address of another machine", "listener", fail, "this machine does not have that address", func(p *perch) {
			p.cfg.Webhook.Listen = "192.0.2.1:8460"
			p.save()
		}, true},

		{"a running Perch with another secret", "self-post", fail, "refused a signed post with status 401", func(p *perch) {
			p.run()
			p.set(p.keychain, bridge.WebhookSecret, otherKey)
		}, true},
		{"no signatures required", "config", warn, "signatures are not required", func(p *perch) {
			p.cfg.Webhook.RequireSignature = false
			p.save()
		}, true},

		{"a public name that is not there", "public-url", fail, "DNS: there is no name perch.example.com", func(p *perch) {
			p.cfg.Webhook.PublicURL = "https://perch.example.com"
			p.save()
			p.options.Lookup = func(_ context.Context, host string) ([]string, error) {
				return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
			}
		}, false},
		{"no tunnel", "public-url", fail, "refused: nothing listens", func(p *perch) {
			p.cfg.Webhook.PublicURL = "http://" + testenv.FreeAddr(p.t)
			p.save()
		}, false},
		{"no public address", "public-url", fail, "none is set", func(p *perch) {
			proxied := p.serve(func(http.ResponseWriter, *http.Request) bool { return false })
			front, err := url.Parse(proxied.URL)
			check(p.t, err)
			p.cfg.Talk.BaseURL = "http://cloud.localhost:" + front.Port() // by its name somewhere else
			p.save()
			p.options.Lookup = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
		}, false},
		{"an expired certificate before Perch", "public-url", fail, "TLS: the certificate of 127.0.0.1 has expired", publicTLS("127.0.0.1", -time.Hour, true), false},
		{"a foreign certificate before Perch", "public-url", fail, "TLS: the certificate there is for other.example.org", publicTLS("other.example.org", month, true), false},
		{"a certificate of nobody before Perch", "public-url", fail, "TLS: the certificate of 127.0.0.1 is signed by nobody", publicTLS("127.0.0.1", month, false), false},
		{"https before Perch where there is none", "public-url", fail, "does not speak https", func(p *perch) {
			s := p.public(toListener(p.cfg.Webhook.Listen).ServeHTTP)
			p.cfg.Webhook.PublicURL = strings.Replace(s.URL, "http:", "https:", 1)
			p.save()
		}, true},
		{"another program", "public-url", fail, "another program answers", page(http.StatusNotFound, nil, "404 page not found\n"), false},
		{"another program that likes everything", "public-url", fail, "another program answers", page(http.StatusOK, nil, "ok"), false},
		{"a log-in page", "public-url", fail, "a log-in page answers", page(http.StatusOK, nil, `<form><input type="password"></form>`), false},
		{"a redirection to a log-in page", "public-url", fail, "a log-in page: ", page(http.StatusFound, http.Header{"Location": {"https://example.cloudflareaccess.com/cdn-cgi/access/login?x=1"}}, ""), false},
		{"a password", "public-url", fail, "a log-in page answers", page(http.StatusUnauthorized, http.Header{"Www-Authenticate": {"Basic"}}, "Unauthorized\n"), false},
		{"a firewall at Cloudflare", "public-url", fail, "403 from Cloudflare (cf-ray 8f0a1b2c3d4e5f60-FRA)", page(http.StatusForbidden, http.Header{"Cf-Ray": {"8f0a1b2c3d4e5f60-FRA"}}, "blocked"), false},
		{"a check for robots", "public-url", fail, `a page for browsers answers at `, page(http.StatusOK, nil, "<!doctype html><title>Making sure you&#39;re not a bot!</title>"), false},
		{"a check for robots that forbids", "public-url", fail, `(403): "Just a moment..."`, page(http.StatusForbidden, nil, "<html><title>Just a moment...</title>"), false},
		{"a proxy that forbids", "public-url", fail, "403: what stands before Perch", page(http.StatusForbidden, nil, "no"), false},
		{"a proxy that does not reach Perch", "public-url", fail, "502: the proxy at", page(http.StatusBadGateway, nil, "<html>502</html>"), false},
		{"a tunnel that is not connected", "public-url", fail, "530: Cloudflare knows the tunnel", page(530, nil, "error code: 1033"), false},
		{"a redirection to the right address", "public-url", fail, "a redirect (308)", func(p *perch) {
			right := httptest.NewServer(toListener(p.cfg.Webhook.Listen))
			p.t.Cleanup(right.Close)
			p.public(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, right.URL+r.URL.Path, http.StatusPermanentRedirect)
			})
		}, true},
		{"too slow for Talk", "public-url", fail, "too slow: no answer within", func(p *perch) {
			p.options.Patience = 300 * time.Millisecond
			p.public(func(_ http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
			})
		}, false},
		{"plain http to a public address", "public-url", warn, "over plain http", func(p *perch) {
			s := p.public(toListener(p.cfg.Webhook.Listen).ServeHTTP)
			u, err := url.Parse(s.URL)
			check(p.t, err)
			p.cfg.Webhook.PublicURL = "http://perch.example.com:" + u.Port()
			p.save()
			p.options.Lookup = func(context.Context, string) ([]string, error) { return []string{"127.0.0.1"}, nil }
		}, false},
		{"two Perches with one secret behind one address", "public-url", fail, "another Perch with the same secret", func(p *perch) {
			p.public(toListener(p.another(key)).ServeHTTP)
		}, false},
		{"another Perch with another secret", "public-url", fail, "it has not our secret (401)", func(p *perch) {
			p.public(toListener(p.another(otherKey)).ServeHTTP)
		}, false},

		{"a bot that is not enabled in the room", "bot-secret", fail, "refused our signature", func(p *perch) {
			_, err := p.server.DisableBot(p.t.Context(), p.room, p.bot)
			check(p.t, err)
		}, true},
		{"a bot with another secret", "bot-secret", fail, "refused our signature", func(p *perch) {
			p.install(practice.Bot{Name: "Perch", Secret: otherKey})
		}, false}, // whether the right secret is at hand, only its owner knows
		{"a bot without the feature response", "bot-secret", fail, "refused our signature", func(p *perch) {
			p.install(practice.Bot{Name: "Perch", Secret: key, Features: practice.FeatureWebhook})
		}, true},
		{"a bot that is switched off", "bot-secret", fail, "refused our signature", func(p *perch) {
			check(p.t, p.server.SetBotState(p.bot, false, 0))
		}, true},
		{"a bot that is switched off, as its administrator sees it", "bot-secret", fail, "refused our signature", func(p *perch) {
			p.token("admin")
			check(p.t, p.server.SetBotState(p.bot, false, 0))
		}, true},
		{"a lock-out", "bot-secret", fail, "right signatures too (429)", func(p *perch) {
			for range 10 {
				req, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.server.URL()+"/ocs/v2.php/apps/spreed/api/v1/bot/"+p.room+"/reaction/1", strings.NewReader(`{"reaction":"x"}`))
				check(p.t, err)
				req.Header.Set("X-Nextcloud-Talk-Bot-Random", strings.Repeat("0", 64))
				req.Header.Set("X-Nextcloud-Talk-Bot-Signature", "wrong")
				resp, err := http.DefaultClient.Do(req)
				check(p.t, err)
				_ = resp.Body.Close()
			}
		}, true},
		{"a conversation that does not exist", "bot-secret", fail, "has no conversation", func(p *perch) { p.options.Room = "nosuchroom" }, false},
		{"a server that does not answer the bot", "bot-secret", fail, "did not answer our signature", talkFault(practice.Fault{Kind: practice.FaultDropAnswer, On: practice.EndpointBot}), false},

		{"a revoked app token", "app-token", fail, "does not know the app token (401", func(p *perch) {
			p.set(p.keychain, bridge.AppToken, "revoked-revoked-revoked")
		}, true},
		{"an app token of somebody outside", "app-token", warn, "who is not in Kitchen", func(p *perch) {
			p.server.AddUser("carol", "Carol")
			p.token("carol")
			p.heard()
		}, false},
		{"no app token to reply as the user", "app-token", fail, "no app token is set", func(p *perch) {
			p.cfg.Talk.ReplyAs = config.User
			p.save()
		}, true},

		{"the feature event beside webhook", "bot-entry", fail, "has the feature event", func(p *perch) {
			p.administrator()
			p.install(practice.Bot{Name: "Perch", Secret: key, Features: practice.FeatureWebhook | practice.FeatureResponse | practice.FeatureEvent})
		}, true},
		{"a bot without the feature webhook", "bot-entry", fail, "lacks the feature webhook", func(p *perch) {
			p.administrator()
			p.install(practice.Bot{Name: "Perch", Secret: key, Features: practice.FeatureResponse})
		}, true},
		{"a bot at another address", "bot-entry", fail, "no bot is installed at", func(p *perch) {
			p.administrator()
			check(p.t, p.server.UninstallBot(p.cfg.Webhook.Address()))
			p.install(practice.Bot{Name: "Perch", Secret: key, URL: "https://old.example.com/nextcloud-talk"})
		}, true},
		{"an address that changed since", "bot-entry", warn, "Talk has the bot at http://127.0.0.1:", func(p *perch) {
			p.heard()
			p.cfg.Webhook.Listen = testenv.FreeAddr(p.t)
			p.save()
		}, false},

		{"a bot of somebody else's room", "room-bot", fail, "no bot is enabled", func(p *perch) {
			p.cfg.Talk.ReplyAs = config.User
			p.save()
			p.token("alice")
			_, err := p.server.DisableBot(p.t.Context(), p.room, p.bot)
			check(p.t, err)
		}, true},

		{"nobody allowed", "allow-list", warn, "nobody is on it", func(p *perch) {
			p.cfg.Talk.AllowedUsers = nil
			p.save()
		}, true},
		{"everybody allowed", "allow-list", warn, `"*" answers everybody`, func(p *perch) {
			p.cfg.Talk.AllowedUsers = []string{"*"}
			p.save()
		}, true},
		{"an e-mail address on the list", "allow-list", warn, "alice@example.com looks like", func(p *perch) {
			p.cfg.Talk.AllowedUsers = []string{"bob", "alice@example.com"}
			p.save()
		}, false},
		{"a display name on the list", "allow-list", warn, "Alice Liddell looks like", func(p *perch) {
			p.cfg.Talk.AllowedUsers = []string{"Alice Liddell"}
			p.save()
		}, false},

		{"a server that goes by another name", "backend", warn, "the last webhook came from https://cloud.example.net/", func(p *perch) { p.heard() }, false},

		{"a locked journal", "journal", fail, "another program has it locked", func(p *perch) {
			p.heard()
			testenv.LockDatabase(p.t, p.home.JournalFile())
		}, false},
		{"other programs, and no token", "notify", fail, "no notify_token is set, so Perch does not listen at 127.0.0.1:", func(p *perch) {
			p.cfg.Notify.Listen = testenv.FreeAddr(p.t)
			p.save()
		}, false},
		{"a weak token of other programs", "notify", fail, "it needs 20", func(p *perch) {
			p.cfg.Notify.Listen = testenv.FreeAddr(p.t)
			p.save()
			p.set(p.keychain, bridge.NotifyToken, "weak")
		}, false},
		{"a running Perch with another token", "notify", fail, "has another notify_token", func(p *perch) {
			p.programs()
			p.set(p.keychain, bridge.NotifyToken, otherKey)
		}, false},
		{"a program where others are to post", "notify", fail, "something else than Perch answers at", func(p *perch) {
			other := httptest.NewServer(http.NotFoundHandler())
			p.t.Cleanup(other.Close)
			p.cfg.Notify.Listen = strings.TrimPrefix(other.URL, "http://")
			p.save()
			p.set(p.keychain, bridge.NotifyToken, key)
		}, false},
		{"replies that are held back", "traffic", fail, "1 replies are held back", func(p *perch) { p.hold(time.Time{}) }, true},
		{"replies that wait for a lock-out", "traffic", warn, "because the server asked to slow down", func(p *perch) { p.hold(time.Now().Add(time.Hour)) }, false},
		{"a webhook that was refused", "traffic", warn, "its signature is wrong", func(p *perch) {
			b := p.start(p.home, p.keychain)
			if status := p.forge(); status != http.StatusUnauthorized {
				p.t.Errorf("status %d", status)
			}
			b.stop()
		}, false},
	}
}

// programs runs a bot that listens to other programs.
func (p *perch) programs() {
	p.t.Helper()
	p.cfg.Notify.Listen = testenv.FreeAddr(p.t)
	p.save()
	p.set(p.keychain, bridge.NotifyToken, key)
	p.run()
	p.running.await("Other programs can post")
}

// another runs a second Perch and returns where it listens.
func (p *perch) another(itsKey string) (addr string) {
	p.t.Helper()
	dir := p.t.TempDir()
	home, secrets, cfg := config.Home{ConfigDir: dir, DataDir: dir}, secret.Memory(), p.cfg
	cfg.Webhook.Listen, cfg.Webhook.PublicURL = testenv.FreeAddr(p.t), ""
	_, err := config.Save(home.ConfigFile(), cfg)
	check(p.t, err)
	p.set(secrets, bridge.WebhookSecret, itsKey)
	p.start(home, secrets)
	return cfg.Webhook.Listen
}

// forge posts a webhook with a signature that is wrong, and returns the status.
func (p *perch) forge() int {
	p.t.Helper()
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, p.cfg.Webhook.Address(), strings.NewReader("{}"))
	check(p.t, err)
	r.Header.Set("X-Nextcloud-Talk-Random", strings.Repeat("r", 64))
	r.Header.Set("X-Nextcloud-Talk-Signature", strings.Repeat("0", 64))
	r.Header.Set("X-Nextcloud-Talk-Backend", "https://cloud.example.com/")
	resp, err := http.DefaultClient.Do(r)
	check(p.t, err)
	check(p.t, resp.Body.Close())
	return resp.StatusCode
}

// administrator gives Perch the token of one, and replies a way that does not
// depend on the bot's features.
func (p *perch) administrator() {
	p.t.Helper()
	p.room = p.server.AddRoom("Kitchen", "admin", "alice")
	p.options.Room = p.room
	p.cfg.Talk.ReplyAs = config.User
	p.save()
	p.token("admin")
	_, err := p.server.EnableBot(p.t.Context(), p.room, p.bot)
	check(p.t, err)
}

// heard runs Perch until it has answered a message.
func (p *perch) heard() {
	p.t.Helper()
	b := p.start(p.home, p.keychain)
	if got := b.ask("!ping"); got != "pong" {
		p.t.Fatalf("answered %q", got)
	}
	b.await("Reply sent")
	b.stop()
}

// hold leaves a reply in the outbox that Talk refused.
func (p *perch) hold(until time.Time) {
	p.t.Helper()
	check(p.t, os.MkdirAll(p.home.DataDir, 0o700))
	j, err := journal.Open(p.t.Context(), p.home.JournalFile(), journal.Options{Sink: &eventlog.Bus{}})
	check(p.t, err)
	ids, err := j.Enqueue(p.t.Context(), []bridge.Reply{{Room: bridge.Room{Token: p.room}, Text: "x"}})
	check(p.t, err)
	_, err = j.Due(p.t.Context())
	check(p.t, err)
	check(p.t, errors.Join(j.Hold(p.t.Context(), ids[0], until, errors.New("refused")), j.Close()))
}

// Every fault is found by its check, and no check before it is troubled; what
// depends on it is skipped and says so; and the printed fix works.
func TestFaults(t *testing.T) {
	if n := len(faults()); n < 30 {
		t.Errorf("only %d faults", n)
	}
	for _, f := range faults() {
		t.Run(f.name, func(t *testing.T) {
			p := newPerch(t, practice.Options{BackendURL: f.calls()})
			f.plant(p)
			report, private := p.diagnose(doctor.Options{})
			row := find(t, report, f.id)
			if row.Status != f.want || !strings.Contains(row.Seen.String(), f.seen) {
				t.Errorf("%s is %s: %s", f.id, row.Status, row.Seen)
			}
			if row.Why.IsZero() || row.Fix.IsZero() {
				t.Errorf("why %q, fix %q", row.Why, row.Fix)
			}
			blocked := map[string]bool{}
			past := false
			for _, r := range report.Rows {
				past = past || r.ID == f.id
				if !past && r.Status != bridge.StatusOK && r.Status != bridge.StatusSkip && r.ID != "delivery" {
					t.Errorf("%s, which comes before, is %s: %s", r.ID, r.Status, r.Seen)
				}
				if f.want != bridge.StatusFail {
					continue
				}
				if r.ID == f.id || slices.ContainsFunc(r.Needs, func(id string) bool { return blocked[id] }) {
					blocked[r.ID] = true
				}
				if r.ID != f.id && blocked[r.ID] && (r.Status != bridge.StatusSkip || !strings.HasPrefix(r.Seen.String(), "needs ")) {
					t.Errorf("%s, which needs it, is %s: %s", r.ID, r.Status, r.Seen)
				}
			}
			if got := report.Verdict(); got != f.want && (f.want != bridge.StatusWarn || got != bridge.StatusFail) {
				t.Errorf("verdict %s", report.Verdict())
			}
			noSecrets(t, p, report, private)
			noPosts(t, p)
			if !f.cured {
				return
			}
			if !p.follow(row.Fix.String()) {
				t.Fatalf("the fix cannot be carried out: %s", row.Fix)
			}
			report, _ = p.diagnose(doctor.Options{Only: []string{f.id}})
			if row := find(t, report, f.id); row.Status != bridge.StatusOK {
				t.Errorf("after the fix %s is %s: %s", f.id, row.Status, row.Seen)
			}
		})
	}
}

// noSecrets reports what a report must not say, with and without --show-private.
func noSecrets(t *testing.T, p *perch, report doctor.Report, private *doctor.Private) {
	t.Helper()
	for _, show := range []bool{false, true} {
		for _, row := range report.Rows {
			row = private.Redact(row, show)
			text := row.Seen.String() + "\n" + row.Why.String() + "\n" + row.Fix.String()
			for _, s := range []string{key, otherKey, "twelve-chars"} {
				if strings.Contains(text, s) {
					t.Errorf("a secret in %s: %s", row.ID, text)
				}
			}
			if !show && p.options.Room == p.room && strings.Contains(text, p.room) {
				t.Errorf("the conversation's token in %s: %s", row.ID, text)
			}
			if !show && regexp.MustCompile(`\b(alice|carol)\b`).MatchString(text) {
				t.Errorf("a person in %s: %s", row.ID, text)
			}
		}
	}
}

// noPosts reports what the doctor must not have done.
func noPosts(t *testing.T, p *perch) {
	t.Helper()
	attempts := 0
	for _, r := range p.server.Requests() {
		if r.Method == http.MethodPost && strings.Contains(r.Path, "/reaction/9007199254740991") {
			attempts++
		}
	}
	if attempts > 1 {
		t.Errorf("%d signed attempts", attempts)
	}
}
