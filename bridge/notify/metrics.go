package notify

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"perch/bridge"
)

// Gauges are how the bot is at a moment.
type Gauges struct {
	Messages int  // that wait for the handler
	Replies  int  // that wait to be sent
	Held     bool // replies are held back
	Tunnel   bridge.TunnelState
}

// Metrics counts what happens. docs/metrics.md tells of each.
type Metrics struct {
	registry *prometheus.Registry
	gauges   func(ctx context.Context) (Gauges, error)

	messages, replies, refused *prometheus.CounterVec
	dropped                    prometheus.Counter
	wait, handle, send         prometheus.Histogram
}

// NewMetrics returns Metrics of a Perch of that version, which has run since
// started.
func NewMetrics(version string, started time.Time, gauges func(ctx context.Context) (Gauges, error)) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), gauges: gauges}
	counters := func(name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"fate"})
		m.registry.MustRegister(c)
		return c
	}
	times := func(name, help string) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300},
		})
		m.registry.MustRegister(h)
		return h
	}
	m.messages = counters("perch_messages_total", "Messages of people, by what became of them; received counts those that were taken.")
	m.replies = counters("perch_replies_total", "Attempts to post replies and notifications, by their outcome.")
	m.refused = counters("perch_refused_total", "Requests that were refused: webhooks without a right signature, and programs without the right token.")
	m.wait = times("perch_reply_seconds", "From a message to its reply in the conversation.")
	m.handle = times("perch_handler_seconds", "What the handler took for a message.")
	m.send = times("perch_send_seconds", "What the server took for a reply.")
	m.dropped = prometheus.NewCounter(prometheus.CounterOpts{Name: "perch_events_dropped_total", Help: "Events that came too fast to be counted here."})
	m.registry.MustRegister(m.dropped, collector{m}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	constant := func(name, help string, value float64, labels prometheus.Labels) {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels})
		g.Set(value)
		m.registry.MustRegister(g)
	}
	constant("perch_build_info", "The version of Perch.", 1, prometheus.Labels{"version": version})
	constant("perch_start_time_seconds", "When the bot was started, in seconds since 1970.", float64(started.UnixMilli())/1000, nil)
	for _, kind := range []bridge.EventKind{
		bridge.EventMessageReceived, bridge.EventMessageTurnedAway, bridge.EventMessageHandled, bridge.EventMessageFailed,
		bridge.EventReplySent, bridge.EventReplyDelayed, bridge.EventReplyHeld, bridge.EventReplyGivenUp,
	} {
		m.fate(kind) // a rate needs the zero before the first
	}
	return m
}

// fate returns the counter of messages or replies that a kind of event is of, or
// nil.
func (m *Metrics) fate(kind bridge.EventKind) prometheus.Counter {
	if name, ok := strings.CutPrefix(string(kind), "message-"); ok {
		return m.messages.WithLabelValues(name)
	}
	if name, ok := strings.CutPrefix(string(kind), "reply-"); ok {
		return m.replies.WithLabelValues(name)
	}
	return nil
}

// Count counts an event.
func (m *Metrics) Count(e bridge.Event) {
	if c := m.fate(e.Kind); c != nil {
		c.Inc()
	}
	switch e.Kind {
	case bridge.EventReplySent:
		observe(m.send, e.Duration)
		observe(m.wait, e.Waited)
	case bridge.EventMessageHandled, bridge.EventMessageSilent, bridge.EventMessageFailed:
		observe(m.handle, e.Duration)
	case bridge.EventWebhookRefused:
		m.refused.WithLabelValues("webhook").Add(float64(max(1, e.Count)))
	case bridge.EventNotifyRefused:
		m.refused.WithLabelValues("notify").Inc()
	default:
	}
}

// Drop notes that so many events were not counted.
func (m *Metrics) Drop(events int) { m.dropped.Add(float64(events)) }

func observe(h prometheus.Histogram, d time.Duration) {
	if d > 0 {
		h.Observe(d.Seconds())
	}
}

// Handler returns what answers GET /metrics, in OpenMetrics for whoever asks for
// it.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, DisableCompression: true, MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	})
}

// collector asks for the gauges when somebody looks.
type collector struct{ m *Metrics }

// Describe implements prometheus.Collector: with nothing, since what there is to
// collect depends on the moment.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	g, err := c.m.gauges(ctx)
	gauge := func(name, help string, value float64, labels ...string) {
		desc := prometheus.NewDesc(name, help, nil, nil)
		if len(labels) > 0 {
			desc = prometheus.NewDesc(name, help, []string{labels[0]}, nil)
			labels = labels[1:]
		}
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	const backlog = "What waits: messages for the handler, replies to be sent."
	gauge("perch_backlog", backlog, float64(g.Messages), "of", "messages")
	gauge("perch_backlog", backlog, float64(g.Replies), "of", "replies")
	if err == nil { // a journal that cannot be read does not say
		gauge("perch_held", "1 while replies are held back.", number(g.Held))
	}
	phase := g.Tunnel.Phase
	if phase == "" {
		phase = "off"
	}
	for _, p := range []string{"off", "requesting", "connecting", "online", "reconnecting", "failed"} {
		gauge("perch_tunnel_state", "1 for the state that the tunnel is in.", number(p == phase), "state", p)
	}
	gauge("perch_tunnel_connections", "Connections of the tunnel to Cloudflare.", float64(g.Tunnel.Connections))
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
