package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"

	"perch/bridge"
)

// salvage reads what a damaged file still holds, page by page, without the parts
// of it that lead from one page to another: whatever else is broken, the rows of
// a whole page are found. See https://sqlite.org/fileformat.html.
type salvage struct {
	size   int              // of a page
	usable int              // bytes of it
	pages  func(int) []byte // by number, from 1; nil: it cannot be read
	count  int              // of pages
	free   map[int]bool     // pages that are not in use
	rows   map[shape]rowsOf // what was found
	broken int              // pages that hold nothing that can be read
}

// rowsOf are rows by their ids.
type rowsOf map[int64][]any

// shape is a table, as its rows are recognised.
type shape int

const (
	noShape shape = iota
	inboxShape
	outboxShape
	exchangeShape
)

// maxSalvage bounds the payload of one row.
const maxSalvage = 64 << 20

// readDamaged reads the rows of a damaged journal and its write-ahead log.
func readDamaged(path string) (*salvage, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	header := make([]byte, 100)
	_, _ = file.ReadAt(header, 0) // what is missing is zero
	s := &salvage{size: 4096, rows: map[shape]rowsOf{inboxShape: {}, outboxShape: {}, exchangeShape: {}}}
	if size := int(binary.BigEndian.Uint16(header[16:])); bytes.HasPrefix(header, []byte("SQLite format 3\x00")) && size >= 512 && size&(size-1) == 0 {
		s.size = size
	}
	s.usable = s.size
	if reserved := int(header[20]); reserved < s.size-480 {
		s.usable -= reserved
	}
	logged := readLog(path+"-wal", s.size)
	s.count = int(info.Size() / int64(s.size))
	for n := range logged {
		s.count = max(s.count, n)
	}
	s.pages = func(n int) []byte {
		if n < 1 || n > s.count {
			return nil
		}
		if page, ok := logged[n]; ok {
			return page
		}
		page := make([]byte, s.size)
		if k, err := file.ReadAt(page, int64(n-1)*int64(s.size)); err != nil && (!errors.Is(err, io.EOF) || k == 0) {
			return nil
		}
		return page
	}
	s.findFree()
	for n := 1; n <= s.count; n++ {
		if !s.free[n] {
			s.readPage(n)
		}
	}
	return s, nil
}

// readLog returns the pages that a write-ahead log holds, as its last complete
// transaction left them.
func readLog(path string, size int) map[int][]byte {
	data, err := os.ReadFile(path)
	if err != nil || len(data) < 32 {
		return nil
	}
	whole, open := map[int][]byte{}, map[int][]byte{}
	salts := data[16:24]
	for data = data[32:]; len(data) >= 24+size; data = data[24+size:] {
		if !bytes.Equal(data[8:16], salts) {
			break // of an earlier round
		}
		open[int(binary.BigEndian.Uint32(data))] = data[24 : 24+size]
		if binary.BigEndian.Uint32(data[4:]) != 0 { // the end of a transaction
			maps.Copy(whole, open)
			clear(open)
		}
	}
	return whole
}

// findFree notes the pages that the file itself says are not in use: they can
// hold rows as they were long ago.
func (s *salvage) findFree() {
	s.free = map[int]bool{}
	first := s.pages(1)
	if first == nil || !bytes.HasPrefix(first, []byte("SQLite format 3\x00")) {
		return
	}
	for trunk := int(binary.BigEndian.Uint32(first[32:])); trunk > 1 && trunk <= s.count && !s.free[trunk]; {
		s.free[trunk] = true
		page := s.pages(trunk)
		if page == nil {
			return
		}
		leaves := int(binary.BigEndian.Uint32(page[4:]))
		if leaves > s.usable/4-2 {
			return
		}
		for i := range leaves {
			s.free[int(binary.BigEndian.Uint32(page[8+4*i:]))] = true
		}
		trunk = int(binary.BigEndian.Uint32(page))
	}
}

// leafOfTable is the type of the pages that hold the rows of a table.
const leafOfTable = 0x0d

func (s *salvage) readPage(n int) {
	page := s.pages(n)
	at := 0
	if n == 1 {
		at = 100
	}
	if page == nil || !plausible(page[at], n == 1) {
		s.broken++
		return
	}
	if page[at] != leafOfTable {
		return
	}
	cells := int(binary.BigEndian.Uint16(page[at+3:]))
	if at+8+2*cells > s.usable {
		s.broken++
		return
	}
	for i := range cells {
		s.readCell(page[:s.usable], int(binary.BigEndian.Uint16(page[at+8+2*i:])))
	}
}

// plausible reports whether a page can begin with this byte. Pages that another
// page leads to begin with a number, which is small.
func plausible(kind byte, first bool) bool {
	switch kind {
	case 0x02, 0x05, 0x0a, leafOfTable:
		return true
	default:
		return kind == 0 && !first
	}
}

// readCell reads a row and keeps it, if it is of a table that matters.
func (s *salvage) readCell(page []byte, at int) {
	if at < 8 || at >= len(page) {
		return
	}
	rest := page[at:]
	size, k := uvarint(rest)
	if k == 0 || size > maxSalvage {
		return
	}
	rest = rest[k:]
	id, k := uvarint(rest)
	if k == 0 {
		return
	}
	payload := s.payload(rest[k:], int(size))
	if payload == nil {
		return
	}
	row := record(payload)
	of := shapeOf(row)
	if of == noShape {
		return
	}
	key := int64(id) //nolint:gosec // 64 bits, whatever their sign
	if old, ok := s.rows[of][key]; ok && isFinal(of, old) {
		return // what was done is not done again
	}
	s.rows[of][key] = row
}

// payload returns what a cell holds, with what stands on other pages; nil if
// that cannot be read.
func (s *salvage) payload(local []byte, size int) []byte {
	most := s.usable - 35
	if size <= most {
		if size > len(local) {
			return nil
		}
		return local[:size]
	}
	least := (s.usable-12)*32/255 - 23
	here := least + (size-least)%(s.usable-4)
	if here > most {
		here = least
	}
	if here+4 > len(local) {
		return nil
	}
	all := append(make([]byte, 0, size), local[:here]...)
	next := int(binary.BigEndian.Uint32(local[here:]))
	for len(all) < size {
		page := s.pages(next)
		if next < 2 || page == nil {
			return nil
		}
		all = append(all, page[4:min(s.usable, 4+size-len(all))]...)
		next = int(binary.BigEndian.Uint32(page))
	}
	return all
}

// record returns the values of a row; nil if it is none.
func record(payload []byte) []any {
	headerSize, k := uvarint(payload)
	if k == 0 || headerSize > uint64(len(payload)) {
		return nil
	}
	header, body := payload[k:headerSize], payload[headerSize:]
	var row []any
	for len(header) > 0 {
		kind, k := uvarint(header)
		if k == 0 {
			return nil
		}
		header = header[k:]
		var n int
		switch {
		case kind <= 4:
			n = int(kind)
		case kind == 5:
			n = 6
		case kind == 6, kind == 7:
			n = 8
		case kind >= 12 && kind < maxSalvage:
			n = int(kind-12) / 2
		}
		if n > len(body) {
			return nil
		}
		cell := body[:n]
		body = body[n:]
		switch {
		case kind == 0:
			row = append(row, nil)
		case kind == 7:
			row = append(row, math.Float64frombits(binary.BigEndian.Uint64(cell)))
		case kind <= 6:
			var v int64
			for i, b := range cell {
				if i == 0 {
					v = int64(int8(b)) //nolint:gosec // the sign
				} else {
					v = v<<8 | int64(b)
				}
			}
			row = append(row, v)
		case kind == 8, kind == 9:
			row = append(row, int64(kind-8))
		case kind%2 == 0:
			row = append(row, cell)
		default:
			row = append(row, string(cell))
		}
	}
	return row
}

// uvarint reads a number as SQLite writes it, and how many bytes it takes; 0 if
// it is cut off.
func uvarint(b []byte) (v uint64, n int) {
	for i := range min(9, len(b)) {
		if i == 8 {
			return v<<8 | uint64(b[i]), 9
		}
		v = v<<7 | uint64(b[i]&0x7f)
		if b[i] < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

// shapeOf recognises a row by the types of its values.
func shapeOf(row []any) shape {
	is := func(types string) bool {
		if len(row) < len(types) {
			return false
		}
		for i, want := range types {
			switch row[i].(type) {
			case nil:
				if want != '-' && want != 'I' && want != 'B' {
					return false
				}
			case int64:
				if want != 'i' && want != 'I' {
					return false
				}
			case string:
				if want != 's' {
					return false
				}
			case []byte:
				if want != 'B' {
					return false
				}
			default:
				return false
			}
		}
		return true
	}
	switch { // i: a number, I: or NULL, s: a text, B: bytes or NULL, -: NULL
	case is("-issIiiB"):
		return inboxShape
	case is("-IsiiiiiB"):
		return outboxShape
	case is("-ssssisi"):
		return exchangeShape
	default:
		return noShape
	}
}

// isFinal reports whether a message is handled, or a reply sent or given up.
func isFinal(of shape, row []any) bool {
	switch of {
	case inboxShape:
		return row[6] != int64(messageWaiting)
	case outboxShape:
		return row[7] != int64(replyWaiting)
	default:
		return true
	}
}

// saved is how much of a damaged file was carried over.
type saved struct {
	messages, replies int // that wait
	broken            int // pages that could not be read
}

// restore writes what was found into a new file.
func (s *salvage) restore(ctx context.Context, db *database) (saved, error) {
	n := saved{broken: s.broken}
	at := func(row []any, i int) any {
		if i < len(row) {
			return row[i]
		}
		return nil
	}
	for id, row := range s.rows[inboxShape] {
		digest, ended, failure := at(row, 8), at(row, 9), at(row, 10)
		if _, old := digest.(string); old { // of a version that had the cause there
			digest = nil
		}
		body, _ := row[7].([]byte)
		if row[6] == int64(messageWaiting) && !json.Valid(body) {
			row[6] = int64(messageUnreadable)
		}
		if _, _, err := db.exec(ctx, `INSERT OR IGNORE INTO inbox (id, server, room, message, nonce, received, state, body, digest, ended, failure)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, id, row[1], row[2], row[3], row[4], row[5], row[6], row[7], digest, ended, failure); err != nil {
			return n, err
		}
		if row[6] == int64(messageWaiting) {
			n.messages++
		}
	}
	for id, row := range s.rows[outboxShape] {
		sending, ended, form, failure, tried := at(row, 10), at(row, 11), at(row, 12), at(row, 13), at(row, 14)
		if _, old := sending.(string); old || sending == nil {
			sending, ended, form, failure, tried = int64(0), nil, int64(0), nil, nil
		}
		body, _ := row[8].([]byte)
		if row[7] == int64(replyWaiting) && !json.Valid(body) {
			row[7] = int64(replyGivenUp)
		}
		if form == nil {
			form = int64(0)
		}
		if _, _, err := db.exec(ctx, `INSERT OR IGNORE INTO outbox (id, answers, room, queued, due, attempts, unclear, state, reply, message, sending, ended, form, failure, tried)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			id, row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8], at(row, 9), sending, ended, form, failure, tried); err != nil {
			return n, err
		}
		if row[7] == int64(replyWaiting) {
			n.replies++
		}
	}
	for id, row := range s.rows[exchangeShape] {
		if _, _, err := db.exec(ctx, "INSERT OR IGNORE INTO exchange VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			id, row[1], row[2], row[3], row[4], row[5], row[6], row[7]); err != nil {
			return n, err
		}
	}
	// The servers are known by their messages, if not by themselves.
	servers := map[int64]string{}
	for _, row := range s.rows[inboxShape] {
		id, _ := row[1].(int64)
		body, _ := row[7].([]byte)
		var m bridge.Message
		if servers[id] == "" && json.Unmarshal(body, &m) == nil {
			servers[id] = m.Key.Server
		}
	}
	for id, url := range servers {
		if url == "" {
			continue
		}
		if _, _, err := db.exec(ctx, "INSERT OR IGNORE INTO server VALUES (?, ?)", id, url); err != nil {
			return n, err
		}
	}
	return n, nil
}

// copySmall copies the tables that are not worth reading page by page, as far as
// SQLite can read them.
func copySmall(ctx context.Context, db *database, path string) {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return
	}
	if _, _, err := db.exec(ctx, "ATTACH ? AS old", path); err != nil {
		return
	}
	for _, table := range []string{"server", "meta", "seen", "room", "event"} {
		_ = db.script(ctx, "INSERT OR IGNORE INTO main."+table+" SELECT * FROM old."+table) // all of it or nothing
	}
	_ = db.script(ctx, "DETACH old")
}
