package handler

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"perch/bridge"
)

// frames joins data with the line ends of a stream.
func frames(data ...string) string {
	var b strings.Builder
	for _, d := range data {
		b.WriteString("data: " + d + "\n\n")
	}
	return b.String()
}

// Answers as servers send them.
func TestAnswers(t *testing.T) {
	t.Parallel()
	const he, llo, stop = `{"choices":[{"delta":{"content":"he"}}]}`, `{"choices":[{"delta":{"content":"llo"}}]}`, `{"choices":[{"delta":{},"finish_reason":"stop"}]}`
	whole := frames(he, llo, stop, "[DONE]")
	between := func(s string) string { return frames(he) + s + frames(llo, stop, "[DONE]") }
	for name, tt := range map[string]struct{ sent, text, reason string }{
		"Ollama": {
			frames(`{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"llama3.2","system_fingerprint":"fp_ollama","choices":[{"index":0,"delta":{"role":"assistant","content":"hello"},"finish_reason":null}]}`,
				`{"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop"}]}`, "[DONE]"), "hello", "stop",
		},
		"llama.cpp": {
			frames(`{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],"object":"chat.completion.chunk"}`, he, llo,
				`{"choices":[{"finish_reason":"stop","index":0,"delta":{}}],"timings":{"prompt_n":1,"predicted_ms":3.5}}`, "[DONE]"), "hello", "stop",
		},
		"LM Studio, thoughts apart": {
			frames(`{"choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":"hm"},"logprobs":null}]}`, he, llo, stop, "[DONE]"), "hello", "stop",
		},
		"vLLM, with usage": {
			frames(`{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}`, he, llo,
				`{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop","stop_reason":null}]}`, `{"choices":[],"usage":{"prompt_tokens":1}}`, "[DONE]"), "hello", "stop",
		},
		"OpenRouter": {": OPENROUTER PROCESSING\n\n" + frames(`{"provider":"x","error":null,"choices":[{"delta":{"content":"hello","reasoning":"hm","reasoning_details":[]},"native_finish_reason":null}]}`, stop), "hello", "stop"},
		"LocalAI":    {frames(`{"created":1,"object":"chat.completion.chunk","choices":[{"index":0,"finish_reason":null,"delta":{"role":"assistant","content":"hello"}}],"usage":{}}`, `{"choices":[{"finish_reason":"stop","delta":{"content":""}}]}`, "[DONE]"), "hello", "stop"},
		"Mistral, parts": {
			frames(`{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"hm"}]}]}}]}`,
				`{"choices":[{"delta":{"content":[{"type":"text","text":"hel"},{"type":"reference","reference_ids":[1]}]}}]}`, llo[:len(`{"choices":[{"delta":{"content":"`)]+`lo"}}]}`, stop), "hello", "stop",
		},
		"parts of other kinds":         {frames(`{"choices":[{"delta":{"content":[{"type":"output_text","text":{"value":"hello"}},{"text":"hm","thought":true},{"type":"reasoning","text":"hm"},7,null,"!"]}}]}`, stop), "hello!", "stop"},
		"one part":                     {frames(`{"choices":[{"delta":{"content":{"type":"text","text":"hello"}}}]}`, stop), "hello", "stop"},
		"whole, of parts":              {`{"choices":[{"message":{"content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"hello"}]},"finish_reason":"stop"}]}`, "hello", "stop"},
		"whole, without a reason":      {`{"choices":[{"message":{"content":"hello"},"finish_reason":null}]}`, "hello", "stop"},
		"whole in a stream":            {frames(`{"object":"chat.completion","choices":[{"message":{"content":"hello"},"finish_reason":"stop"}]}`, "[DONE]"), "hello", "stop"},
		"whole at the end of pieces":   {frames(he, llo, `{"choices":[{"message":{"content":"hello"},"finish_reason":"stop"}]}`), "hello", "stop"},
		"whole, in many lines":         {"\ufeff{\r\n \"choices\": [\r\n {\"message\": {\"content\": \"hello\"}, \"finish_reason\": \"stop\"}\r\n]\r\n}\r\n", "hello", "stop"},
		"MiniMax":                      {frames(`{"choices":[{"delta":{"content":"hello"}}],"base_resp":{"status_code":0,"status_msg":""}}`, stop), "hello", "stop"},
		"JSON in lines":                {he + "\n" + llo + "\n" + stop + "\n", "hello", "stop"},
		"text of the older interface":  {frames(`{"choices":[{"text":"hello","finish_reason":"stop"}]}`), "hello", "stop"},
		"null and strange":             {frames(`{"choices":[{"index":"0","delta":null}],"created":"2026"}`, `{"choices":null,"object":7}`, he, llo, `{"choices":[{"delta":null,"finish_reason":"stop"}]}`), "hello", "stop"},
		"LF":                           {whole, "hello", "stop"},
		"CR LF":                        {strings.ReplaceAll(whole, "\n", "\r\n"), "hello", "stop"},
		"CR":                           {strings.ReplaceAll(whole, "\n", "\r"), "hello", "stop"},
		"a byte order mark":            {"\ufeff" + whole, "hello", "stop"},
		"no space":                     {strings.ReplaceAll(whole, "data: ", "data:"), "hello", "stop"},
		"data twice":                   {strings.ReplaceAll(whole, "data: ", "data: data: "), "hello", "stop"},
		"no empty lines":               {strings.ReplaceAll(whole, "\n\n", "\n"), "hello", "stop"},
		"no line at the end":           {strings.TrimSpace(frames(he, llo, stop)), "hello", "stop"},
		"names and numbers":            {strings.ReplaceAll(whole, "data: ", "id: 7\nretry: 10\nevent: completion\ndata: "), "hello", "stop"},
		"a comment":                    {between(": ping\n\n"), "hello", "stop"},
		"a comment as data":            {between("data: : OPENROUTER PROCESSING\n\n"), "hello", "stop"},
		"empty data":                   {between("data:\n\n"), "hello", "stop"},
		"blank data":                   {between("data: \r\n\r\n"), "hello", "stop"},
		"an event without data":        {between("event: ping\n\n"), "hello", "stop"},
		"a ping":                       {between("event: ping\ndata: {\"type\":\"ping\"}\n\n"), "hello", "stop"},
		"a ping in words":              {between("data: [ping]\n\n"), "hello", "stop"},
		"keep-alive in words":          {between("data: keepalive\n\n"), "hello", "stop"},
		"a ping in JSON":               {between("data: {\"type\":\"ping\"}\n\ndata: \"heartbeat\"\n\ndata: {}\n\ndata: null\n\ndata: []\n\n"), "hello", "stop"},
		"queued":                       {between("data: {\"status\":\"processing\",\"message\":\"in the queue\"}\n\n"), "hello", "stop"},
		"keep-alives before all":       {": a\n\ndata:\n\n\n\n" + whole, "hello", "stop"},
		"cut":                          {frames(he, llo, `{"choices":[{"delta":{},"finish_reason":"length"}]}`), "hello", "length"},
		"cut, says Mistral":            {frames(he, llo, `{"choices":[{"delta":{},"finish_reason":"model_length"}]}`), "hello", "length"},
		"filtered":                     {frames(he, llo, `{"choices":[{"delta":{},"finish_reason":"content_filter"}]}`), "hello", "content_filter"},
		"filtered, says Gemini":        {frames(he, llo, `{"choices":[{"delta":{},"finish_reason":"SAFETY"}]}`), "hello", "content_filter"},
		"an error that is none":        {between("data: {\"error\":null,\"choices\":[]}\n\ndata: {\"error\":{},\"choices\":[]}\n\n"), "hello", "stop"},
		"something after the end":      {frames(he, llo, stop, "[DONE]", `{"error":"late"}`), "hello", "stop"},
		"no reason, and the word done": {frames(he, llo, "[DONE]"), "hello", "stop"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for how, r := range map[string]io.Reader{"at once": strings.NewReader(tt.sent), "byte by byte": iotest.OneByteReader(strings.NewReader(tt.sent))} {
				a := &answer{}
				if err := a.read(r); err != nil || a.text.String() != tt.text || a.reason != tt.reason {
					t.Errorf("%s: %q, reason %q, error %v", how, a.text.String(), a.reason, err)
				}
			}
		})
	}
}

// Errors as servers send them in an answer with status 200, before and after half
// of it.
func TestErrorsInAnswers(t *testing.T) {
	t.Parallel()
	const he = `{"choices":[{"delta":{"content":"he"}}]}`
	for name, tt := range map[string]struct {
		sent, message string
		status        int
	}{
		"OpenAI":             {frames(`{"error":{"message":"out of memory","type":"server_error","code":null}}`), "out of memory server_error", 200},
		"a text":             {frames(`{"error":"out of memory"}`), "out of memory", 200},
		"OpenRouter":         {frames(`{"id":"x","error":{"code":502,"message":"Provider returned error","metadata":{"raw":"overloaded"}},"choices":[{"delta":{"content":""},"finish_reason":"error"}]}`), "Provider returned error overloaded", 502},
		"in the choice":      {frames(`{"choices":[{"delta":{},"error":{"message":"out of memory","code":429},"finish_reason":"error"}]}`), "out of memory", 429},
		"only a reason":      {frames(`{"choices":[{"delta":{},"finish_reason":"error"}]}`), "finish_reason error", 200},
		"aborted":            {frames(`{"choices":[{"delta":{},"finish_reason":"abort"}]}`), "finish_reason abort", 200},
		"an event":           {"event: error\ndata: {\"message\":\"out of memory\"}\n\n", "out of memory", 200},
		"an event, CR LF":    {"event: error\r\ndata: out of memory\r\n\r\n", "out of memory", 200},
		"an event of a text": {"event: error\ndata: out of memory\n\n", "out of memory", 200},
		"llama.cpp":          {"error: {\"code\":500,\"message\":\"out of memory\",\"type\":\"server_error\"}\n\n", "out of memory server_error", 500},
		"vLLM":               {frames(`{"object":"error","message":"out of memory","type":"BadRequestError","param":null,"code":400}`, "[DONE]"), "out of memory BadRequestError", 400},
		"Anthropic":          {frames(`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`), "Overloaded overloaded_error", 200},
		"FastAPI":            {frames(`{"detail":[{"loc":["body"],"msg":"field required","type":"missing"}]}`), "field required missing", 200},
		"FastChat":           {frames(`{"text":"NETWORK ERROR","error_code":50004}`), "NETWORK ERROR", 200},
		"Gemini":             {`[{"error":{"code":429,"message":"Resource exhausted","status":"RESOURCE_EXHAUSTED"}}]`, "Resource exhausted", 429},
		"DashScope":          {frames(`{"code":"InvalidParameter","message":"too long","request_id":"x"}`), "too long InvalidParameter", 200},
		"true":               {frames(`{"error":true,"message":"out of memory"}`), "out of memory", 200},
		"errors":             {frames(`{"errors":[{"message":"out of memory"}]}`), "out of memory", 200},
		"error_message":      {frames(`{"error_message":"out of memory"}`), "out of memory", 200},
		"code and msg":       {frames(`{"code":1301,"msg":"out of memory"}`), "out of memory", 200},
		"MiniMax":            {frames(`{"base_resp":{"status_code":1008,"status_msg":"out of memory"}}`, "[DONE]"), "out of memory", 200},
		"a message alone":    {frames(`{"message":"out of memory"}`), "out of memory", 200},
		"in bare JSON":       {"{\n \"error\": {\n  \"message\": \"out of memory\"\n }\n}\n", "out of memory", 200},
		"as words":           {frames("[ERROR] out of memory"), "[ERROR] out of memory", 200},
		"before the end":     {frames(`{"error":"out of memory"}`, `{"choices":[{"delta":{},"finish_reason":"stop"}]}`, "[DONE]"), "out of memory", 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, before := range []string{"", frames(he)} {
				if before != "" && strings.HasPrefix(tt.sent, "[") {
					continue
				}
				a := &answer{}
				err := a.read(strings.NewReader(before + tt.sent))
				r, ok := errors.AsType[*refusal](err)
				if !ok || r.message != tt.message || r.status != tt.status || r.midway != (before != "") {
					t.Errorf("after %q: %#v, want %q with %d", before, err, tt.message, tt.status)
				}
			}
		})
	}
	for name, tt := range map[string]struct {
		sent string
		want error
	}{
		"nothing":                {"", errNoChat},
		"only keep-alives":       {": a\n\ndata:\n\n", errNoChat},
		"a page":                 {"<!doctype html><title>Log in</title>", errNoChat},
		"a text":                 {"data: hello\n\n", errNoChat},
		"half a document":        {`{"choices":[{"message":{"content":"hal`, io.ErrUnexpectedEOF},
		"half a piece":           {frames(he) + `data: {"choices":[{"delta":{"con`, errBrokenOff},
		"half an answer":         {frames(he), errBrokenOff},
		"a page after half":      {frames(he) + "<html>bad gateway</html>", errBrokenOff},
		"an event without end":   {frames(he) + "data: " + strings.Repeat("x", maxEvent+1), errBrokenOff},
		"a document without end": {"data: {" + strings.Repeat(" ", maxEvent+1), errTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := (&answer{}).read(strings.NewReader(tt.sent)); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	l := LLM{Model: "llama3.2:3b", Names: []string{"Perch", "Robby (bot)"}}
	for in, want := range map[string]string{
		"plain":                    "plain",
		"<think>hm</think>\n\nyes": "yes",
		"<think>hm\n<b></think>a<think>x</think>b":                   "ab",
		"hm, well\n</think>\nyes":                                    "yes",
		"hm, well.</think>yes":                                       "yes",
		"</think>yes":                                                "yes",
		"yes</think>":                                                "",
		"<think>hm</think>yes</think>":                               "yes",
		"<think>hm <think> hm</think>yes":                            "yes",
		"<think>cut off":                                             "",
		"yes<think>cut off":                                          "yes",
		"<think>a</think> <think>cut off":                            "",
		"a tag `<think>` begins":                                     "a tag `<think>` begins",
		"the tag `</think>` ends it":                                 "the tag `</think>` ends it",
		`the tag "</think>" ends it`:                                 `the tag "</think>" ends it`,
		"<think>is `</think>` it?</think>yes":                        "yes",
		"remove `<think>.*?</think>` from it":                        "remove `<think>.*?</think>` from it",
		"```\n<think>\n</think>\n```\nis it":                         "```\n<think>\n</think>\n```\nis it",
		"<think>```</think>```\n<think>\n```":                        "```\n<think>\n```",
		"<Think>hm</THINK>yes":                                       "yes",
		"<thinking>hm</thinking>yes":                                 "yes",
		"<thinking mode=\"x\">hm</thinking>yes":                      "yes",
		"<thought>\nhm\n</thought>\nyes":                             "yes",
		"<reasoning>hm</reasoning>yes":                               "yes",
		"[THINK]hm[/THINK]yes":                                       "yes",
		"◁think▷hm◁/think▷yes":                                       "yes",
		"<seed:think>hm</seed:think>yes":                             "yes",
		"<|thinking|>hm<|/thinking|>yes":                             "yes",
		"<|think|>hm<|/think|>yes":                                   "yes",
		"<scratchpad>hm</scratchpad>yes":                             "yes",
		"Here is my thought process:\nhm\nHere is my response:\nyes": "yes",
		"Here's my thought process: hm\n\nHere's my response: yes":   "yes",
		"Here is my response: yes":                                   "Here is my response: yes",
		"assistant\nyes":                                             "yes",
		"assistant\n\nyes":                                           "yes",
		"assistant is a role":                                        "assistant is a role",
		"<|begin_of_thought|>hm<|end_of_thought|><|begin_of_solution|>yes<|end_of_solution|>":                                                "yes",
		"<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>yes<|END_RESPONSE|>":                                                          "yes",
		"<|channel>thought\nhm<channel|>yes":                                                                                                 "yes",
		"<unused94>thought\nhm<unused95>yes":                                                                                                 "yes",
		"<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>yes":                                            "yes",
		"<|start|>assistant<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final <|constrain|>x<|message|>yes<|return|>": "yes",
		"hm<|end|><|start|>assistant<|channel|>final<|message|>yes<|return|>":                                                                "yes",
		"<|channel|>analysis<|message|>hm":                                                                                                   "",
		"<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary<|message|>yes":                                       "yes",
		"<|channel|>commentary to=functions.x<|message|>{}<|call|><|start|>assistant<|channel|>final<|message|>yes":                          "yes",
		"analysisWe need to say yes.assistantfinalyes":                                                                                       "yes",
		"analysis of a bridge":                                 "analysis of a bridge",
		"its mark `<|channel|>final` is one":                   "its mark `<|channel|>final` is one",
		"yes<|im_end|>":                                        "yes",
		"yes<|im_end|>\n<|im_start|>user\nand then?":           "yes",
		"<|im_start|>assistant\nyes<|im_end|>":                 "yes",
		"yes<|eot_id|><|start_header_id|>user":                 "yes",
		"<|start_header_id|>assistant<|end_header_id|>\n\nyes": "yes",
		"<s>yes</s>":           "yes",
		" yes</s>":             "yes",
		"<s>no</s> yes":        "<s>no</s> yes",
		"[/INST] yes":          "yes",
		"yes [INST] and then?": "yes",
		"yes<end_of_turn>\n<start_of_turn>user\nhm": "yes",
		"yes<｜end▁of▁sentence｜>":                    "yes",
		"<|begin_of_box|>yes<|end_of_box|>":         "yes",
		"the token `<|im_end|>` ends it":            "the token `<|im_end|>` ends it",
		"Perch: yes":                                "yes",
		"**Perch:** yes":                            "yes",
		"**Perch**: yes":                            "yes",
		"[Perch]: yes":                              "yes",
		"perch:\nPerch: yes":                        "yes",
		"Perch：好":                                   "好",
		"Robby (bot): yes":                          "yes",
		"llama3.2:3b: yes":                          "yes",
		"<think>hm</think>\nPerch: yes":             "yes",
		"Alice: yes":                                "Alice: yes",
		"perch:fish":                                "perch:fish",
		"I am Perch: a bot":                         "I am Perch: a bot",
	} {
		if got := strings.TrimSpace(l.clean(in)); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// Comments show that a slow machine lives, and before its first word it may be
// silent for as long as the deadline allows.
func TestLLMFirstWordMayTakeLong(t *testing.T) {
	for name, keep := range map[string]string{"keep-alives": ": still here\n\n", "silence": ""} {
		t.Run(name, func(t *testing.T) {
			s := serveModel(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
				for range 10 {
					stream(w, keep)
					<-time.After(10 * time.Millisecond)
				}
				stream(w, piece("hi"), lastPiece)
			})
			l := s.llm()
			l.Stall = 5 * time.Millisecond
			if got := modelReply(t, l, question("1", "hello")); got != "hi" {
				t.Errorf("answer %q", got)
			}
		})
	}
}

func TestLLMKeepAlivesAreNoAnswer(t *testing.T) {
	s := serveModel(t, func(w http.ResponseWriter, r *http.Request, _ int) {
		for tick := time.NewTicker(5 * time.Millisecond); r.Context().Err() == nil; <-tick.C {
			stream(w, ": still here\n\n")
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if e := errorOf(t, ctx, s.llm()); !strings.Contains(e.Text.String(), "did not answer in time") {
		t.Errorf("text %q", e.Text)
	}
}

func TestLLMWaitsWhileItLoads(t *testing.T) {
	loading := refusing(503, `{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`)
	t.Run("until it is there", func(t *testing.T) {
		s := serveModel(t, func(w http.ResponseWriter, r *http.Request, n int) {
			if n == 1 {
				loading(w, r, n)
				return
			}
			saying("hi")(w, r, n)
		})
		if got := modelReply(t, s.llm(), question("1", "hello")); got != "hi" {
			t.Errorf("answer %q", got)
		}
	})
	t.Run("until the deadline", func(t *testing.T) {
		s := serveModel(t, loading)
		ctx, cancel := context.WithTimeout(t.Context(), 600*time.Millisecond)
		defer cancel()
		e := errorOf(t, ctx, s.llm())
		if n := len(s.requests()); n < 2 || n > 4 || !strings.Contains(e.Text.String(), "still loading") || !strings.Contains(e.Hint.String(), "timeout") {
			t.Errorf("%d requests, text %q, hint %q", n, e.Text, e.Hint)
		}
	})
	t.Run("not when it failed to", func(t *testing.T) {
		for _, message := range []string{"failed to load model", "error loading model: unknown"} {
			if newRefusal(503, []byte(message)).loading() || newRefusal(500, []byte(message)).loading() {
				t.Errorf("%s is waited for", message)
			}
		}
	})
}

// What a server cannot do is asked for in the way that it can.
func TestLLMAsksOtherwise(t *testing.T) {
	for name, tt := range map[string]struct {
		refuses func(request map[string]any) bool
		message string
		want    string
	}{
		"roles": {
			func(request map[string]any) bool {
				return request["messages"].([]any)[0].(map[string]any)["role"] == "system"
			},
			`{"error":{"code":500,"message":"System role not supported","type":"server_error"}}`, "user",
		},
		"streams": {
			func(request map[string]any) bool { return request["stream"] == true },
			`{"error":{"message":"Your organization must be verified to stream this model.","param":"stream","code":"unsupported_value"}}`, "system",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s *modelServer
			s = serveModel(t, func(w http.ResponseWriter, _ *http.Request, n int) {
				if tt.refuses(s.requests()[n-1]) {
					w.WriteHeader(http.StatusBadRequest)
					io.WriteString(w, tt.message)
					return
				}
				io.WriteString(w, `{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}`)
			})
			l := s.llm()
			l.SystemPrompt = "You are a parrot."
			if got := modelReply(t, l, question("1", "hello")); got != "hi" {
				t.Errorf("answer %q", got)
			}
			if lines := s.prompts(t, 2); !strings.HasPrefix(lines[0], tt.want+": You are a parrot.") || !strings.HasSuffix(lines[len(lines)-1], "Alice: hello") {
				t.Errorf("prompt %q", lines)
			}
		})
	}
}

func TestLLMTakesTurns(t *testing.T) {
	s := serveModel(t, saying("hi"))
	l := s.llm()
	l.Memory = &notes{turns: []bridge.Turn{{Author: "Bob", Text: "1"}, {Author: "Eve", Text: "2"}, {Own: true, Text: "3"}, {Own: true, Text: "4"}, {Author: "Bob", Text: "5"}}}
	modelReply(t, l, question("1", "6"))
	if diff := cmp.Diff([]string{"user: Bob: 1\n\nEve: 2", "assistant: 3\n\n4", "user: Bob: 5\n\nAlice: 6"}, s.prompts(t, 1)[1:]); diff != "" {
		t.Errorf("prompt (-want +got):\n%s", diff)
	}
}

// An answer that is not whole says so in the room and in the log.
func TestLLMAnswerIsNotWhole(t *testing.T) {
	for reason, why := range map[string]string{"length": "limit of tokens", "content_filter": "filter"} {
		s := serveModel(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
			stream(w, piece("half"), `data: {"choices":[{"delta":{},"finish_reason":"`+reason+`"}]}`+"\n\n")
		})
		l, sink := s.llm(), &heard{}
		l.Sink = sink
		if got := modelReply(t, l, question("1", "hello")); got != "half […]" {
			t.Errorf("%s: answer %q", reason, got)
		}
		if len(sink.events) != 1 || !strings.Contains(sink.events[0].Title.String(), "is not whole") || !strings.Contains(fmt.Sprint(sink.events[0]), why) {
			t.Errorf("%s: events %v", reason, sink.events)
		}
	}
}

// A server that keeps the stream open after the answer, or breaks it, has answered.
func TestLLMAnswerIsThere(t *testing.T) {
	const stop = `data: {"choices":[{"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	for name, ends := range map[string]func(r *http.Request){
		"stays open": func(r *http.Request) { <-r.Context().Done() },
		"breaks":     func(*http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			s := serveModel(t, func(w http.ResponseWriter, r *http.Request, _ int) {
				stream(w, piece("hi"), stop)
				ends(r)
			})
			l := s.llm()
			l.Stall = 20 * time.Millisecond
			if got := modelReply(t, l, question("1", "hello")); got != "hi" {
				t.Errorf("answer %q", got)
			}
		})
	}
}

// An address that ends in /api, or in an endpoint, stands for that of the server.
func TestLLMAddresses(t *testing.T) {
	for _, tt := range []struct {
		base   string
		serves string // where it is
		want   []string
	}{
		{"/api", "/v1", []string{"/v1/chat/completions"}},
		{"/api/", "/v1", []string{"/v1/chat/completions"}},
		{"/ollama/api/chat", "/ollama/v1", []string{"/ollama/v1/chat/completions"}},
		{"/api", "/api", []string{"/v1/chat/completions", "/api/chat/completions"}}, // Open WebUI
		{"/v1/chat/completions", "/v1", []string{"/v1/chat/completions"}},
		{"/api/v1", "/api/v1", []string{"/api/v1/chat/completions"}},
	} {
		var paths []string
		mux := http.NewServeMux()
		mux.HandleFunc("POST "+tt.serves+"/chat/completions", func(w http.ResponseWriter, _ *http.Request) { stream(w, piece("hi"), lastPiece) })
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			paths = append(paths, r.URL.Path)
			mux.ServeHTTP(w, r)
		}))
		l := LLM{BaseURL: s.URL + tt.base, Model: "m", Temperature: -1}
		if got := modelReply(t, l, question("1", "hello")); got != "hi" {
			t.Errorf("%s: answer %q", tt.base, got)
		}
		if diff := cmp.Diff(tt.want, paths); diff != "" {
			t.Errorf("%s: asked (-want +got):\n%s", tt.base, diff)
		}
		s.Close()
	}
}
