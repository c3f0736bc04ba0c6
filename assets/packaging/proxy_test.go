package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The configurations in docs/reverse-proxy.md hand a webhook on as it came, and
// nothing else. They are tried without TLS, on a socket of
// this test's.
func TestProxies(t *testing.T) {
	doc, err := os.ReadFile("../../docs/reverse-proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, proxy := range []struct {
		name    string
		prepare func(config, dir, socket string) *exec.Cmd
	}{
		{"caddy", func(config, dir, socket string) *exec.Cmd {
			config = strings.Replace(config, "bot.example.com {", "http://bot.example.com {\n\tbind unix/"+socket, 1)
			file := write(t, dir, "Caddyfile", "{\n\tadmin off\n\tauto_https off\n}\n"+config)
			cmd := exec.Command("caddy", "run", "--adapter", "caddyfile", "--config", file)
			cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
			return cmd
		}},
		{"nginx", func(config, dir, socket string) *exec.Cmd {
			config = strings.Replace(config, "listen 443 ssl;", "listen unix:"+socket+";", 1)
			config = regexp.MustCompile(`(?m)^\s*ssl_.*\n`).ReplaceAllString(config, "")
			var temps strings.Builder
			for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
				_, _ = fmt.Fprintf(&temps, "%s_temp_path %s/%s;\n", kind, dir, kind)
			}
			file := write(t, dir, "nginx.conf", "daemon off;\nmaster_process off;\npid "+dir+"/pid;\nerror_log "+dir+"/log;\nevents {}\nhttp {\naccess_log off;\n"+temps.String()+config+"}\n")
			return exec.Command("nginx", "-e", dir+"/log", "-p", dir, "-c", file)
		}},
	} {
		t.Run(proxy.name, func(t *testing.T) {
			if _, err := exec.LookPath(proxy.name); err != nil {
				t.Skipf("there is no %s here", proxy.name)
			}
			block := regexp.MustCompile("(?s)<!-- test: " + proxy.name + " -->\n```\n(.*?)```").FindStringSubmatch(string(doc))
			if block == nil {
				t.Fatal("the configuration is not in docs/reverse-proxy.md")
			}
			bot := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				_, _ = fmt.Fprintf(w, "%s %s %s", r.URL.Path, r.Header.Get("X-Nextcloud-Talk-Signature"), body)
			}))
			defer bot.Close()
			dir := t.TempDir()
			socket := filepath.Join(dir, "socket")
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			}}}
			cmd := proxy.prepare(strings.ReplaceAll(block[1], "127.0.0.1:8460", bot.Listener.Addr().String()), dir, socket)
			var said strings.Builder
			cmd.Stdout, cmd.Stderr = &said, &said
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = cmd.Wait()
			}()
			defer func() {
				_ = cmd.Process.Kill()
				<-ended
			}()
			waitFor(t, socket, ended, &said)
			for path, want := range map[string]string{
				"/nextcloud-talk": "/nextcloud-talk signed hello", "/healthz": "/healthz signed hello", "/": "404", "/nextcloud-talk/x": "404",
			} {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://bot.example.com"+path, strings.NewReader("hello"))
				if err != nil {
					t.Fatal(err)
				}
				r.Header.Set("X-Nextcloud-Talk-Signature", "signed")
				resp, err := client.Do(r)
				if err != nil {
					t.Fatal(err)
				}
				got, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					got = fmt.Append(nil, resp.StatusCode)
				}
				if string(got) != want {
					t.Errorf("%s gives %q; want %q", path, got, want)
				}
			}
		})
	}
}

// waitFor waits until something listens at socket.
func waitFor(t *testing.T, socket string, ended <-chan struct{}, said fmt.Stringer) {
	t.Helper()
	giveUp := time.After(time.Minute)
	for {
		if conn, err := net.Dial("unix", socket); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("it ended:\n%s", said)
		case <-giveUp:
			t.Fatal("it does not listen")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
