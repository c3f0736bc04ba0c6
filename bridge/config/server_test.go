package config

import (
	"strings"
	"testing"
)

func TestParseServer(t *testing.T) {
	const cloud = "https://cloud.example.com"
	for text, want := range map[string]Server{
		cloud:                             {URL: cloud},
		cloud + "/":                       {URL: cloud},
		cloud + "///":                     {URL: cloud},
		"HTTPS://Cloud.Example.COM":       {URL: cloud},
		cloud + ":443":                    {URL: cloud},
		cloud + ":8443/":                  {URL: cloud + ":8443"},
		"http://cloud.example.com:80":     {URL: "http://cloud.example.com"},
		"https://cloud.example.com:80":    {URL: cloud + ":80"},
		" " + cloud + "\n":                {URL: cloud},
		"\ufeff“" + cloud + "/”":          {URL: cloud},
		"<" + cloud + ">":                 {URL: cloud},
		cloud + "/nextcloud":              {URL: cloud + "/nextcloud"},
		cloud + "/Nextcloud/index.php/":   {URL: cloud + "/Nextcloud", Guessed: true},
		cloud + "/index.php":              {URL: cloud, Guessed: true},
		cloud + "/index.php/apps/spreed/": {URL: cloud, Guessed: true},
		"https://example.com/nextcloud/index.php/apps/spreed/":         {URL: "https://example.com/nextcloud", Guessed: true},
		cloud + "/apps/files/?dir=/&fileid=1":                          {URL: cloud, Guessed: true},
		cloud + "/call/ab12cd34":                                       {URL: cloud, Room: "ab12cd34", Guessed: true},
		cloud + "/index.php/call/ab12cd34#message_7":                   {URL: cloud, Room: "ab12cd34", Guessed: true},
		"https://example.com/nc/call/ab12cd34/":                        {URL: "https://example.com/nc", Room: "ab12cd34", Guessed: true},
		cloud + "/remote.php/dav/files/alice/":                         {URL: cloud, Guessed: true},
		"davs://cloud.example.com/remote.php/webdav":                   {URL: cloud, Guessed: true},
		cloud + "/login?redirect_url=/apps/files":                      {URL: cloud, Guessed: true},
		cloud + "/login/flow":                                          {URL: cloud, Guessed: true},
		cloud + "/settings/user/security":                              {URL: cloud, Guessed: true},
		cloud + "/ocs/v2.php/apps/spreed/api/v4/room?format=json":      {URL: cloud, Guessed: true},
		cloud + "/status.php":                                          {URL: cloud, Guessed: true},
		cloud + "/s/AbC123":                                            {URL: cloud, Guessed: true},
		"cloud.example.com":                                            {URL: cloud, Guessed: true},
		"cloud.example.com/call/ab12cd34":                              {URL: cloud, Room: "ab12cd34", Guessed: true},
		"Cloud.example.com:8443/nc/":                                   {URL: cloud + ":8443/nc", Guessed: true},
		"wölke.example":                                                {URL: "https://wölke.example", Guessed: true},
		"192.168.1.5":                                                  {URL: "http://192.168.1.5", Guessed: true},
		"192.168.1.5:443":                                              {URL: "https://192.168.1.5", Guessed: true},
		"localhost:8080/nextcloud":                                     {URL: "http://localhost:8080/nextcloud", Guessed: true},
		"nextcloud.local":                                              {URL: "http://nextcloud.local", Guessed: true},
		"http://nextcloud":                                             {URL: "http://nextcloud"},
		"http://index.php":                                             {URL: "http://index.php"},
		"http://[fe80::1%25eth0]:80/index.php/index.php":               {URL: "http://[fe80::1%25eth0]", Guessed: true},
		"https://cloud.example.com/login-portal/settingsx/fine/callme": {URL: cloud + "/login-portal/settingsx/fine/callme"},
	} {
		got, wrong := ParseServer(text)
		if !wrong.IsZero() || got != want {
			t.Errorf("%q: %+v, want %+v, %s", text, got, want, wrong)
		}
	}
	for _, text := range []string{
		"", "cloud", "my cloud", "alice@example.com", "ftp://cloud.example.com", "https://", "https:///x", "https://cloud.example.com:99999",
		"https://alice:secret@cloud.example.com", "https://cloud.example.com/?a=b", "https://cloud.example.com#x", "1.2.3", "cloud.example.com:x",
	} {
		if got, wrong := ParseServer(text); wrong.IsZero() || got != (Server{}) || strings.Contains(wrong.String(), "secret") {
			t.Errorf("%q: %+v, %s", text, got, wrong)
		}
	}
}

// What comes out is what comes out of it again, with nothing guessed.
func FuzzParseServer(f *testing.F) {
	for _, text := range []string{
		"https://Cloud.example.com:443/nc/index.php/call/ab12?x#y", "cloud.example.com/", "“192.168.1.5”", "http://[::1]:80//a//", "davs://x/remote.php",
		"https://x/apps/ocs/", "http://x:/call/", "https://x/%2f/../s/",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, wrong := ParseServer(text)
		if !wrong.IsZero() {
			return
		}
		again, wrong := ParseServer(s.URL)
		if !wrong.IsZero() || again != (Server{URL: s.URL}) {
			t.Errorf("%q: %+v, then %+v, %s", text, s, again, wrong)
		}
	})
}
