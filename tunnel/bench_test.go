//go:build !notunnel

package tunnel_test

import (
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"perch/tunnel"
	"perch/tunnel/tunneltest"
)

// BenchmarkRequests compares webhooks that come through the tunnel with those that
// are posted to the origin: requests per second, and how long one takes.
func BenchmarkRequests(b *testing.B) {
	post := func(b *testing.B, send func(*http.Request) (*http.Response, error), url string) {
		b.Helper()
		for _, clients := range []int{1, 8} {
			b.Run(map[int]string{1: "one client", 8: "eight clients"}[clients], func(b *testing.B) {
				took := make([]time.Duration, b.N)
				next := make(chan int)
				var working sync.WaitGroup
				b.ResetTimer()
				for range clients {
					working.Go(func() {
						for i := range next {
							began := time.Now()
							request, _ := http.NewRequestWithContext(b.Context(), http.MethodPost, url+"/webhook", strings.NewReader(`{"type":"Create"}`))
							response, err := send(request)
							if err != nil || response.StatusCode != http.StatusCreated {
								b.Error(response, err)
								continue
							}
							_, _ = io.Copy(io.Discard, response.Body)
							response.Body.Close()
							took[i] = time.Since(began)
						}
					})
				}
				for i := range b.N {
					next <- i
				}
				close(next)
				working.Wait()
				b.StopTimer()
				slices.Sort(took)
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
				b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
	for _, protocol := range []string{tunnel.HTTP2, tunnel.QUIC} {
		b.Run("through the tunnel, "+protocol, func(b *testing.B) {
			r := prepare(b, tunneltest.New(b), over(protocol)).run()
			address := r.online().Address
			post(b, r.edge.RoundTrip, address)
		})
	}
	b.Run("straight", func(b *testing.B) {
		r := prepare(b, tunneltest.New(b))
		transport := &http.Transport{MaxIdleConnsPerHost: 8, DialContext: (&net.Dialer{}).DialContext}
		defer transport.CloseIdleConnections()
		post(b, transport.RoundTrip, r.origin.URL)
	})
}

// BenchmarkOnline measures from the start until the tunnel is online.
func BenchmarkOnline(b *testing.B) {
	for _, protocol := range []string{tunnel.HTTP2, tunnel.QUIC} {
		b.Run(protocol, func(b *testing.B) {
			edge := tunneltest.New(b)
			for b.Loop() {
				r := prepare(b, edge, over(protocol)).run()
				r.online()
				b.StopTimer()
				r.stop()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkBack measures from a cut until the next request is answered.
func BenchmarkBack(b *testing.B) {
	for _, protocol := range []string{tunnel.HTTP2, tunnel.QUIC} {
		b.Run(protocol, func(b *testing.B) {
			var all time.Duration
			n := 0
			edge := tunneltest.New(b)
			for b.Loop() {
				b.StopTimer()
				r := prepare(b, edge, over(protocol)).run()
				r.online()
				b.StartTimer()
				began := time.Now()
				edge.Cut()
				r.eventually("an answer", func() bool {
					request, _ := http.NewRequestWithContext(b.Context(), http.MethodGet, r.State().Address+"/healthz", http.NoBody)
					response, err := edge.RoundTrip(request)
					if err != nil {
						return false
					}
					response.Body.Close()
					return response.StatusCode == http.StatusCreated
				})
				all += time.Since(began)
				n++
				b.StopTimer()
				r.stop()
				b.StartTimer()
			}
			b.ReportMetric(float64(all.Milliseconds())/float64(n), "ms/back")
		})
	}
}
