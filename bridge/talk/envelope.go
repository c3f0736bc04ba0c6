package talk

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"net/http"
	"strconv"
	"strings"
)

// ocs is the envelope of the Open Collaboration Services API: what a server says of a
// request, whatever the status of HTTP says.
type ocs struct {
	failed bool
	status int             // as HTTP numbers it
	data   json.RawMessage // what was asked for
}

// readOCS finds the envelope in the body of an answer, in JSON or in XML, also
// behind a byte order mark, a warning of PHP or a whole page, and before anything
// else. It reports false if there is none.
func readOCS(body []byte) (ocs, bool) {
	var meta struct {
		Status string `json:"status"`
		Code   scalar `json:"statuscode"`
	}
	o := ocs{}
	if raw := within(body, "ocs"); raw != nil {
		var e struct {
			OCS *struct {
				Meta json.RawMessage `json:"meta"`
				Data json.RawMessage `json:"data"`
			} `json:"ocs"`
		}
		if json.Unmarshal(raw, &e) != nil || e.OCS == nil {
			return o, false
		}
		_ = json.Unmarshal(e.OCS.Meta, &meta) // what is not there is no failure
		o.data = e.OCS.Data
	} else {
		start := bytes.Index(body, []byte("<ocs>"))
		if start < 0 {
			return o, false
		}
		d := xml.NewDecoder(bytes.NewReader(body[start:]))
		_, err := d.Token()
		if err != nil {
			return o, false
		}
		parts, err := xmlValue(d, 0)
		fields, _ := parts.(map[string]any)
		about, ok := fields["meta"].(map[string]any)
		if err != nil || !ok {
			return o, false
		}
		meta.Status, _ = about["status"].(string)
		code, _ := about["statuscode"].(string)
		meta.Code = scalar(code)
		if o.data, err = json.Marshal(fields["data"]); err != nil {
			return o, false
		}
	}
	code, _ := strconv.Atoi(string(meta.Code))
	o.failed = strings.EqualFold(meta.Status, "failure") || code >= 300
	switch {
	case code == 997:
		o.status = http.StatusUnauthorized
	case code == 998:
		o.status = http.StatusNotFound
	case code >= 400 && code < 600:
		o.status = code
	case code >= 900:
		o.status = http.StatusInternalServerError
	case o.failed:
		o.status = http.StatusBadRequest
	default:
		o.status = http.StatusOK
	}
	return o, true
}

// within returns text if it is JSON, but for a byte order mark, or else the first
// JSON object in it that begins with a key; nil if there is none.
func within(text []byte, key string) json.RawMessage {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if json.Valid(text) {
		return text
	}
	const most = 16 // that begin so, and are none
	quoted := []byte(strconv.Quote(key))
	for range most {
		i := bytes.Index(text, quoted)
		if i < 0 {
			return nil
		}
		if start := bytes.TrimRight(text[:i], " \t\r\n"); bytes.HasSuffix(start, []byte("{")) {
			var raw json.RawMessage
			if json.NewDecoder(bytes.NewReader(text[len(start)-1:])).Decode(&raw) == nil {
				return raw
			}
		}
		text = text[i+len(quoted):]
	}
	return nil
}

// xmlValue reads the content of an element up to its end, as Nextcloud writes a
// value of JSON: a list has elements named element, an object others, and what
// has none is a string, or nothing.
func xmlValue(d *xml.Decoder, depth int) (any, error) {
	const deepest = 50
	if depth > deepest {
		return nil, errors.New("XML too deep")
	}
	var (
		text   []byte
		list   []any
		object map[string]any
	)
	for {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			value, err := xmlValue(d, depth+1)
			switch {
			case err != nil:
				return nil, err
			case token.Name.Local == "element":
				list = append(list, value)
			default:
				if object == nil {
					object = map[string]any{}
				}
				object[token.Name.Local] = value
			}
		case xml.CharData:
			text = append(text, token...)
		case xml.EndElement:
			switch {
			case object != nil:
				return object, nil
			case list != nil:
				return list, nil
			case len(text) == 0:
				return nil, nil
			}
			return string(text), nil
		}
	}
}
