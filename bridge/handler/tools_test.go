package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"perch/bridge"
	"perch/bridge/config"
)

// heardEvents is a sink that a test can read.
type heardEvents struct {
	mu  sync.Mutex
	all []bridge.Event
}

func (h *heardEvents) Publish(e bridge.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, e)
}

func (h *heardEvents) titles() (titles []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.all {
		title := e.Title.String()
		if e.Cause != "" {
			title += ": " + e.Reason.String()
		}
		titles = append(titles, title)
	}
	return titles
}

// wants returns pieces of an answer that call a tool, the arguments in two.
func wants(name, arguments string) []string {
	half := len(arguments) / 2
	piece := func(call map[string]any) string {
		data, _ := json.Marshal(map[string]any{"choices": []any{map[string]any{"delta": map[string]any{"tool_calls": []any{call}}}}})
		return "data: " + string(data) + "\n\n"
	}
	return []string{
		piece(map[string]any{"index": 0, "id": "c1", "type": "function", "function": map[string]any{"name": name, "arguments": arguments[:half]}}),
		piece(map[string]any{"index": 0, "function": map[string]any{"arguments": arguments[half:]}}),
		`data: {"choices":[{"delta":{},"finish_reason":"tool_calls"}]}` + "\n\ndata: [DONE]\n\n",
	}
}

func toolbox(t *testing.T, sink bridge.EventSink, tools ...config.Tool) *Toolbox {
	t.Helper()
	dir := t.TempDir()
	b := NewToolbox(Toolbox{Tools: tools, Base: dir, Dir: filepath.Join(dir, "work"), Temp: filepath.Join(dir, "tmp"), Running: &Programs{}, Sink: sink})
	t.Cleanup(b.Close)
	return b
}

// house is an MCP server with a few tools.
func house() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "house", Version: "1"}, nil)
	type place struct {
		Room string `json:"room"`
	}
	mcp.AddTool(s, &mcp.Tool{Name: "read.temperature", Description: "Reads a thermometer"},
		func(_ context.Context, _ *mcp.CallToolRequest, in place) (*mcp.CallToolResult, any, error) {
			if in.Room == "attic" {
				return nil, nil, errors.New("there is no attic")
			}
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "21 degrees in the " + in.Room}}}, nil, nil
		})
	mcp.AddTool(s, &mcp.Tool{Name: "exit", Description: "Ends the server"},
		func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			os.Exit(3)
			return nil, nil, nil
		})
	return s
}

// asMCP makes the test binary an MCP server on its standard input and output.
const asMCP = "--as-mcp-server"

func TestMain(m *testing.M) {
	if slices.Contains(os.Args, asMCP) {
		_ = house().Run(context.Background(), &mcp.StdioTransport{})
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// askFor has a model ask for a tool once, and returns what the model is told of the result.
func askFor(t *testing.T, b *Toolbox, name, arguments string) (result string, offered []any) {
	t.Helper()
	s := serveModel(t, func(w http.ResponseWriter, _ *http.Request, n int) {
		if n == 1 {
			stream(w, wants(name, arguments)...)
			return
		}
		stream(w, piece("That is done."), lastPiece)
	})
	l := s.llm()
	l.Tools = b
	if got := modelReply(t, l, question("7", "please")); got != "That is done." {
		t.Errorf("answered %q", got)
	}
	requests := s.requests()
	messages := requests[1]["messages"].([]any)
	last, before := messages[len(messages)-1].(map[string]any), messages[len(messages)-2].(map[string]any)
	if last["role"] != "tool" || last["tool_call_id"] != "c1" || before["role"] != "assistant" || len(before["tool_calls"].([]any)) != 1 {
		t.Errorf("the model is told %v, %v", before, last)
	}
	offered, _ = requests[0]["tools"].([]any)
	return last["content"].(string), offered
}

const roomSchema = `{"type":"object","properties":{"room":{"type":"string","maxLength":20}},"required":["room"],"additionalProperties":false}`

func TestModelUsesAProgram(t *testing.T) {
	sink := &heardEvents{}
	path := filepath.Join(t.TempDir(), "light.sh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\ncat > seen.json\necho switched \"$@\"\nenv | grep -c PERCH_\nexit 0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PERCH_APP_TOKEN", "sesame")
	b := toolbox(t, sink, config.Tool{Name: "light", About: "Switches the light", Command: []string{path, "--once"}, Schema: roomSchema})
	attack := `$(touch pwned); "--help"`
	arguments, _ := json.Marshal(map[string]string{"room": attack[:20]})
	result, offered := askFor(t, b, "light", string(arguments))
	if result != "switched --once\n0" {
		t.Errorf("the model is told %q", result)
	}
	seen, err := os.ReadFile(filepath.Join(b.Dir, "seen.json"))
	if err != nil || !strings.Contains(string(seen), `"arguments":`+string(arguments)) || !strings.Contains(string(seen), `"id":"alice"`) || !strings.Contains(string(seen), `"tool":"light"`) {
		t.Errorf("the program reads %s %v", seen, err)
	}
	function := offered[0].(map[string]any)["function"].(map[string]any)
	if function["name"] != "light" || function["description"] != "Switches the light" || function["parameters"].(map[string]any)["required"] == nil {
		t.Errorf("offered %v", offered)
	}
	if e := sink.all[0]; e.Kind != bridge.EventTool || e.Duration <= 0 || e.Text != string(arguments) || e.MessageID != "7" {
		t.Errorf("the log says %+v", e)
	}
	if entries, err := filepath.Glob(filepath.Join(b.Dir, "pwned")); err != nil || entries != nil {
		t.Errorf("%v %v", entries, err)
	}
	if left, err := os.ReadDir(b.Temp); err != nil || len(left) != 0 {
		t.Errorf("%v is left of it %v", left, err)
	}
}

// What does not fit the schema, or is no tool, reaches nothing, and the model is
// told why.
func TestToolArgumentsAreChecked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "light.sh")
	if err := os.WriteFile(path, []byte("#!/bin/sh\ntouch called\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	sink := &heardEvents{}
	b := toolbox(t, sink, config.Tool{Name: "light", About: "x", Command: []string{path}, Schema: roomSchema})
	for _, tt := range []struct{ name, arguments, want string }{
		{"light", `{"room":7}`, "not as its schema says"},
		{"light", `{"room":"a","also":"b"}`, "not as its schema says"},
		{"light", `["room"]`, "no JSON object"},
		{"light", `{"room":"` + strings.Repeat("x", maxArguments) + `"}`, "more than 16384 bytes"},
		{"light", `{"room":`, "no JSON object"},
		{"dark", `{}`, "no tool of that name"},
	} {
		if result, _ := askFor(t, b, tt.name, tt.arguments); !strings.HasPrefix(result, "Error: ") || !strings.Contains(result, tt.want) {
			t.Errorf("%s %.40s: the model is told %q, want %q", tt.name, tt.arguments, result, tt.want)
		}
	}
	if _, err := os.Stat(filepath.Join(b.Dir, "called")); err == nil {
		t.Error("the program was called")
	}
}

func TestModelUsesAWebHook(t *testing.T) {
	var got string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got = string(body)
		switch {
		case strings.Contains(got, "cellar"):
			http.Error(w, "no such room", http.StatusTeapot)
		case strings.Contains(got, "long"):
			_, _ = io.WriteString(w, strings.Repeat("x", maxResult+10))
		default:
			_, _ = io.WriteString(w, "on\n")
		}
	}))
	t.Cleanup(s.Close)
	b := toolbox(t, &heardEvents{}, config.Tool{Name: "light", About: "x", URL: s.URL + "/light", Schema: roomSchema})
	if result, _ := askFor(t, b, "light", `{"room":"hall"}`); result != "on" || !strings.Contains(got, `"arguments":{"room":"hall"}`) {
		t.Errorf("the model is told %q, the web hook %s", result, got)
	}
	if result, _ := askFor(t, b, "light", `{"room":"cellar"}`); !strings.Contains(result, "refused with status 418") {
		t.Errorf("the model is told %q", result)
	}
	if result, _ := askFor(t, b, "light", `{"room":"long"}`); len(result) > maxResult+10 || !strings.HasSuffix(result, "[…]") {
		t.Errorf("the model is told %d bytes", len(result))
	}
}

func TestModelUsesMCP(t *testing.T) {
	web := httptest.NewServer(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return house() }, nil))
	t.Cleanup(web.Close)
	for name, one := range map[string]config.Tool{
		"a program":  {Name: "house", MCP: true, Command: []string{os.Args[0], asMCP}},
		"an address": {Name: "house", MCP: true, URL: web.URL},
	} {
		t.Run(name, func(t *testing.T) {
			sink := &heardEvents{}
			b := toolbox(t, sink, one)
			result, offered := askFor(t, b, "house_read_temperature", `{"room":"hall"}`)
			if result != "21 degrees in the hall" || len(offered) != 2 {
				t.Fatalf("the model is told %q; offered %v; %q", result, offered, sink.titles())
			}
			if result, _ := askFor(t, b, "house_read_temperature", `{"room":"attic"}`); !strings.Contains(result, "there is no attic") {
				t.Errorf("the model is told %q", result)
			}
			if one.URL != "" {
				return
			}
			if n := len(b.Running.running); n != 1 {
				t.Errorf("%d programs run, want one for all messages", n)
			}
			if result, _ := askFor(t, b, "house_exit", `{}`); !strings.HasPrefix(result, "Error: ") {
				t.Errorf("of the end of the server the model is told %q", result)
			}
			if result, _ := askFor(t, b, "house_read_temperature", `{"room":"hall"}`); result != "21 degrees in the hall" {
				t.Errorf("after its end: %q; %q", result, sink.titles())
			}
			if err := b.diagnose(t.Context()); err != nil {
				t.Error(err)
			}
			b.Close()
			if n := len(b.Running.running); n != 0 {
				t.Errorf("%d programs run after the end", n)
			}
			if left, _ := os.ReadDir(b.Temp); len(left) != 0 {
				t.Errorf("%v is left", left)
			}
		})
	}
}

// A server that is none takes no other tool away, and no answer.
func TestToolThatIsNotThere(t *testing.T) {
	sink := &heardEvents{}
	b := toolbox(t, sink, config.Tool{Name: "gone", MCP: true, Command: []string{"/bin/false"}}, config.Tool{Name: "echo", About: "x", Command: []string{"/bin/cat"}})
	if result, offered := askFor(t, b, "echo", `{"a":1}`); !strings.Contains(result, `{"a":1}`) || len(offered) != 1 {
		t.Errorf("the model is told %q of %v", result, offered)
	}
	if titles := sink.titles(); len(titles) != 2 || !strings.HasPrefix(titles[0], "The tools of gone cannot be used") {
		t.Errorf("the log says %q", titles)
	}
	if err := b.diagnose(t.Context()); err == nil || !strings.Contains(bridge.TextOf(err).String(), "gone") {
		t.Errorf("the doctor says %v", err)
	}
}

func TestModelThatNeverStopsCalling(t *testing.T) {
	s := serveModel(t, func(w http.ResponseWriter, _ *http.Request, _ int) { stream(w, wants("echo", `{}`)...) })
	l, sink := s.llm(), &heardEvents{}
	l.Tools = toolbox(t, sink, config.Tool{Name: "echo", About: "x", Command: []string{"/bin/cat"}})
	if _, err := l.Handle(t.Context(), question("1", "go")); err == nil || !strings.Contains(bridge.TextOf(err).String(), "goes on calling tools") {
		t.Errorf("Handle: %v", err)
	}
	if n := len(sink.all); n != maxCalls {
		t.Errorf("%d calls, want %d", n, maxCalls)
	}
}

func TestModelWithoutTools(t *testing.T) {
	s := serveModel(t, func(w http.ResponseWriter, _ *http.Request, n int) {
		if n == 1 {
			refusing(http.StatusBadRequest, `{"error":{"message":"registry.ollama.ai/library/gemma does not support tools"}}`)(w, nil, n)
			return
		}
		stream(w, piece("Hello."), lastPiece)
	})
	l, sink := s.llm(), &heardEvents{}
	l.Sink = sink
	l.Tools = toolbox(t, sink, config.Tool{Name: "echo", About: "x", Command: []string{"/bin/cat"}})
	if got := modelReply(t, l, question("1", "go")); got != "Hello." || s.requests()[1]["tools"] != nil {
		t.Errorf("answered %q", got)
	}
	if titles := sink.titles(); len(titles) != 1 || !strings.Contains(titles[0], "takes no tools") {
		t.Errorf("the log says %q", titles)
	}
}

// A tool is given no longer than the message has.
func TestToolAtTheDeadline(t *testing.T) {
	s := serveModel(t, func(w http.ResponseWriter, _ *http.Request, _ int) { stream(w, wants("sleep", `{}`)...) })
	l, sink := s.llm(), &heardEvents{}
	l.Tools = toolbox(t, sink, config.Tool{Name: "sleep", About: "x", Command: []string{"/bin/sleep", "600"}})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := l.Handle(ctx, question("1", "go")); bridge.CodeOf(err) != bridge.CodeUnavailable || time.Since(began) > 10*time.Second {
		t.Errorf("Handle: %v after %v", err, time.Since(began))
	}
}

func TestCallsInEveryForm(t *testing.T) {
	for name, document := range map[string]string{
		"OpenAI, whole":            `{"choices":[{"message":{"content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"a","arguments":"{\"x\":1}"}},{"id":"c2","type":"function","function":{"name":"b","arguments":""}}]},"finish_reason":"tool_calls"}]}`,
		"Ollama, with an object":   `{"choices":[{"message":{"content":"","tool_calls":[{"function":{"name":"a","arguments":{"x":1}}},{"function":{"name":"b"}}]},"finish_reason":"stop"}]}`,
		"all with the index 0":     frames(`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"a","arguments":"{\"x\":1}"}}]}}]}`, `{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c2","function":{"name":"b","arguments":""}}]}}]}`, `{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}`),
		"in pieces, one by one":    frames(`{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c1","function":{"name":"a"}}]}}]}`, `{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]}}]}`, `{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]}}]}`, `{"choices":[{"delta":{"tool_calls":[{"index":1,"id":"c2","function":{"name":"b"}}]}}]}`, `{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}`),
		"in pieces, without index": frames(`{"choices":[{"delta":{"tool_calls":[{"id":"c1","function":{"name":"a","arguments":"{\"x\":"}}]}}]}`, `{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"1}"}}]}}]}`, `{"choices":[{"delta":{"tool_calls":[{"id":"c2","function":{"name":"b"}}]},"finish_reason":"tool_calls"}]}`),
	} {
		a := &answer{}
		err := a.read(strings.NewReader(document))
		var got []string
		for _, c := range a.calls {
			got = append(got, fmt.Sprint(c.Name, c.Arguments, c.ID != ""))
		}
		if want := []string{`a{"x":1}true`, "btrue"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
}
