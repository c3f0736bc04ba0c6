package webhook_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"perch/bridge"
	"perch/bridge/webhook"
)

// noise are requests that anybody can send, each another one.
func noise(i int) []*http.Request {
	long := strings.Repeat("x", 8<<10)
	unsigned := request(body)
	unsigned.Header.Del(webhook.HeaderSignature)
	unsigned.Header.Set("User-Agent", long)
	forged := request(body)
	forged.Header.Set(webhook.HeaderSignature, fmt.Sprintf("%064x", i))
	scanner := request(body)
	scanner.Header.Del(webhook.HeaderSignature)
	scanner.URL.Path = fmt.Sprintf("/%d\x1b[31m/%s", i, long)
	misled := request(body)
	misled.URL.Path = fmt.Sprintf("/%d/%s", i, long)
	large := request(body)
	large.ContentLength = 3 << 20
	cut := request(body)
	cut.ContentLength++
	all := []*http.Request{unsigned, forged, scanner, misled, large, cut}
	for _, r := range all {
		r.RemoteAddr = fmt.Sprintf("[2001:db8:%x:%x::1]:1234", i/65536, i%65536)
	}
	return all
}

// Whatever strangers send, and however much of it, the log grows by little, and
// says how much it was.
func TestNoiseIsSummedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		sent := 0
		for range 60 {
			for i := range 100 {
				for _, r := range noise(i) {
					f.do(r)
					sent++
				}
			}
			time.Sleep(time.Minute)
		}
		synctest.Wait()
		told, size := 0, 0
		for _, e := range f.events {
			told += max(1, e.Count)
			line, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			size += len(line)
			if e.Kind != bridge.EventWebhookRefused {
				t.Errorf("an event of the kind %q", e.Kind)
			}
			if strings.ContainsRune(e.Title.String()+e.Cause, 0x1b) {
				t.Errorf("%q is not fit for a terminal", e.Title)
			}
		}
		if told != sent {
			t.Errorf("told of %d refusals, want %d", told, sent)
		}
		const kinds, paths, minutes = 6, 4, 60
		if len(f.events) > kinds+paths+minutes || size > 64<<10 {
			t.Errorf("%d refusals in an hour made %d events of %d bytes", sent, len(f.events), size)
		}
	})
}

// Each kind is told of at once, and again when it was quiet for a while.
func TestTheFirstOfAKindIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		for range 3 {
			f.events = nil
			for i, r := range noise(1) {
				f.do(r)
				if len(f.events) != i+1 || f.events[i].Count != 0 {
					t.Fatalf("after %d kinds there are the events %v", i+1, f.events)
				}
			}
			time.Sleep(time.Minute + time.Second)
			if len(f.events) != len(noise(1)) {
				t.Errorf("nothing happened, and was told of: %v", f.events[len(noise(1)):])
			}
		}
	})
}

// What was counted when the listener ends is told of.
func TestTheEndTellsOfTheRest(t *testing.T) {
	f := newFixture()
	_, stop := serve(t, f.handler)
	for range 5 {
		f.fail("192.0.2.1:1")
	}
	_ = stop()
	if last := f.events[len(f.events)-1]; last.Count != 4 || last.Cause != "4 with a wrong signature (192.0.2.1)" {
		t.Errorf("the last event: %+v", last)
	}
}

func TestAnotherPathIsNamed(t *testing.T) {
	f := newFixture()
	r := request(body)
	r.URL.Path = "/webhook"
	f.do(r)
	if e := f.events[0]; e.Title.String() != "A webhook came to /webhook, but Perch takes webhooks at /nextcloud-talk" {
		t.Errorf("the event: %s", e.Title)
	}
}
