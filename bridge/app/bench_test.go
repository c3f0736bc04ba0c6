package app_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/talk"
)

// BenchmarkAcknowledge measures durable acknowledgements of the program beside
// those of a bare handler that only checks the signature, each a process of its
// own. An iteration is a second of either, in turn; the figures are medians.
func BenchmarkAcknowledge(b *testing.B) {
	bareAddr := startBare(b)
	bare := "http://" + bareAddr + "/"
	home := newHome(b)
	startPerch(b, buildPerch(b), home)
	perch := "http://" + home.addr + config.Default().Webhook.Path
	var l load
	for _, clients := range []int{1, 8, 32} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			l.run(b, bare, clients, 200*time.Millisecond) // to warm up
			l.run(b, perch, clients, 200*time.Millisecond)
			var bares, rates, ratios, p50, p99 []float64
			for b.Loop() {
				one := l.run(b, bare, clients, time.Second)
				two := l.run(b, perch, clients, time.Second)
				bares, rates, ratios = append(bares, one.rate), append(rates, two.rate), append(ratios, two.rate/one.rate)
				p50, p99 = append(p50, two.p50), append(p99, two.p99)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(math.Round(median(bares)), "bare/s")
			b.ReportMetric(math.Round(median(rates)), "acks/s")
			b.ReportMetric(median(ratios), "ratio")
			b.ReportMetric(median(p50), "p50-ms")
			b.ReportMetric(median(p99), "p99-ms")
		})
	}
}

// asBare makes the test binary a server that only checks signatures, at the
// address that it is set to.
const asBare = "PERCH_TEST_AS_BARE"

func serveBare(addr string) int {
	err := http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !talk.Verify(bridge.NewSecret(key), r.Header.Get("X-Nextcloud-Talk-Random"), body, r.Header.Get("X-Nextcloud-Talk-Signature")) {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	_, _ = fmt.Fprintln(os.Stderr, err)
	return 1
}

func startBare(b *testing.B) (addr string) {
	b.Helper()
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	addr = unusedAddr(b)
	startProcess(b, exec.Command(self), addr, asBare+"="+addr)
	return addr
}

// benchHome is the home of a bot that answers nobody who writes to it.
type benchHome struct{ dir, addr string }

func newHome(b *testing.B) benchHome {
	b.Helper()
	h := benchHome{dir: b.TempDir(), addr: unusedAddr(b)}
	cfg := config.Default()
	cfg.Talk.BaseURL, cfg.Talk.AllowedUsers, cfg.Webhook.Listen = "http://127.0.0.1:9", []string{"alice"}, h.addr
	if _, err := config.Save(filepath.Join(h.dir, "config.toml"), cfg); err != nil {
		b.Fatal(err)
	}
	return h
}

// buildPerch builds the program as it is released.
func buildPerch(b *testing.B) (path string) {
	b.Helper()
	path = filepath.Join(b.TempDir(), "perch")
	build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-tags", "headless", "-ldflags", "-s -w", "-o", path, "perch")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return path
}

func startPerch(b *testing.B, program string, h benchHome) *exec.Cmd {
	b.Helper()
	cmd := exec.Command(program, "run")
	startProcess(b, cmd, h.addr, "PERCH_HOME="+h.dir, "PERCH_WEBHOOK_SECRET="+key, "PERCH_APP_TOKEN=x")
	return cmd
}

// startProcess starts a process, waits until it listens, and ends it with the
// benchmark.
func startProcess(b *testing.B, cmd *exec.Cmd, addr string, env ...string) {
	b.Helper()
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	for started := time.Now(); ; {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Since(started) > 10*time.Second {
			b.Fatal(err)
		}
	}
}

func unusedAddr(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// load sends signed messages, each with an id and a random of its own.
type load struct{ sent atomic.Int64 }

type result struct{ rate, p50, p99 float64 } // per second, milliseconds

func (l *load) run(b *testing.B, url string, clients int, d time.Duration) result {
	b.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var mu sync.Mutex
	var all []time.Duration
	var wg sync.WaitGroup
	end := time.Now().Add(d)
	for c := range clients {
		wg.Go(func() {
			var took []time.Duration
			for time.Now().Before(end) {
				started := time.Now()
				r := signed(b, url, c, l.sent.Add(1))
				resp, err := client.Do(r)
				if err != nil {
					b.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					b.Errorf("answered %s", resp.Status)
					return
				}
				took = append(took, time.Since(started))
			}
			mu.Lock()
			all = append(all, took...)
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.Sort(all)
	ms := func(q float64) float64 { return float64(all[int(q*float64(len(all)-1))].Microseconds()) / 1000 }
	return result{rate: float64(len(all)) / d.Seconds(), p50: ms(0.5), p99: ms(0.99)}
}

func signed(b *testing.B, url string, room int, id int64) *http.Request {
	b.Helper()
	body := fmt.Appendf(nil, `{"type":"Create","actor":{"type":"Person","id":"users\/alice","name":"alice","talkParticipantType":"1"},`+
		`"object":{"type":"Note","id":"%d","name":"message","content":"{\"message\":\"hello **bot** number %d\",\"parameters\":[]}","mediaType":"text\/markdown"},`+
		`"target":{"type":"Collection","id":"room%d","name":"Kitchen"}}`, id, id, room)
	random := fmt.Sprintf("%064d", id*0x9e3779b97f4a7c)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(random))
	mac.Write(body)
	r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	r.Header.Set("X-Nextcloud-Talk-Random", random)
	r.Header.Set("X-Nextcloud-Talk-Signature", hex.EncodeToString(mac.Sum(nil)))
	r.Header.Set("X-Nextcloud-Talk-Backend", "https://cloud.example.com/")
	return r
}

func median(values []float64) float64 {
	values = slices.Clone(values)
	slices.Sort(values)
	return values[len(values)/2]
}

// BenchmarkProcess measures the program itself: from its start until it
// listens, and what it takes at rest.
func BenchmarkProcess(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("reads /proc")
	}
	program := buildPerch(b)
	home := newHome(b)
	var starts, memory, cpu []float64
	for b.Loop() {
		started := time.Now()
		cmd := startPerch(b, program, home)
		starts = append(starts, float64(time.Since(started).Microseconds())/1000)
		time.Sleep(time.Second) // until it has come to rest
		const rest = 3 * time.Second
		before := ticks(b, cmd.Process.Pid)
		time.Sleep(rest)
		cpu = append(cpu, (ticks(b, cmd.Process.Pid)-before)/100/rest.Seconds()*100)
		memory = append(memory, resident(b, cmd.Process.Pid))
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(starts), "start-ms")
	b.ReportMetric(median(memory), "rest-MB")
	b.ReportMetric(median(cpu), "rest-%cpu")
}

// ticks returns the processor time that a process has used, in hundredths of
// a second.
func ticks(b *testing.B, pid int) float64 {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+2:]))
	user, err := strconv.ParseFloat(fields[11], 64)
	if err != nil {
		b.Fatal(err)
	}
	system, err := strconv.ParseFloat(fields[12], 64)
	if err != nil {
		b.Fatal(err)
	}
	return user + system
}

// resident returns the memory that a process holds, in megabytes.
func resident(b *testing.B, pid int) float64 {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb / 1000
		}
	}
	b.Fatal("there is no VmRSS")
	return 0
}
