package practice

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// FaultKind is a way in which the server can fail.
type FaultKind string

// The faults.
const (
	FaultRefuse      FaultKind = "refuse"      // as if the secret, or the app password, were another
	FaultThrottle    FaultKind = "throttle"    // 429, with Retry-After if RetryAfter is set
	FaultDelay       FaultKind = "delay"       // nothing but the delay
	FaultDropBefore  FaultKind = "drop-before" // the connection is closed before anything is done
	FaultDropAnswer  FaultKind = "drop-answer" // everything is done, webhooks included; then the connection is closed
	FaultStatus      FaultKind = "status"      // Status, 500 by default
	FaultMaintenance FaultKind = "maintenance" // 503; status.php tells of it
	FaultProxyPage   FaultKind = "proxy-page"  // an HTML page with Status, 502 by default, as a reverse proxy has them
	FaultRedirect    FaultKind = "redirect"    // to the login page
	FaultTimeout     FaultKind = "timeout"     // everything is done; then a reverse proxy answers with Status, 504 by default
	FaultWarning     FaultKind = "warning"     // a warning of PHP before the answer
	FaultOCS         FaultKind = "ocs"         // HTTP says 200; the failure, Status, 404 by default, stands in the answer alone
	FaultPortal      FaultKind = "portal"      // a redirect to the log-in page of Authelia, as a reverse proxy sends it
	FaultChallenge   FaultKind = "challenge"   // the page by which Anubis tells browsers from others, with status 200
)

// Endpoint is a part of the API.
type Endpoint string

// The endpoints.
const (
	EndpointAny          Endpoint = ""
	EndpointBot          Endpoint = "bot"          // messages and reactions of bots
	EndpointChat         Endpoint = "chat"         // messages and reactions of users
	EndpointEdit         Endpoint = "edit"         // of messages of users
	EndpointCapabilities Endpoint = "capabilities" // what the server can do
	EndpointStatus       Endpoint = "status"       // status.php
	EndpointUser         Endpoint = "user"         // whose app password it is
	EndpointRooms        Endpoint = "rooms"        // conversations of a user
	EndpointBots         Endpoint = "bots"         // which bots are installed and enabled
	EndpointFiles        Endpoint = "files"        // WebDAV
	EndpointShares       Endpoint = "shares"       // of files with conversations
	EndpointOther        Endpoint = "other"        // login, unknown paths
)

// Fault makes requests fail.
type Fault struct {
	Kind       FaultKind
	On         Endpoint      // which requests; all by default
	Times      int           // how many of them; 0: until SetFaults
	Delay      time.Duration // before anything else, with every kind
	RetryAfter time.Duration // FaultThrottle
	Status     int           // FaultStatus, FaultProxyPage, FaultTimeout, FaultOCS
}

// SetFaults replaces the faults in force; without any, all is well again. The
// first that fits a request applies to it.
func (s *Server) SetFaults(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
	for _, f := range faults {
		s.faults = append(s.faults, &f)
	}
}

// fault returns the fault of a request, and counts it; a zero one if all is well.
func (s *Server) fault(e Endpoint) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.faults, func(f *Fault) bool { return f.On == EndpointAny || f.On == e })
	if i < 0 {
		return Fault{}
	}
	f := s.faults[i]
	if f.Times > 0 {
		if f.Times--; f.Times == 0 {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
	}
	return *f
}

// answer returns what a fault answers in place of the endpoint; false if the
// endpoint is asked all the same.
func (f Fault) answer(s *Server, r *request) (answer, bool) {
	switch f.Kind {
	case FaultThrottle:
		a := r.throttled()
		if f.RetryAfter > 0 {
			a.header.Set("Retry-After", strconv.Itoa(int((f.RetryAfter+time.Second-1)/time.Second)))
		}
		return a, true
	case FaultStatus:
		if f.Status == 0 || f.Status == http.StatusInternalServerError {
			return r.internalError(), true
		}
		return r.failure(f.Status, f.Status, http.StatusText(f.Status), list{}), true
	case FaultMaintenance:
		if r.endpoint == EndpointStatus {
			return s.statusPage(true), true
		}
		a := r.failure(http.StatusServiceUnavailable, http.StatusServiceUnavailable, "Service unavailable", list{})
		a.header.Set("X-Nextcloud-Maintenance-Mode", "1")
		return a, true
	case FaultProxyPage:
		return proxyPage(cmp.Or(f.Status, http.StatusBadGateway)), true
	case FaultOCS:
		status := cmp.Or(f.Status, http.StatusNotFound)
		a := r.failure(status, status, "", list{})
		a.status = http.StatusOK
		return a, true
	case FaultPortal:
		a := page(http.StatusFound, "text/html; charset=utf-8", `<a href="https://auth.example.com/">302 Found</a>`)
		a.header.Set("Location", "https://auth.example.com/?rd="+url.QueryEscape(s.url+r.URL.Path)+"&rm="+r.Method)
		return a, true
	case FaultChallenge:
		return page(http.StatusOK, "text/html; charset=utf-8", "<!doctype html><html lang=\"en\"><head><title>Making sure you&#39;re not a bot!</title>"+
			"</head><body id=\"top\"><main><h1>Making sure you&#39;re not a bot!</h1></main></body></html>"), true
	case FaultRedirect:
		a := page(http.StatusFound, "text/html; charset=UTF-8", "")
		a.header.Set("Location", s.url+"/index.php/login")
		return a, true
	default:
		return answer{}, false
	}
}

// after returns a, the answer of the endpoint, as the fault leaves it.
func (f Fault) after(a answer) answer {
	switch f.Kind {
	case FaultTimeout:
		return proxyPage(cmp.Or(f.Status, http.StatusGatewayTimeout))
	case FaultWarning:
		a.header = a.header.Clone()
		a.header.Set("Content-Type", "text/html; charset=UTF-8")
		a.body = append([]byte("<br />\n<b>Warning</b>:  Undefined array key \"path\" in <b>/var/www/nextcloud/lib/base.php</b> on line <b>7</b><br />\n"), a.body...)
	default:
	}
	return a
}

// proxyPage returns the page of a reverse proxy, nginx, for a status.
func proxyPage(status int) answer {
	title := strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
	return page(status, "text/html", "<html>\r\n<head><title>"+title+"</title></head>\r\n<body>\r\n<center><h1>"+
		title+"</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n")
}

// Request is a request that the server has answered.
type Request struct {
	Number int // from 1
	Time   time.Time
	Method string
	Path   string
	Status int       // of the answer; 0 if the connection was closed without one
	Fault  FaultKind // that it met
}

// Requests returns the newest requests, oldest first, at most 1000. A request
// is listed before its answer is sent.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// WaitRequest returns the first request with a number above after that
// matches: one in the list, or else the first to come. It returns an error if
// ctx ends or the server closes before.
func (s *Server) WaitRequest(ctx context.Context, after int, match func(Request) bool) (Request, error) {
	var request Request
	err := s.wait(ctx, func() bool {
		i := slices.IndexFunc(s.requests, func(r Request) bool { return r.Number > after && match(r) })
		if i >= 0 {
			request = s.requests[i]
		}
		return i >= 0
	})
	if err != nil {
		return Request{}, fmt.Errorf("practice: no matching request: %w", err)
	}
	return request, nil
}

func (s *Server) log(r *request, status int, fault FaultKind) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requestCount++
	if len(s.requests) == keepRequests {
		s.requests = slices.Delete(s.requests, 0, 1)
	}
	s.requests = append(s.requests, Request{
		Number: s.requestCount, Time: s.now(), Method: r.Method,
		Path: r.URL.Path[:min(len(r.URL.Path), 1024)], Status: status, Fault: fault,
	})
	s.notify()
}
