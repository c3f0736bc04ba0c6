package practice

import (
	"fmt"
	"strconv"
	"unicode/utf16"
)

// object is a JSON object that keeps the order of its fields.
type object []field

type field struct {
	name  string
	value any
}

type list []any

// raw is JSON as it stands.
type raw string

// array returns o as PHP writes an associative array: an empty one is [].
func (o object) array() any {
	if len(o) == 0 {
		return list{}
	}
	return o
}

// encode writes v as PHP's json_encode does: / as \/, everything outside
// ASCII as \uXXXX and, with hexTags as in OCS answers, < and > as well. It
// takes nil, bool, int, string, list, object and raw.
func encode(v any, hexTags bool) []byte { return appendValue(nil, v, hexTags) }

func appendValue(b []byte, v any, hexTags bool) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int:
		return strconv.AppendInt(b, int64(v), 10)
	case raw:
		return append(b, v...)
	case list:
		b = append(b, '[')
		for i, item := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, item, hexTags)
		}
		return append(b, ']')
	case object:
		b = append(b, '{')
		for i, f := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, f.name, hexTags)
			b = append(b, ':')
			b = appendValue(b, f.value, hexTags)
		}
		return append(b, '}')
	default:
		return appendString(b, fmt.Sprint(v), hexTags)
	}
}

func appendString(b []byte, s string, hexTags bool) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\' || r == '/':
			b = append(b, '\\', byte(r))
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case hexTags && r == '<':
			b = append(b, `\u003C`...)
		case hexTags && r == '>':
			b = append(b, `\u003E`...)
		case r >= 0x20 && r < 0x80:
			b = append(b, byte(r))
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, high, low)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return append(b, '"')
}
