package handler

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"perch/bridge"
	"perch/bridge/config"
)

const (
	// maxCalls is how many tools are called for one message.
	maxCalls = 10
	// maxArguments bounds what a model gives a tool, and maxResult what it is told
	// of the result, in bytes.
	maxArguments = 16 << 10
	maxResult    = 32 << 10
	// maxOffered bounds the tools that a model is offered.
	maxOffered = 128
)

// Toolbox is what a model can use for an answer: programs, web hooks, and the
// tools of MCP servers. What a model gives a tool is JSON for its standard input
// or the body of a request, and never part of a command line. It is safe for
// concurrent use, and made by NewToolbox.
type Toolbox struct {
	Tools     []config.Tool
	Base      string         // the folder that a relative path of a program counts from
	Dir       string         // the working folder of programs; made if missing
	Temp      string         // where folders for what programs write are made and removed; see CleanTemp
	Running   *Programs      // has programs while they run; may be nil
	RootCAs   *x509.CertPool // nil: the system's
	UserAgent string         // empty: Perch
	Sink      bridge.EventSink
	Version   string

	servers []*mcpServer // by the tool's number; nil: it is none
}

// NewToolbox returns b, ready to be used. Close must be called.
func NewToolbox(b Toolbox) *Toolbox {
	for _, t := range b.Tools {
		var s *mcpServer
		if t.MCP {
			s = &mcpServer{tool: t, box: &b}
		}
		b.servers = append(b.servers, s)
	}
	return &b
}

// Close ends the connections to MCP servers as soon as no message needs them. It
// does not wait.
func (b *Toolbox) Close() {
	for _, s := range b.servers {
		if s != nil {
			s.close()
		}
	}
}

// tool is one that a model is offered.
type tool struct {
	name, about string
	schema      any // of its arguments, as JSON
	check       *jsonschema.Resolved
	confirm     bool // who asked has to agree first
	call        func(ctx context.Context, m bridge.Message, arguments json.RawMessage) (string, error)
}

// MarshalJSON returns t as model servers take it.
func (t tool) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{
		"type": "function", "function": map[string]any{"name": t.name, "description": t.about, "parameters": t.schema},
	})
}

// open returns what the model is offered for the answer to m. release must be
// called when the answer is there. A server that cannot be asked is left out.
func (b *Toolbox) open(ctx context.Context, m bridge.Message) (tools []tool, release func()) {
	var used []*mcpServer
	for i, t := range b.Tools {
		if s := b.servers[i]; s != nil {
			offered, err := s.open(ctx)
			if err != nil {
				b.tell(m, bridge.Event{Kind: bridge.EventTool, Title: bridge.Say("The tools of %s cannot be used", t.Name)}, err)
				continue
			}
			used, tools = append(used, s), append(tools, offered...)
			continue
		}
		one := tool{name: t.Name, confirm: t.Confirm, about: t.About, schema: json.RawMessage(t.SchemaOrAny())}
		one.check, _ = config.ResolveSchema(t.Schema) // it was checked
		if t.URL != "" {
			one.call = func(ctx context.Context, m bridge.Message, arguments json.RawMessage) (string, error) {
				return b.post(ctx, t, m, arguments)
			}
		} else {
			one.call = func(ctx context.Context, m bridge.Message, arguments json.RawMessage) (string, error) {
				return b.run(ctx, t, m, arguments)
			}
		}
		tools = append(tools, one)
	}
	return tools[:min(len(tools), maxOffered)], sync.OnceFunc(func() {
		for _, s := range used {
			s.release()
		}
	})
}

const (
	agreed   = "👍"
	declined = "👎"
	// maxConfirmed bounds the arguments that a person is asked to agree to, in bytes:
	// all of them are shown. maxQuestions bounds how often one is asked at once.
	maxConfirmed = 1000
	maxQuestions = 3
)

// call is what a model wants of a tool.
type call struct {
	ID        string
	Name      string
	Arguments string // JSON
}

// use calls a tool for the answer to m, and returns what the model is told. Where
// a person has to agree first, nothing is called, and asked is what they agree to.
func (b *Toolbox) use(ctx context.Context, m bridge.Message, tools []tool, c call, agreed bool) (said string, asked *bridge.Proposal) {
	began := time.Now()
	t, arguments, err := b.choose(tools, c)
	if err == nil && t.confirm && !agreed {
		if len(arguments) <= maxConfirmed {
			return "The person is asked whether you may do that, below your answer. It is not done yet. Do not call it again; end your answer.",
				&bridge.Proposal{Tool: t.name, Arguments: string(arguments), Asker: m.Author}
		}
		err = &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("Its arguments are too long to be shown to who has to agree: more than %s bytes", strconv.Itoa(maxConfirmed))}
	}
	var result string
	if err == nil {
		result, err = t.call(ctx, m, arguments)
	}
	e := bridge.Event{Kind: bridge.EventTool, Text: clip(c.Arguments, maxSaid), Duration: time.Since(began)}
	if err != nil {
		e.Title = bridge.Say("The tool %s failed", strconv.Quote(clip(c.Name, maxName)))
		b.tell(m, e, err)
		return "Error: " + bridge.TextOf(err).String(), nil
	}
	e.Title = bridge.Say("The model used the tool %s", strconv.Quote(c.Name))
	b.tell(m, e, nil)
	if len(result) > maxResult {
		result = clip(result, maxResult) + " […]"
	}
	if strings.TrimSpace(result) == "" {
		return "Done.", nil
	}
	return result, nil
}

// proposal returns what a person is asked, with all that they agree to.
func proposal(c *bridge.Proposal) bridge.Reply {
	shown := strings.ReplaceAll(c.Arguments, "`", `\u0060`) // as JSON has it: nothing ends the code
	return bridge.Reply{
		Text:    "May I use **" + c.Tool + "** with this? React with " + agreed + " or " + declined + ".\n```json\n" + shown + "\n```",
		Choices: []string{agreed, declined}, Call: c,
	}
}

// choose returns the tool that a model wants, and its arguments, checked.
func (b *Toolbox) choose(tools []tool, c call) (tool, json.RawMessage, error) {
	for _, t := range tools {
		if t.name != c.Name {
			continue
		}
		arguments := json.RawMessage(strings.TrimSpace(c.Arguments))
		if len(arguments) == 0 || string(arguments) == "null" {
			arguments = json.RawMessage("{}")
		}
		var object map[string]any
		switch err := json.Unmarshal(arguments, &object); {
		case len(arguments) > maxArguments:
			return t, nil, &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("Its arguments have more than %s bytes", strconv.Itoa(maxArguments))}
		case err != nil:
			return t, nil, &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("Its arguments are no JSON object"), Cause: err}
		}
		if t.check != nil {
			if err := t.check.Validate(object); err != nil {
				return t, nil, &bridge.Error{Code: bridge.CodeInvalid, Text: bridge.Say("Its arguments are not as its schema says: %s", start([]byte(err.Error()))), Cause: err}
			}
		}
		return t, arguments, nil
	}
	return tool{}, nil, &bridge.Error{Code: bridge.CodeNotFound, Text: bridge.Say("There is no tool of that name")}
}

// tell writes a use of a tool to the log.
func (b *Toolbox) tell(m bridge.Message, e bridge.Event, err error) {
	if b.Sink == nil {
		return
	}
	e.Stage, e.Room, e.Actor, e.MessageID, e.Time = bridge.StageHandler, m.Room, m.Author, m.Key.ID, time.Now()
	if err != nil {
		e = e.Failed(err)
		e.Level = slog.LevelWarn
	}
	b.Sink.Publish(e)
}

// order is what a program or a web hook is told, as JSON.
type order struct {
	Version   int             `json:"version"`
	Tool      string          `json:"tool"`
	Arguments json.RawMessage `json:"arguments"`
	ID        string          `json:"id"` // of the message that is answered
	Room      Room            `json:"room"`
	Author    Author          `json:"author"`
}

func newOrder(t config.Tool, m bridge.Message, arguments json.RawMessage) []byte {
	d := NewDocument(m)
	body, _ := json.Marshal(order{documentVersion, t.Name, arguments, d.ID, d.Room, d.Author}) // arguments are JSON
	return append(body, '\n')
}

// run has a program do it.
func (b *Toolbox) run(ctx context.Context, t config.Tool, m bridge.Message, arguments json.RawMessage) (string, error) {
	e := b.program(t)
	path, err := e.program()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		return "", noFolder(e.Dir, err)
	}
	temp, err := newTemp(e.Temp)
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	return e.run(ctx, path, temp, newOrder(t, m, arguments))
}

func (b *Toolbox) program(t config.Tool) Exec {
	return Exec{Command: t.Command, Base: b.Base, Dir: b.Dir, Temp: b.Temp, Running: b.Running}
}

// post has a web hook do it.
func (b *Toolbox) post(ctx context.Context, t config.Tool, m bridge.Message, arguments json.RawMessage) (string, error) {
	e, err := b.endpoint(t)
	if err != nil {
		return "", err
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if b.UserAgent != "" {
		header.Set("User-Agent", b.UserAgent)
	}
	a, err := e.post(ctx, header, newOrder(t, m, arguments), maxResult)
	switch {
	case err != nil:
		return "", err
	case a.status/100 != 2:
		return "", e.refused(a)
	case a.err != nil && !errors.Is(a.err, errTooLong):
		return "", e.unreachable(a.err)
	}
	text := strings.ToValidUTF8(string(bytes.TrimSpace(a.body)), "\ufffd")
	if errors.Is(a.err, errTooLong) {
		text += " […]"
	}
	return text, nil
}

func (b *Toolbox) endpoint(t config.Tool) (endpoint, error) {
	e, err := newEndpoint(t.URL, "", b.RootCAs)
	e.table = "[[handler.tool]]"
	return e, err
}

// diagnose looks at each tool, and uses none.
func (b *Toolbox) diagnose(ctx context.Context) error {
	for i, t := range b.Tools {
		var err error
		switch {
		case b.servers[i] != nil:
			_, err = b.servers[i].open(ctx)
			if err == nil {
				b.servers[i].release()
			}
		case t.URL != "":
			var e endpoint
			if e, err = b.endpoint(t); err == nil {
				if r := e.diagnose(ctx, bridge.Text{}); r.Status == bridge.StatusFail {
					err = &bridge.Error{Code: bridge.CodeUnavailable, Text: r.Seen, Hint: r.Fix}
				}
			}
		default:
			_, err = b.program(t).program()
		}
		if err != nil {
			return &bridge.Error{
				Code: bridge.CodeOf(err), Text: bridge.Say("The tool %[1]s cannot be used: %[2]s", t.Name).With(bridge.TextOf(err)), Hint: bridge.HintOf(err), Cause: fmt.Errorf("%s: %w", t.Name, err),
			}
		}
	}
	return nil
}
