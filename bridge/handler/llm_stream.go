package handler

import (
	"bufio"
	"errors"
	"io"
	"strings"
)

// maxEvent bounds an event of a stream, in bytes.
const maxEvent = 4 << 20

// event is one of a stream of server-sent events.
type event struct{ name, data string }

// events reads server-sent events as model servers send them: the lines end with
// LF, CR or both, and JSON can stand there without the name of a field.
type events struct {
	r      *bufio.Reader
	wasCR  bool // the line before ended with CR: an LF that follows belongs to it
	budget int  // of the event that is read, in bytes
}

// next returns the next event that says something; io.EOF: there is none.
func (s *events) next() (event, error) {
	s.budget = maxEvent
	var e event
	var data []string
	bare := false // lines of JSON, until an empty one
	for {
		line, err := s.line()
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return event{}, err
		case line == "" && (len(data) > 0 || isError(e.name)):
			e.data = strings.Join(data, "\n")
			return e, nil
		case err != nil:
			return event{}, err
		case line == "":
			e = event{}
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch bare = bare || line[0] == '{'; {
		case bare:
			data = append(data, line)
		case name == "data":
			for strings.HasPrefix(value, "data:") { // two servers in a row
				value = strings.TrimSpace(value[len("data:"):])
			}
			data = append(data, value)
		case name == "event":
			e.name = value
		case name == "error": // llama.cpp
			e.name = name
			data = append(data, value)
		}
	}
}

// line returns the next line, without white space around it. At the end of the
// stream it is empty, with io.EOF.
func (s *events) line() (string, error) {
	var line []byte
	for {
		c, err := s.r.ReadByte()
		if err != nil {
			if errors.Is(err, io.EOF) && len(line) > 0 {
				err = nil
			}
			return strings.TrimSpace(string(line)), err
		}
		follows := s.wasCR
		s.wasCR = c == '\r'
		switch {
		case c == '\n' && follows:
		case c == '\n', c == '\r':
			return strings.TrimSpace(string(line)), nil
		case s.budget == 0:
			return "", errTooLong
		default:
			s.budget--
			line = append(line, c)
		}
	}
}

func isError(name string) bool { return strings.Contains(strings.ToLower(name), "error") }
