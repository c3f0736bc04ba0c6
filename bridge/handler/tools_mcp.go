package handler

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"perch/bridge"
	"perch/bridge/config"
	"perch/bridge/neterr"
)

const (
	// mcpIdle is how long an MCP server is kept that nobody needs.
	mcpIdle = 5 * time.Minute
	// mcpConnect is how long a server may take to be there and to tell its tools.
	mcpConnect = 30 * time.Second
)

// mcpServer is an MCP server: a program that is started when it is needed, or an
// address. It is kept for the messages to come, until it is idle.
type mcpServer struct {
	tool config.Tool
	box  *Toolbox

	mu      sync.Mutex
	session *mcp.ClientSession
	end     func() // ends the program of session
	using   int
	closed  bool
	idle    *time.Timer
}

// open returns the server's tools. release must be called, unless there is an error.
func (s *mcpServer) open(ctx context.Context) ([]tool, error) {
	ctx, cancel := context.WithTimeout(ctx, mcpConnect)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle != nil {
		s.idle.Stop()
	}
	fresh := s.session == nil
	tools, err := s.list(ctx)
	if err != nil && !fresh && ctx.Err() == nil { // it ended meanwhile
		tools, err = s.list(ctx)
	}
	if err != nil {
		return nil, err
	}
	s.using++
	return tools, nil
}

// list connects if need be, and asks for the tools. After an error there is no
// connection. It needs s.mu.
func (s *mcpServer) list(ctx context.Context) (tools []tool, err error) {
	if s.session == nil {
		if s.session, s.end, err = s.connect(ctx); err != nil {
			return nil, s.explain(ctx, err)
		}
	}
	for t, err := range s.session.Tools(ctx, nil) {
		if err != nil {
			s.drop()
			return nil, s.explain(ctx, err)
		}
		tools = append(tools, s.offered(t))
		if len(tools) == maxOffered {
			break
		}
	}
	return tools, nil
}

// offered returns a tool of the server under a name that models can say.
func (s *mcpServer) offered(t *mcp.Tool) tool {
	name := clip(s.tool.Name+"_"+regexp.MustCompile(`[^a-zA-Z0-9_-]`).ReplaceAllString(t.Name, "_"), 64)
	schema := t.InputSchema
	if schema == nil {
		schema = json.RawMessage(config.AnyObject)
	}
	return tool{name: name, confirm: s.tool.Confirm, about: clip(t.Description, maxQuoted), schema: schema, call: func(ctx context.Context, _ bridge.Message, arguments json.RawMessage) (string, error) {
		return s.use(ctx, t.Name, arguments)
	}}
}

func (s *mcpServer) use(ctx context.Context, name string, arguments json.RawMessage) (string, error) {
	s.mu.Lock()
	session := s.session
	s.mu.Unlock()
	if session == nil {
		return "", s.explain(ctx, mcp.ErrConnectionClosed)
	}
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: name, Arguments: arguments})
	if err != nil {
		return "", s.explain(ctx, err)
	}
	var said []string
	for _, c := range result.Content {
		switch c := c.(type) {
		case *mcp.TextContent:
			said = append(said, c.Text)
		case *mcp.ResourceLink:
			said = append(said, c.URI)
		default:
			said = append(said, "[something that is no text]")
		}
	}
	if len(said) == 0 && result.StructuredContent != nil {
		data, err := json.Marshal(result.StructuredContent)
		if err != nil {
			return "", s.explain(ctx, err)
		}
		said = append(said, string(data))
	}
	text := clip(strings.Join(said, "\n"), maxResult+1)
	if result.IsError {
		return "", &bridge.Error{Code: bridge.CodeInternal, Text: bridge.Say("%s", start([]byte(text)))}
	}
	return text, nil
}

// release says that a message is answered.
func (s *mcpServer) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.using--
	switch {
	case s.using > 0:
	case s.closed:
		s.drop()
	default:
		s.idle = time.AfterFunc(mcpIdle, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.using == 0 {
				s.drop()
			}
		})
	}
}

func (s *mcpServer) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.idle != nil {
		s.idle.Stop()
	}
	if s.using == 0 {
		s.drop()
	}
}

// drop ends the connection, and the program. It needs s.mu.
func (s *mcpServer) drop() {
	if s.session == nil {
		return
	}
	_ = s.session.Close() // whatever it says: it is over
	s.end()
	s.session = nil
}

func (s *mcpServer) connect(ctx context.Context) (*mcp.ClientSession, func(), error) {
	transport, end, err := s.transport()
	if err != nil {
		return nil, nil, err
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "Perch", Version: s.box.Version}, &mcp.ClientOptions{Capabilities: &mcp.ClientCapabilities{}})
	session, err := client.Connect(ctx, transport, nil)
	if err != nil {
		end()
		return nil, nil, err
	}
	return session, end, nil
}

// transport returns the way to the server, and what ends it.
func (s *mcpServer) transport() (mcp.Transport, func(), error) {
	if s.tool.URL == "" {
		return s.start()
	}
	e, err := s.box.endpoint(s.tool)
	if err != nil {
		return nil, nil, err
	}
	transport := &http.Transport{
		DialContext:     (&net.Dialer{Timeout: connectTimeout}).DialContext,
		TLSClientConfig: e.tls, TLSHandshakeTimeout: connectTimeout, MaxResponseHeaderBytes: 64 << 10,
	}
	neterr.ThroughProxy(transport)
	client := &http.Client{Transport: transport, CheckRedirect: mayFollow}
	return &mcp.StreamableClientTransport{
		Endpoint: e.url.String(), HTTPClient: client, MaxRetries: -1, DisableStandaloneSSE: true, MaxEventSize: maxEvent,
	}, transport.CloseIdleConnections, nil
}

// start starts the server's program. What it prints on standard error is not
// read.
func (s *mcpServer) start() (_ mcp.Transport, end func(), err error) {
	e := s.box.program(s.tool)
	path, err := e.program()
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(e.Dir, 0o700); err != nil {
		return nil, nil, noFolder(e.Dir, err)
	}
	temp, err := newTemp(e.Temp)
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(path, e.Command[1:]...) //nolint:noctx // it outlives the message that it is started for
	cmd.Dir, cmd.Env, cmd.WaitDelay = e.Dir, environment(temp), exitGrace
	family, err := newFamily(cmd, temp)
	if err != nil {
		return nil, nil, errors.Join(notStarted(path, err), os.RemoveAll(temp))
	}
	in, err := cmd.StdinPipe()
	var out io.ReadCloser
	if err == nil {
		out, err = cmd.StdoutPipe()
	}
	if err == nil {
		err = e.Running.start(family)
	}
	if err == nil {
		if err = family.adopt(); err != nil {
			family.kill()
			_ = cmd.Wait()
		}
	}
	if err != nil {
		family.end()
		e.Running.forget(family)
		return nil, nil, errors.Join(notStarted(path, err), os.RemoveAll(temp))
	}
	gone := make(chan struct{})
	go func() { // until the program has ended, which end sees to
		_ = cmd.Wait()
		close(gone)
	}()
	return &mcp.IOTransport{Reader: out, Writer: in, MaxLineLength: maxEvent}, func() {
		_ = in.Close()
		_ = family.ask()
		select {
		case <-gone:
		case <-time.After(exitGrace):
		}
		family.end()
		<-gone
		e.Running.forget(family)
		_ = os.RemoveAll(temp) // else the next start does it
	}, nil
}

// explain returns what an error of the server means.
func (s *mcpServer) explain(ctx context.Context, err error) error {
	if known, ok := errors.AsType[*bridge.Error](err); ok {
		return known
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
		return &bridge.Error{Code: bridge.CodeUnavailable, Text: bridge.Say("The MCP server %s did not answer in time", s.tool.Name), Cause: err}
	}
	return &bridge.Error{
		Code: bridge.CodeUnavailable, Text: bridge.Say("The MCP server %s does not answer as one", s.tool.Name),
		Hint: bridge.Say("Does what runs there speak MCP: a program by its standard input and output, an address by Streamable HTTP?"), Cause: err,
	}
}
