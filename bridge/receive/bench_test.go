package receive_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"perch/bridge"
	"perch/bridge/practice"
	"perch/bridge/receive"
	"perch/bridge/talk"
)

// clocked is an Intake that says when messages came.
type clocked struct{ came chan time.Time }

func (c clocked) Accept(context.Context, bridge.Message) error {
	c.came <- time.Now()
	return nil
}

// memory is Places without a file.
type memory struct{ sync.Map }

func (m *memory) Get(_ context.Context, name string) (string, error) {
	value, _ := m.Load(name)
	text, _ := value.(string)
	return text, nil
}

func (m *memory) Set(_ context.Context, name, value string) error {
	m.Store(name, value)
	return nil
}

type nowhere struct{}

func (nowhere) Publish(bridge.Event) {}

// followed is an account with a hundred conversations that is followed.
func followed(b *testing.B) (s *practice.Server, rooms []string, f *receive.Follower, came chan time.Time) {
	b.Helper()
	s, err := practice.Start(b.Context(), practice.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	for i := range 100 {
		rooms = append(rooms, s.AddRoom("Room "+strconv.Itoa(i), "alice", "owl"))
	}
	client, err := talk.NewClient(talk.Options{BaseURL: s.URL(), AppToken: bridge.NewSecret(s.AppToken("owl"))})
	if err != nil {
		b.Fatal(err)
	}
	came = make(chan time.Time, 1)
	f = receive.New(receive.Options{
		Server: client, Intake: clocked{came}, Places: &memory{}, Sink: nowhere{}, CatchUp: time.Hour,
		Own:     func(context.Context, bridge.Message) (bool, error) { return false, nil },
		Allowed: func(string, bridge.Actor) bool { return true },
	})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = f.Run(ctx)
	}()
	b.Cleanup(func() {
		cancel()
		<-done
		client.Close()
	})
	return s, rooms, f, came
}

func percentiles(b *testing.B, name string, delays []time.Duration) {
	b.Helper()
	slices.Sort(delays)
	at := func(p int) float64 { return float64(delays[min(len(delays)*p/100, len(delays)-1)].Milliseconds()) }
	b.ReportMetric(at(50), name+"-p50-ms")
	b.ReportMetric(at(99), name+"-p99-ms")
}

// BenchmarkFollower measures what it costs the server to follow a hundred
// conversations at rest, and how long a message takes from the post to the
// intake: at rest, where each of its accounts gets one message, and in a
// conversation that was active just now.
func BenchmarkFollower(b *testing.B) {
	const accounts, settled, watched = 8, 5 * time.Second, 20 * time.Second
	var mu sync.Mutex
	var rest, active []time.Duration
	var requests float64
	b.ResetTimer()
	for b.Loop() {
		var all sync.WaitGroup
		for i := range accounts {
			s, rooms, _, came := followed(b)
			all.Go(func() {
				say := func(room string) time.Duration {
					posted := time.Now()
					if _, err := s.Post(b.Context(), room, "alice", "@owl hello"); err != nil {
						b.Error(err)
						return 0
					}
					return (<-came).Sub(posted)
				}
				time.Sleep(settled)
				if i == 0 && requests == 0 {
					before := len(s.Requests())
					time.Sleep(watched)
					requests = float64(len(s.Requests())-before) * float64(time.Minute/watched)
				}
				time.Sleep(rand.N(1500 * time.Millisecond))
				delay := say(rooms[rand.N(len(rooms))])
				mu.Lock()
				rest = append(rest, delay)
				mu.Unlock()
				room := rooms[0]
				say(room)
				for range 10 {
					time.Sleep(rand.N(400 * time.Millisecond))
					delay := say(room)
					mu.Lock()
					active = append(active, delay)
					mu.Unlock()
				}
			})
		}
		all.Wait()
	}
	b.ReportMetric(requests, "rest-requests/min")
	percentiles(b, "rest", rest)
	percentiles(b, "active", active)
}
