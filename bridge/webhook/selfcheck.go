package webhook

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"perch/bridge"
)

// A self-check is a signed post to the webhook's own path. Only a Perch with
// the same secret can answer it, and only to who has that secret too: with the
// name of its process, and a proof over the nonce that the name is true.
// Nothing of it is stored or logged.

// selfCheck is the body of a self-check, after its prefix.
type selfCheck struct {
	Type string `json:"type"`
	Sent int64  `json:"sent"` // Unix seconds
}

// selfAnswer is the answer to a self-check.
type selfAnswer struct {
	Instance string `json:"instance"`
	Proof    string `json:"proof"`
}

const (
	selfCheckType   = "PerchSelfCheck"
	selfCheckPrefix = `{"type":"` + selfCheckType + `"`
	// headerTamper marks a self-check whose signature is wrong on purpose; its
	// value is a signature that is right.
	headerTamper = "X-Perch-Tampered"
	// selfCheckAge is how old a self-check may be, so that an old one is not
	// answered to who overheard it.
	selfCheckAge = time.Minute
	maxAnswer    = 64 << 10
)

// proofText is what is signed to prove a name; no webhook has such a body.
func proofText(instance string) string { return "perch self-check of " + instance }

func isSelfCheck(body []byte) bool { return bytes.HasPrefix(body, []byte(selfCheckPrefix)) }

// answerSelfCheck verifies the signature itself, whether signatures are
// required or not.
func (s *Server) answerSelfCheck(w http.ResponseWriter, r *http.Request, receiver Receiver, req Request, signature string) {
	if !receiver.Verify(req.Random, req.Body, signature) {
		if receiver.Verify(req.Random, []byte(headerTamper), r.Header.Get(headerTamper)) {
			http.Error(w, http.StatusText(http.StatusUnauthorized), http.StatusUnauthorized)
			return
		}
		s.refuseSignature(w, r, receiver.Settings().SecretHowTo)
		return
	}
	var check selfCheck
	if err := json.Unmarshal(req.Body, &check); err != nil || time.Since(time.Unix(check.Sent, 0)).Abs() > selfCheckAge {
		http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(selfAnswer{s.options.Instance, receiver.Sign(req.Random, proofText(s.options.Instance))})
}

// Probe sends self-checks.
type Probe struct {
	Sign   func(secret bridge.Secret, random, body string) string
	Secret bridge.Secret
	Client *http.Transport // follows no redirection
}

// Answer is what came back for a self-check.
type Answer struct {
	Instance string // of the Perch that proved to have our secret; empty: something else answered
	Status   int
	Header   http.Header
	Body     string // the beginning
	Took     time.Duration
}

// Ask posts a self-check to url, and if tamper is set, one whose signature is
// wrong. An error means that no answer came.
func (p Probe) Ask(ctx context.Context, url string, tamper bool) (Answer, error) {
	nonce := make([]byte, 32)
	_, _ = rand.Read(nonce) // never fails
	random := hex.EncodeToString(nonce)
	body := selfCheckPrefix + `,"sent":` + strconv.FormatInt(time.Now().Unix(), 10) + `}`
	signature := p.Sign(p.Secret, random, body)
	if tamper {
		body = strings.TrimSuffix(body, "}") + " }"
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "Perch")
	req.Header.Set(HeaderRandom, random)
	req.Header.Set(HeaderSignature, signature)
	if tamper {
		req.Header.Set(headerTamper, p.Sign(p.Secret, random, headerTamper))
	}
	started := time.Now()
	resp, err := p.Client.RoundTrip(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil && (errors.Is(err, context.DeadlineExceeded) || len(data) == 0) {
		return Answer{}, err
	}
	a := Answer{Status: resp.StatusCode, Header: resp.Header, Body: string(data), Took: time.Since(started)}
	var own selfAnswer
	if resp.StatusCode == http.StatusOK && json.Unmarshal(data, &own) == nil && own.Instance != "" &&
		own.Proof == p.Sign(p.Secret, random, proofText(own.Instance)) {
		a.Instance = own.Instance
	}
	return a, nil
}
