package practice

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Types of actors.
const (
	actorUser  = "users"
	actorGuest = "guests"
	actorBot   = "bots"
)

// actor is who wrote a message.
type actor struct{ kind, id, name string }

// message is a chat message, a system message or a reaction: Talk numbers and
// keeps them all alike.
type message struct {
	id        int
	at        time.Time
	actor     actor
	role      int    // of the actor when it was written
	system    string // name of a system message; "reaction" and "reaction_deleted" are the reactions
	text      string // as written: "@bob"; of system messages with placeholders
	parent    *message
	thread    *thread // that it stands in
	reference string
	silent    bool
	deleted   bool
	edited    *message // the message_edited that tells of it
	objects   object   // rich objects besides the actor and mentions
	file      *file
	reactions []*message
}

// thread is a thread within a room; its id is that of its first message.
type thread struct {
	id    int
	title string
}

// fields returns how the thread of a message is told.
func (t *thread) fields() object {
	if t == nil {
		return nil
	}
	return object{{"threadId", t.id}, {"isThread", true}, {"threadTitle", t.title}}
}

type file struct {
	id, name, etag, mime, link string
	content                    []byte
	voice                      bool   // recorded in Talk
	contact                    string // whose card it is

	path     string          // in the files of who uploaded it; empty: name
	sharedIn map[string]bool // tokens of rooms
}

// store needs s.mu.
func (s *Server) store(r *room, m *message) {
	s.lastMessage++
	m.id, m.at = s.lastMessage, s.now()
	r.messages = append(r.messages, m)
	if surplus := len(r.messages) - keepMessages; surplus > 0 {
		// What a message replies to is known for as long as it is kept itself, but no longer chain.
		for _, m := range r.messages[:surplus] {
			m.parent = nil
		}
		r.messages = slices.Delete(r.messages, 0, surplus)
	}
}

// message returns nil if there is none with that id.
func (r *room) message(id int) *message {
	i, found := slices.BinarySearchFunc(r.messages, id, byID)
	if !found {
		return nil
	}
	return r.messages[i]
}

func byID(m *message, id int) int { return cmp.Compare(m.id, id) }

// Draft is a message to be posted.
type Draft struct {
	Text        string // "@bob", `@"bob"` and "@all" are mentions
	ReplyTo     int    // id of the message that it quotes; 0 for none
	Silent      bool   // nobody is notified
	ReferenceID string
	Thread      int    // id of the thread that it goes into; where it quotes, the quoted one decides
	ThreadTitle string // it begins a thread of this title
}

// Post posts text to a room as who: a user id, or "guests/ID" in a room that
// guests may join. As in Talk it returns when every bot of the room has
// answered its webhook, or its time is up.
func (s *Server) Post(ctx context.Context, token, who, text string) (Result, error) {
	return s.PostDraft(ctx, token, who, Draft{Text: text})
}

// PostDraft is Post for a message that is more than text.
func (s *Server) PostDraft(ctx context.Context, token, who string, d Draft) (Result, error) {
	return s.act(ctx, token, who, func(r *room, p *participant) (int, []hook, error) {
		m, hooks, err := s.post(r, p.actor, p.role, d)
		if err != nil {
			return 0, nil, err
		}
		return m.id, hooks, nil
	})
}

// act is change for a participant, who can also be a new guest.
func (s *Server) act(
	ctx context.Context, token, who string, fn func(*room, *participant) (int, []hook, error),
) (Result, error) {
	return s.change(ctx, token, func(r *room) (int, []hook, error) {
		kind, id, found := strings.Cut(who, "/")
		if !found {
			kind, id = actorUser, who
		}
		p := r.participant(kind, id)
		if p == nil && kind == actorGuest && r.kind == publicRoom && len(r.participants) < keepMessages {
			p = s.join(r, actor{actorGuest, id, ""}, roleGuest)
		}
		if p == nil {
			return 0, nil, errNotInRoom
		}
		return fn(r, p)
	})
}

// post needs s.mu. Bots are not told of what bots write.
func (s *Server) post(r *room, from actor, role int, d Draft) (*message, []hook, error) {
	text := phpTrim(d.Text)
	switch {
	case text == "":
		return nil, nil, errEmpty
	case utf8.RuneCountInString(text) > s.opts.MaxLength:
		return nil, nil, errTooLong
	}
	if r.locked {
		return nil, nil, errNotAllowed
	}
	parent, err := r.parent(d.ReplyTo)
	if err != nil {
		return nil, nil, err
	}
	m := &message{
		actor: from, role: role, text: text, parent: parent, silent: d.Silent,
		reference: phpTrim(d.ReferenceID[:min(len(d.ReferenceID), 64)]),
	}
	if s.opts.Talk23 {
		switch {
		case parent != nil:
			m.thread = parent.thread
		case d.Thread != 0:
			first := r.message(d.Thread)
			if first == nil || first.thread == nil || first.thread.id != d.Thread {
				return nil, nil, errNoThread
			}
			m.thread = first.thread
		}
	}
	s.store(r, m)
	if s.opts.Talk23 && m.thread == nil && d.ThreadTitle != "" {
		m.thread = &thread{m.id, d.ThreadTitle}
	}
	if from.kind == actorBot {
		return m, nil, nil
	}
	r.participant(from.kind, from.id).lastRead = m.id
	return m, s.announce(r, m), nil
}

// parent returns the message that a draft answers; nil if id is 0.
func (r *room) parent(id int) (*message, error) {
	if id == 0 {
		return nil, nil
	}
	m := r.message(id)
	if m == nil || m.system != "" || m.deleted {
		return nil, errNoParent
	}
	return m, nil
}

// announce returns the webhook that tells of a message.
func (s *Server) announce(r *room, m *message) []hook {
	told := s.note(r, m)
	if m.system != "" || len(m.objects) > 0 && !s.opts.Talk23 {
		told.name = m.system
		if m.file != nil && m.file.voice {
			told.name = "file_shared"
		}
		return hookTo(s.enabled(r), FeatureWebhook, activity(told, r))
	}
	told.name, told.role = "message", m.role
	var quoted *note
	if m.parent != nil {
		n := s.note(r, m.parent)
		n.name = "message"
		quoted = &n
	}
	return hookTo(s.enabled(r), FeatureWebhook, creation(told, quoted, r))
}

// note returns m as webhooks tell of it, without name and role.
func (s *Server) note(r *room, m *message) note {
	text, parameters := s.render(r, m, nil)
	return note{actor: m.actor, id: m.id, text: text, parameters: parameters, thread: m.thread}
}

// system stores a system message and returns its webhook.
func (s *Server) system(r *room, m *message) (*message, []hook) {
	s.store(r, m)
	return m, s.announce(r, m)
}

// React adds a reaction, one emoji, to a message. Its ID is that of the
// reaction. Nothing happens if it is there already.
func (s *Server) React(ctx context.Context, token, who string, id int, emoji string) (Result, error) {
	return s.act(ctx, token, who, func(r *room, p *participant) (int, []hook, error) {
		reaction, _, hooks, err := s.react(r, p.actor, id, emoji)
		if err != nil {
			return 0, nil, err
		}
		return reaction.id, hooks, nil
	})
}

// react needs s.mu. fresh is false if the reaction was there.
func (s *Server) react(r *room, by actor, id int, emoji string) (reaction *message, fresh bool, hooks []hook, err error) {
	m := r.message(id)
	switch {
	case m == nil:
		return nil, false, nil, errNoMessage
	case m.system != "" || m.deleted || !emojiPattern.MatchString(emoji):
		return nil, false, nil, errReaction
	}
	if i := m.reaction(by, emoji); i >= 0 {
		return m.reactions[i], false, nil, nil
	}
	if len(m.reactions) >= keepReactions {
		return nil, false, nil, errReaction
	}
	reaction = &message{actor: by, system: "reaction", text: emoji, parent: m}
	s.store(r, reaction)
	m.reactions = append(m.reactions, reaction)
	return reaction, true, hookTo(s.enabled(r), FeatureReaction, like(s.note(r, m), emoji, r)), nil
}

// Unreact takes a reaction away. Its ID is that of the system message.
func (s *Server) Unreact(ctx context.Context, token, who string, id int, emoji string) (Result, error) {
	return s.act(ctx, token, who, func(r *room, p *participant) (int, []hook, error) {
		return s.unreact(r, p.actor, id, emoji)
	})
}

// unreact needs s.mu.
func (s *Server) unreact(r *room, by actor, id int, emoji string) (int, []hook, error) {
	m := r.message(id)
	if m == nil {
		return 0, nil, errNoMessage
	}
	i := m.reaction(by, emoji)
	if i < 0 {
		return 0, nil, errNoMessage
	}
	m.reactions[i].system = "reaction_deleted"
	m.reactions = slices.Delete(m.reactions, i, i+1)
	revoked, hooks := s.system(r, &message{
		actor: by, system: "reaction_revoked", text: "{actor} deleted a reaction", parent: m,
	})
	return revoked.id, append(hooks, hookTo(s.enabled(r), FeatureReaction, undo(s.note(r, m), emoji, r))...), nil
}

// reaction returns the index of a reaction, or -1.
func (m *message) reaction(by actor, emoji string) int {
	return slices.IndexFunc(m.reactions, func(o *message) bool {
		return o.actor.kind == by.kind && o.actor.id == by.id && o.text == emoji
	})
}

// Edit changes the text of a message. Who must have written it or own the
// room. Its ID is that of the system message.
func (s *Server) Edit(ctx context.Context, token, who string, id int, text string) (Result, error) {
	return s.act(ctx, token, who, func(r *room, p *participant) (int, []hook, error) {
		told, hooks, err := s.edit(r, p, id, text)
		if err != nil {
			return 0, nil, err
		}
		return told.id, hooks, nil
	})
}

// editable is how long after it was written a message can be edited.
const editable = 24 * time.Hour

// edit needs s.mu. told is the system message.
func (s *Server) edit(r *room, p *participant, id int, text string) (told *message, hooks []hook, err error) {
	m, err := r.changeable(p, id)
	if err != nil {
		return nil, nil, err
	}
	text = phpTrim(text)
	switch {
	case s.now().Sub(m.at) > editable:
		return nil, nil, errTooOld
	case text == "":
		return nil, nil, errEmpty
	case utf8.RuneCountInString(text) > s.opts.MaxLength:
		return nil, nil, errTooLong
	}
	m.text = text
	told, hooks = s.system(r, &message{
		actor: p.actor, system: "message_edited", text: "{actor} edited a message", parent: m,
	})
	m.edited = told
	return told, hooks, nil
}

// Delete removes the content of a message. Who must have written it or own the
// room. Its ID is that of the system message.
func (s *Server) Delete(ctx context.Context, token, who string, id int) (Result, error) {
	return s.act(ctx, token, who, func(r *room, p *participant) (int, []hook, error) {
		told, hooks, err := s.delete(r, p, id)
		if err != nil {
			return 0, nil, err
		}
		return told.id, hooks, nil
	})
}

// delete needs s.mu. told is the system message.
func (s *Server) delete(r *room, p *participant, id int) (told *message, hooks []hook, err error) {
	m, err := r.changeable(p, id)
	if err != nil {
		return nil, nil, err
	}
	m.deleted, m.text, m.objects, m.file, m.reactions = true, "", nil, nil, nil
	told, hooks = s.system(r, &message{
		actor: p.actor, system: "message_deleted", text: "{actor} deleted a message", parent: m,
	})
	return told, hooks, nil
}

// changeable returns a message that p may edit or delete.
func (r *room) changeable(p *participant, id int) (*message, error) {
	m := r.message(id)
	switch {
	case m == nil || m.system != "":
		return nil, errNoMessage
	case m.deleted:
		return nil, errDeleted
	case p.role != roleOwner && (m.actor.kind != p.kind || m.actor.id != p.id):
		return nil, errNotAllowed
	}
	return m, nil
}

// Rename gives a room another name. Who must own it.
func (s *Server) Rename(ctx context.Context, token, who, name string) (Result, error) {
	return s.govern(ctx, token, who, func(r *room) *message {
		text := `{actor} renamed the conversation from "` + r.name + `" to "` + name + `"`
		r.name = name
		return &message{system: "conversation_renamed", text: text}
	})
}

// AllowGuests lets guests into a room. Who must own it.
func (s *Server) AllowGuests(ctx context.Context, token, who string) (Result, error) {
	return s.govern(ctx, token, who, func(r *room) *message {
		r.kind = publicRoom
		return &message{system: "guests_allowed", text: "{actor} allowed guests"}
	})
}

// Lock makes a room read-only. Who must own it.
func (s *Server) Lock(ctx context.Context, token, who string) (Result, error) {
	return s.govern(ctx, token, who, func(r *room) *message {
		r.locked = true
		return &message{system: "read_only", text: "{actor} locked the conversation"}
	})
}

// Add adds a user, who is made if there is nobody by that id, to a room. Who
// must own it.
func (s *Server) Add(ctx context.Context, token, who, user string) (Result, error) {
	return s.govern(ctx, token, who, func(r *room) *message {
		u := s.addUser(user, "")
		added := actor{actorUser, u.id, u.name}
		if r.participant(actorUser, u.id) == nil {
			s.join(r, added, roleMember)
		}
		return &message{system: "user_added", text: "{actor} added {user}", objects: object{{"user", actorParameter(added)}}}
	})
}

// Leave takes a user out of a room.
func (s *Server) Leave(ctx context.Context, token, who string) (Result, error) {
	return s.act(ctx, token, who, func(r *room, p *participant) (int, []hook, error) {
		r.participants = slices.DeleteFunc(r.participants, func(o *participant) bool { return o == p })
		m, hooks := s.system(r, &message{
			actor: p.actor, system: "user_removed", text: "{actor} left the conversation",
			objects: object{{"user", actorParameter(p.actor)}},
		})
		return m.id, hooks, nil
	})
}

// govern changes a group as its owner.
func (s *Server) govern(ctx context.Context, token, who string, fn func(*room) *message) (Result, error) {
	return s.act(ctx, token, who, func(r *room, p *participant) (int, []hook, error) {
		if p.role != roleOwner || r.kind == oneToOne {
			return 0, nil, errNotAllowed
		}
		m := fn(r)
		m.actor = p.actor
		m, hooks := s.system(r, m)
		return m.id, hooks, nil
	})
}

// File is a file to be shared in a room.
type File struct {
	Name     string
	MIMEType string // FolderType for a folder
	Content  []byte // at most 8 MiB
	Caption  string
	ReplyTo  int    // id of the message that it answers; bots are not told of it
	Voice    bool   // recorded in Talk: if it is MP3 or WAV, it is a voice message
	Contact  string // of a text/vcard: whose it is
}

// FolderType is the MIME type of a folder.
const FolderType = "httpd/unix-directory"

// ShareFile shares a file in a room. In the files of who it stands under its
// name, in those of the others under "Talk/" and its name.
func (s *Server) ShareFile(ctx context.Context, token, who string, f File) (Result, error) {
	if len(f.Content) > maxFile {
		return Result{}, errTooLong
	}
	return s.share(ctx, token, who, Draft{Text: f.Caption, ReplyTo: f.ReplyTo}, func(*room) (object, *file) {
		s.lastFile++
		shared := &file{
			id: strconv.Itoa(s.lastFile), name: s.freeName(f.Name), mime: f.MIMEType, content: slices.Clone(f.Content),
			etag: s.random(32, hexDigits), link: s.backend + "/index.php/s/" + s.random(15, alphanumeric),
			voice:   f.Voice && (f.MIMEType == "audio/mpeg" || f.MIMEType == "audio/wav"),
			contact: f.Contact,
		}
		return object{{"file", nil}}, shared
	})
}

// freeName returns a name that no file has, as Nextcloud does: "a.txt",
// "a (2).txt", … It needs s.mu.
func (s *Server) freeName(name string) string {
	base, ext := name, ""
	if i := strings.LastIndexByte(name, '.'); i > 0 {
		base, ext = name[:i], name[i:]
	}
	for n, free := 2, name; ; n++ {
		if !slices.ContainsFunc(s.rooms, func(r *room) bool {
			return slices.ContainsFunc(r.messages, func(m *message) bool { return m.file != nil && m.file.name == free })
		}) {
			return free
		}
		free = base + " (" + strconv.Itoa(n) + ")" + ext
	}
}

// SharePoll shares a poll in a room.
func (s *Server) SharePoll(ctx context.Context, token, who, question string) (Result, error) {
	return s.share(ctx, token, who, Draft{}, func(*room) (object, *file) {
		s.lastPoll++
		return object{{"object", object{
			{"type", "talk-poll"}, {"id", strconv.Itoa(s.lastPoll)}, {"name", question},
		}}}, nil
	})
}

// ShareLocation shares a place in a room, by its coordinates in degrees.
func (s *Server) ShareLocation(ctx context.Context, token, who, name string, latitude, longitude float64) (Result, error) {
	return s.share(ctx, token, who, Draft{}, func(r *room) (object, *file) {
		north, east := strconv.FormatFloat(latitude, 'f', -1, 64), strconv.FormatFloat(longitude, 'f', -1, 64)
		return object{{"object", object{
			{"id", "geo:" + north + "," + east},
			{"name", name},
			{"latitude", north},
			{"longitude", east},
			{"type", "geo-location"},
			{"icon-url", s.avatar(r)},
		}}}, nil
	})
}

func (s *Server) share(
	ctx context.Context, token, who string, d Draft, fn func(*room) (object, *file),
) (Result, error) {
	return s.act(ctx, token, who, func(r *room, p *participant) (int, []hook, error) {
		if utf8.RuneCountInString(d.Text) > s.opts.MaxLength {
			return 0, nil, errTooLong
		}
		if r.locked {
			return 0, nil, errNotAllowed
		}
		parent, err := r.parent(d.ReplyTo)
		if err != nil {
			return 0, nil, err
		}
		objects, shared := fn(r)
		m := &message{
			actor: p.actor, role: p.role, text: phpTrim(d.Text), parent: parent, objects: objects, file: shared, silent: d.Silent,
			reference: phpTrim(d.ReferenceID[:min(len(d.ReferenceID), 64)]),
		}
		if parent != nil {
			m.thread = parent.thread
		} else if first := r.message(d.Thread); s.opts.Talk23 && first != nil {
			m.thread = first.thread
		}
		if m.text == "" || shared != nil && shared.voice {
			m.text = "{" + objects[0].name + "}"
		}
		s.store(r, m)
		p.lastRead = m.id
		return m.id, s.announce(r, m), nil
	})
}

// avatarVersion is a constant of each kind of room without a picture.
func (r *room) avatarVersion() string {
	switch r.kind {
	case oneToOne:
		return "55e724cd"
	case publicRoom:
		return "6ede515b"
	default:
		return "be859ef2"
	}
}

func (r *room) callType() string {
	switch r.kind {
	case oneToOne:
		return "one2one"
	case publicRoom:
		return "public"
	default:
		return "group"
	}
}

func (s *Server) avatar(r *room) string {
	return s.backend + "/ocs/v2.php/apps/spreed/api/v1/room/" + r.token + "/avatar?v=" + r.avatarVersion()
}

// render returns the text of a message, with placeholders, and what they stand
// for: as a participant sees it, or as webhooks tell it if viewer is nil.
func (s *Server) render(r *room, m *message, viewer *participant) (text string, parameters object) {
	own := viewer != nil && viewer.kind == m.actor.kind && viewer.id == m.actor.id
	self := field{"actor", actorParameter(m.actor)}
	switch {
	case m.deleted:
		by := "author"
		if own {
			by = "you"
		}
		return "Message deleted by " + by, object{self}
	case m.system == "reaction":
		return m.text, nil
	case m.system == "reaction_deleted":
		return "Reaction deleted by author", nil
	case m.system != "":
		text = m.text
		if own {
			text = strings.Replace(text, "{actor}", "You", 1)
		}
		if about, _ := m.objects.field("user").(object); viewer != nil && viewer.kind == actorUser && about.field("id") == viewer.id {
			text = strings.Replace(text, "{user}", "you", 1)
		}
		return text, append(object{self}, m.objects...)
	case m.file != nil:
		parameters = object{self, {"file", s.fileParameter(m, viewer, own)}}
	case len(m.objects) > 0:
		parameters = append(object{self}, m.objects...)
	}
	return s.mentions(r, m.text, parameters)
}

// actorParameter returns the rich object of an actor.
func actorParameter(a actor) object {
	switch a.kind {
	case actorUser:
		return object{{"type", "user"}, {"id", a.id}, {"name", a.name}, {"mention-id", a.id}}
	case actorGuest:
		name := a.name
		if name == "" {
			name = "Guest"
		}
		return object{{"type", "guest"}, {"id", "guest/" + a.id}, {"name", name}, {"mention-id", "guest/" + a.id}}
	default: // Talk does not know bots here
		return object{{"type", "highlight"}, {"id", "deleted_users"}, {"name", "Deleted user"}}
	}
}

func (s *Server) fileParameter(m *message, viewer *participant, own bool) object {
	path, link, permissions, preview := cmp.Or(m.file.path, m.file.name), m.file.link, "27", "no"
	if viewer != nil {
		link = s.backend + "/index.php/f/" + m.file.id
		if !own {
			path, permissions = "Talk/"+m.file.name, "19"
		}
	} else if m.file.mime == FolderType {
		permissions = "31"
	}
	if strings.HasPrefix(m.file.mime, "text/") && m.file.mime != "text/vcard" || strings.HasPrefix(m.file.mime, "image/") {
		preview = "yes"
	}
	parameter := object{
		{"type", "file"},
		{"id", m.file.id},
		{"name", m.file.name},
		{"size", strconv.Itoa(len(m.file.content))},
		{"path", path},
		{"link", link},
		{"etag", m.file.etag},
		{"permissions", permissions},
		{"mimetype", m.file.mime},
		{"preview-available", preview},
		{"hide-download", "no"},
	}
	if m.file.contact != "" {
		parameter = append(parameter, field{"contact-name", m.file.contact})
	}
	return parameter
}

var (
	mentionPattern = regexp.MustCompile(`(?:^|[^a-zA-Z0-9_\-@.'])@("[a-zA-Z0-9_\-@.' /]+"|[a-zA-Z0-9_\-@.']+)`)
	emojiPattern   = regexp.MustCompile(`^(?:[\x{1F1E6}-\x{1F1FF}]{2}|[0-9#*]\x{FE0F}?\x{20E3}|` +
		emoji + `(?:\x{200D}` + emoji + `)*)$`)
)

// emoji matches a pictograph and what modifies it.
const emoji = `[\x{A9}\x{AE}\x{203C}\x{2049}\x{2122}\x{2139}\x{2190}-\x{21FF}\x{2300}-\x{23FF}\x{24C2}` +
	`\x{25A0}-\x{27BF}\x{2900}-\x{297F}\x{2B00}-\x{2BFF}\x{3030}\x{303D}\x{3297}\x{3299}\x{1F000}-\x{1F1E5}\x{1F200}-\x{1FAFF}]` +
	`\x{FE0F}?[\x{1F3FB}-\x{1F3FF}]?[\x{E0020}-\x{E007F}]{0,8}`

// mentions replaces the mentions in text by placeholders, and adds what they
// stand for to parameters. Longer ones come first, so that "@bob" does not
// eat "@bobby".
func (s *Server) mentions(r *room, text string, parameters object) (string, object) {
	type mention struct {
		id      string
		written int // length
		kind    string
		param   object
	}
	var found []mention
	for _, match := range mentionPattern.FindAllStringSubmatch(text, -1) {
		m := mention{id: strings.Trim(match[1], `"`), written: len(match[1])}
		if slices.ContainsFunc(found, func(o mention) bool { return o.id == m.id }) {
			continue
		}
		if m.id == "all" {
			m.kind = "call"
			m.param = object{
				{"type", "call"},
				{"id", r.token},
				{"name", r.name},
				{"call-type", r.callType()},
				{"icon-url", s.avatar(r)},
				{"mention-id", "all"},
			}
		} else if u := s.user(m.id); u != nil {
			m.kind, m.param = "user", actorParameter(actor{actorUser, u.id, u.name})
		} else {
			continue
		}
		found = append(found, m)
	}
	slices.SortStableFunc(found, func(a, b mention) int {
		return cmp.Or(len(b.id)-len(a.id), b.written-a.written, strings.Compare(a.id, b.id))
	})
	count := map[string]int{}
	for _, m := range found {
		count[m.kind]++
		name := "mention-" + m.kind + strconv.Itoa(count[m.kind])
		text = strings.ReplaceAll(text, `@"`+m.id+`"`, "{"+name+"}")
		if !strings.Contains(m.id, " ") {
			text = strings.ReplaceAll(text, "@"+m.id, "{"+name+"}")
		}
		parameters = append(parameters, field{name, m.param})
	}
	return text, parameters
}

// phpTrim is trim of PHP.
func phpTrim(s string) string { return strings.Trim(s, " \t\n\r\x00\x0b") }
