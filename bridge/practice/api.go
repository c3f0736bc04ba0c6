package practice

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"mime"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// request is a request to the API, with what its parameters and credentials say.
type request struct {
	*http.Request

	endpoint Endpoint
	id       string         // X-Request-Id
	user     *user          // nil: nobody is logged in
	refused  bool           // FaultRefuse: no credentials are right
	params   map[string]any // of the query and the body, which can be a form or JSON
	tooLarge bool           // the body
}

// answer is what the API answers.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// handler returns the API.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	route := func(pattern string, endpoint Endpoint, fn func(*request) answer) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			s.handle(w, &request{Request: r, endpoint: endpoint}, fn)
		})
	}
	const talk = "/ocs/v2.php/apps/spreed/api"
	route("GET /status.php", EndpointStatus, func(*request) answer { return s.statusPage(false) })
	route("GET /ocs/v2.php/cloud/capabilities", EndpointCapabilities, s.getCapabilities)
	route("GET /ocs/v2.php/cloud/user", EndpointUser, s.getUser)
	route("GET "+talk+"/v4/room", EndpointRooms, s.getRooms)
	route("POST "+talk+"/v4/room", EndpointRooms, s.createRoom)
	route("GET "+talk+"/v4/room/{token}/participants", EndpointRooms, s.getParticipants)
	route("GET "+talk+"/v1/chat/{token}", EndpointChat, s.getChat)
	route("POST "+talk+"/v1/chat/{token}/read", EndpointChat, s.setRead)
	route("POST "+talk+"/v1/chat/{token}", EndpointChat, s.postChat)
	route("PUT "+talk+"/v1/chat/{token}/{id}", EndpointEdit, s.editChat)
	route("DELETE "+talk+"/v1/chat/{token}/{id}", EndpointEdit, s.deleteChat)
	route("GET "+talk+"/v1/chat/{token}/{id}/context", EndpointChat, s.getContext)
	route("GET "+talk+"/v1/reaction/{token}/{id}", EndpointChat, s.userReaction)
	route("POST "+talk+"/v1/reaction/{token}/{id}", EndpointChat, s.userReaction)
	route("DELETE "+talk+"/v1/reaction/{token}/{id}", EndpointChat, s.userReaction)
	route("POST "+talk+"/v1/bot/{token}/message", EndpointBot, s.botMessage)
	route("POST "+talk+"/v1/bot/{token}/reaction/{id}", EndpointBot, s.botReaction)
	route("DELETE "+talk+"/v1/bot/{token}/reaction/{id}", EndpointBot, s.botReaction)
	route("GET "+talk+"/v1/bot/admin", EndpointBots, s.adminBots)
	route("GET "+talk+"/v1/bot/{token}", EndpointBots, s.roomBots)
	route("POST "+talk+"/v1/bot/{token}/{bot}", EndpointBots, s.setBot)
	route("DELETE "+talk+"/v1/bot/{token}/{bot}", EndpointBots, s.setBot)
	route("GET /remote.php/dav/files/{user}/{path...}", EndpointFiles, s.getFile)
	route("PUT /remote.php/dav/files/{user}/{path...}", EndpointFiles, s.putFile)
	route("MKCOL /remote.php/dav/files/{user}/{path...}", EndpointFiles, s.makeFolder)
	route("POST /ocs/v2.php/apps/files_sharing/api/v1/shares", EndpointShares, s.postShare)
	route("POST /index.php/login/v2", EndpointOther, s.startLogin)
	route("POST /index.php/login/v2/poll", EndpointOther, s.pollLogin)
	route("GET /index.php/login/v2/flow/{flow}", EndpointOther, s.loginPage)
	route("POST /index.php/login/v2/flow/{flow}", EndpointOther, s.loginPage)
	route("DELETE /ocs/v2.php/core/apppassword", EndpointUser, s.revoke)
	route("GET /index.php/login/", EndpointOther, func(*request) answer {
		return page(http.StatusOK, "text/html; charset=UTF-8", "<!DOCTYPE html>\n<title>Nextcloud</title>\n<h1>Log in to Nextcloud</h1>\n")
	})
	route("/", EndpointOther, func(r *request) answer {
		if strings.HasPrefix(r.URL.Path, "/ocs/") {
			return r.failure(http.StatusNotFound, 998, "Invalid query, please check the syntax. API specifications are here: "+
				"http://www.freedesktop.org/wiki/Specifications/open-collaboration-services.\n", list{})
		}
		return page(http.StatusNotFound, "text/html; charset=UTF-8", "<!DOCTYPE html>\n<title>Nextcloud</title>\n<h1>Page not found</h1>\n")
	})
	return mux
}

// handle answers a request, or does what the faults in force want done.
func (s *Server) handle(w http.ResponseWriter, r *request, fn func(*request) answer) {
	fault := s.fault(r.endpoint)
	if fault.Delay > 0 {
		timer := time.NewTimer(fault.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.ctx.Done():
		}
	}
	if fault.Kind == FaultDropBefore {
		s.hangUp(w, r, fault.Kind)
		return
	}
	r.id = s.random(20, alphanumeric)
	r.refused = fault.Kind == FaultRefuse
	a, faulty := fault.answer(s, r)
	if !faulty {
		if a, faulty = s.untrusted(r); !faulty {
			s.authenticate(r)
			r.parse(w)
			a = fault.after(fn(r))
		}
	}
	if fault.Kind == FaultDropAnswer {
		s.hangUp(w, r, fault.Kind)
		return
	}
	s.log(r, a.status, fault.Kind)
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	if a.status != http.StatusNotModified {
		_, _ = w.Write(a.body) // who asked may be gone
	}
}

// hangUp closes the connection without an answer.
func (s *Server) hangUp(w http.ResponseWriter, r *request, fault FaultKind) {
	s.log(r, 0, fault)
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
}

// untrusted returns Nextcloud's answer to a request that names a host which it
// does not go by.
func (s *Server) untrusted(r *request) (answer, bool) {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.Trim(host, "[]")
	if slices.Contains([]string{"127.0.0.1", "localhost", "::1"}, host) || slices.Contains(s.opts.TrustedDomains, host) {
		return answer{}, false
	}
	if r.endpoint == EndpointStatus {
		return page(http.StatusBadRequest, "application/json", `{"error": "Trusted domain error.", "code": 15}`), true
	}
	return page(http.StatusBadRequest, "text/html; charset=UTF-8", "<!DOCTYPE html>\n<html class=\"ng-csp\" lang=\"en\">\n"+
		"<head><title>Nextcloud</title></head>\n<body><h2>Access through untrusted domain</h2>\n"+
		"<p>Please contact your administrator. If you are an administrator, edit the \"trusted_domains\" setting in "+
		"config/config.php like the example in config.sample.php.</p></body>\n</html>\n"), true
}

// authenticate finds out whose app password came with r, as a bearer token or
// with the user's name.
func (s *Server) authenticate(r *request) {
	token, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	name, password, basic := r.BasicAuth()
	if basic {
		token = password
	}
	if r.refused || !bearer && !basic {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.tokens[token]; u != nil && (bearer || u.id == name) {
		r.user = u
	}
}

// parse reads the parameters of r. What is no JSON or form has none.
func (r *request) parse(w http.ResponseWriter) {
	r.params = map[string]any{}
	for name, values := range r.URL.Query() {
		r.params[name] = values[0]
	}
	if r.endpoint == EndpointFiles { // its body is a file
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		_, r.tooLarge = errors.AsType[*http.MaxBytesError](err)
		return
	}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "application/json" {
		fields := map[string]any{}
		if json.Unmarshal(body, &fields) == nil {
			maps.Copy(r.params, fields)
		}
		return
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	if r.ParseForm() == nil {
		for name, values := range r.PostForm {
			r.params[name] = values[0]
		}
	}
}

func (r *request) text(name string) string {
	text, _ := r.params[name].(string)
	return text
}

// maxNumber is the greatest number in a request.
const maxNumber = math.MaxInt32

// number returns a parameter, or missing if it is not there or no number from
// 0 to maxNumber.
func (r *request) number(name string, missing int) int {
	value := -1.0
	switch v := r.params[name].(type) {
	case float64:
		value = v
	case string:
		if n, err := strconv.ParseFloat(v, 64); err == nil {
			value = n
		}
	}
	if value >= 0 && value <= maxNumber {
		return int(value)
	}
	return missing
}

func (r *request) yes(name string) bool {
	flag, isBool := r.params[name].(bool)
	return flag || !isBool && r.number(name, 0) == 1 || r.text(name) == "true"
}

// pathNumber returns a number in the path; 0 if it is none, which no id is.
func (r *request) pathNumber(name string) int {
	n, err := strconv.Atoi(r.PathValue(name))
	if err != nil || n < 0 || n > maxNumber {
		return 0
	}
	return n
}

// success answers data in an OCS envelope.
func (r *request) success(status int, data any) answer {
	return r.envelope(status, "ok", status, "OK", data)
}

// refusal answers a failure that has no words.
func (r *request) refusal(status int, data any) answer { return r.failure(status, status, "", data) }

// failure answers a failure in an OCS envelope.
func (r *request) failure(status, code int, message string, data any) answer {
	return r.envelope(status, "failure", code, message, data)
}

func (r *request) internalError() answer {
	return r.failure(http.StatusInternalServerError, 996, "Internal Server Error\n", list{})
}

func (r *request) throttled() answer {
	return r.failure(http.StatusTooManyRequests, http.StatusTooManyRequests, "Reached maximum delay", list{})
}

func (r *request) notLoggedIn() answer {
	return r.failure(http.StatusUnauthorized, 997, "Current user is not logged in", list{})
}

// envelope answers in JSON if it was asked for, else in XML, where the data is
// left out.
func (r *request) envelope(status int, word string, code int, message string, data any) answer {
	header := http.Header{"X-Request-Id": {r.id}}
	if r.user != nil {
		header.Set("X-User-Id", r.user.id)
	}
	if r.URL.Query().Get("format") != "json" && !strings.Contains(r.Header.Get("Accept"), "application/json") {
		header.Set("Content-Type", "application/xml; charset=utf-8")
		return answer{status, header, []byte("<?xml version=\"1.0\"?>\n<ocs>\n <meta>\n  <status>" + word +
			"</status>\n  <statuscode>" + strconv.Itoa(code) + "</statuscode>\n </meta>\n <data/>\n</ocs>\n")}
	}
	header.Set("Content-Type", "application/json; charset=utf-8")
	meta := object{{"status", word}, {"statuscode", code}, {"message", message}}
	return answer{status, header, encode(object{{"ocs", object{{"meta", meta}, {"data", data}}}}, true)}
}

// page answers something that is not OCS.
func page(status int, contentType, body string) answer {
	return answer{status, http.Header{"Content-Type": {contentType}}, []byte(body)}
}

// detached returns the context of r without its end: a webhook goes out also
// if who asks hangs up.
func (r *request) detached() context.Context { return context.WithoutCancel(r.Context()) }
