package practice

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// member returns the room that the path names and the participant who asks;
// nil if there is none. It needs s.mu.
func (s *Server) member(r *request) (*room, *participant) {
	here := s.room(r.PathValue("token"))
	if here == nil || r.user == nil {
		return nil, nil
	}
	p := here.participant(actorUser, r.user.id)
	if p == nil {
		return nil, nil
	}
	return here, p
}

func (s *Server) getRooms(r *request) answer {
	if r.user == nil {
		return r.notLoggedIn()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	since, now := r.number("modifiedSince", 0), s.now()
	rooms := list{}
	for _, here := range s.rooms {
		if p := here.participant(actorUser, r.user.id); p != nil && here.changedSince(since) {
			rooms = append(rooms, s.describe(here, p))
		}
	}
	a := r.success(http.StatusOK, rooms)
	a.header.Set("X-Nextcloud-Talk-Hash", sha1Hex(s.backend))
	a.header.Set("X-Nextcloud-Talk-Modified-Before", strconv.FormatInt(now.Unix(), 10))
	return a
}

// describe returns a room as the room API tells it to a participant.
func (s *Server) describe(r *room, p *participant) raw {
	name, display, notify, owner := r.name, r.name, 2, p.role == roleOwner
	if r.kind == oneToOne {
		notify = 1
		for _, o := range r.participants {
			if o != p {
				name, display = o.id, o.name
			}
		}
	}
	unread, last, active := 0, any(list{}), 0
	for _, m := range r.messages {
		if m.system == "" && m.id > p.lastRead {
			unread++
		}
	}
	if len(r.messages) > 0 {
		m := r.messages[len(r.messages)-1]
		brief := *m
		brief.parent, brief.reference = nil, ""
		last, active = s.chatMessage(r, &brief, p), int(m.at.Unix())
	}
	return fill(roomDetails, object{
		{"id", r.id},
		{"token", r.token},
		{"type", r.kind},
		{"name", name},
		{"displayName", display},
		{"participantType", p.role},
		{"permissions", p.permissions()},
		{"lastActivity", active},
		{"lastReadMessage", p.lastRead},
		{"unreadMessages", unread},
		{"canDeleteConversation", owner && r.kind != oneToOne},
		{"notificationLevel", notify},
		{"actorId", p.id},
		{"attendeeId", p.attendee},
		{"lastCommonReadMessage", r.commonRead()},
		{"avatarVersion", r.avatarVersion()},
		{"lastMessage", last},
	})
}

// commonRead returns the id of the newest message that every user has read.
func (r *room) commonRead() int {
	read := 0
	for _, p := range r.participants {
		if p.kind == actorUser && (read == 0 || p.lastRead < read) {
			read = p.lastRead
		}
	}
	return read
}

// chatMessage returns a message as the chat API tells it to a participant.
func (s *Server) chatMessage(r *room, m *message, viewer *participant) object {
	text, parameters := s.render(r, m, viewer)
	kind := "comment"
	switch {
	case m.system != "":
		kind = "system"
	case m.deleted:
		kind = "comment_deleted"
	case m.file != nil && m.file.voice:
		kind = "voice-message"
	}
	reactions, own := object{}, list{}
	for _, emoji := range m.emojis() {
		count := 0
		for _, reaction := range m.reactions {
			if reaction.text == emoji {
				count++
			}
		}
		reactions = append(reactions, field{emoji, count})
		if m.reaction(viewer.actor, emoji) >= 0 {
			own = append(own, emoji)
		}
	}
	data := object{
		{"id", m.id},
		{"token", r.token},
		{"actorType", m.actor.kind},
		{"actorId", m.actor.id},
		{"actorDisplayName", m.actor.name},
		{"timestamp", int(m.at.Unix())},
		{"message", text},
		{"messageParameters", parameters.array()},
		{"systemMessage", m.system},
		{"messageType", kind},
		{"isReplyable", m.system == "" && !m.deleted},
		{"referenceId", m.reference},
		{"reactions", reactions},
		{"expirationTimestamp", 0},
		{"markdown", kind != "system"},
	}
	if len(own) > 0 {
		data = append(data, field{"reactionsSelf", own})
	}
	if m.edited != nil && !m.deleted {
		data = append(
			data, field{"lastEditActorType", m.edited.actor.kind}, field{"lastEditActorId", m.edited.actor.id},
			field{"lastEditActorDisplayName", m.edited.actor.name}, field{"lastEditTimestamp", int(m.edited.at.Unix())},
		)
	}
	if m.deleted {
		data = append(data, field{"deleted", true})
	}
	if m.silent {
		data = append(data, field{"silent", true})
	}
	data = append(data, m.thread.fields()...)
	if m.parent != nil {
		quoted := *m.parent
		quoted.parent = nil
		data = append(data, field{"parent", s.chatMessage(r, &quoted, viewer)})
	}
	return data
}

func (s *Server) getChat(r *request) answer {
	limit := min(max(r.number("limit", 100), 1), 200)
	known, future := r.number("lastKnownMessageId", 0), r.number("lookIntoFuture", 1) == 1
	if future && r.number("setReadMarker", 1) == 1 {
		s.mu.Lock()
		if _, p := s.member(r); p != nil {
			p.lastRead = max(p.lastRead, known)
		}
		s.mu.Unlock()
	}
	if r.yes("includeLastKnown") && known > 0 {
		if future {
			known--
		} else {
			known++
		}
	}
	var (
		here     *room
		viewer   *participant
		messages []*message
	)
	look := func() bool {
		now, p := s.member(r)
		removed := now == nil
		if !removed {
			here, viewer = now, p
		}
		if here != nil { // who is removed meanwhile is told that, and no more
			messages = here.around(known, limit, future)
		}
		return removed || len(messages) > 0
	}
	if timeout := min(r.number("timeout", 30), 30); future && timeout > 0 {
		wait, cut := s.cutPoll(time.Duration(timeout) * time.Second)
		timer := time.NewTimer(wait)
		defer timer.Stop()
		defer s.polling()()
		_ = s.waitOr(r.Context(), timer.C, look) // 304 then
		if cut && len(messages) == 0 && here != nil {
			a, _ := Fault{Kind: FaultProxyPage, Status: http.StatusGatewayTimeout}.answer(s, r)
			return a
		}
	} else {
		s.mu.Lock()
		look()
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case here == nil:
		return r.refusal(http.StatusNotFound, list{})
	case len(messages) == 0:
		return answer{status: http.StatusNotModified}
	}
	a := r.success(http.StatusOK, s.chatMessages(here, messages, viewer))
	a.header.Set("X-Chat-Last-Given", strconv.Itoa(messages[len(messages)-1].id))
	a.header.Set("X-Chat-Last-Common-Read", strconv.Itoa(here.commonRead()))
	return a
}

// around returns at most limit messages: those after the message known, oldest
// first, or those before it, newest first; known 0 is either end.
func (r *room) around(known, limit int, future bool) []*message {
	after := func(id int) int { // how many messages have at most that id
		i, _ := slices.BinarySearchFunc(r.messages, id+1, byID)
		return i
	}
	if future {
		messages := r.messages[after(known):]
		return slices.Clone(messages[:min(limit, len(messages))])
	}
	messages := r.messages
	if known > 0 {
		messages = messages[:after(known-1)]
	}
	messages = slices.Clone(messages[max(0, len(messages)-limit):])
	slices.Reverse(messages)
	return messages
}

func (s *Server) chatMessages(r *room, messages []*message, viewer *participant) list {
	data := list{}
	for _, m := range messages {
		data = append(data, s.chatMessage(r, m, viewer))
	}
	return data
}

func (s *Server) getContext(r *request) answer {
	limit, id := min(max(r.number("limit", 50), 1), 100), r.pathNumber("id")
	s.mu.Lock()
	defer s.mu.Unlock()
	here, viewer := s.member(r)
	if here == nil {
		return r.refusal(http.StatusNotFound, list{})
	}
	messages := here.around(id+1, limit, false)
	slices.Reverse(messages)
	messages = append(messages, here.around(id, limit, true)...)
	if len(messages) == 0 {
		return answer{status: http.StatusNotModified}
	}
	return r.success(http.StatusOK, s.chatMessages(here, messages, viewer))
}

// draft returns the message that a request wants to be posted.
func (r *request) draft() Draft {
	return Draft{
		Text: r.text("message"), ReplyTo: r.number("replyTo", 0), Silent: r.yes("silent"),
		ReferenceID: r.text("referenceId"), Thread: r.number("threadId", 0), ThreadTitle: r.text("threadTitle"),
	}
}

func (s *Server) postChat(r *request) answer {
	if r.user == nil {
		return r.refusal(http.StatusNotFound, list{})
	}
	var (
		posted *message
		viewer *participant
	)
	_, err := s.act(r.detached(), r.PathValue("token"), r.user.id, func(here *room, p *participant) (int, []hook, error) {
		m, hooks, err := s.post(here, p.actor, p.role, r.draft())
		posted, viewer = m, p
		return 0, hooks, err
	})
	switch {
	case r.tooLarge || errors.Is(err, errTooLong):
		return r.refusal(http.StatusRequestEntityTooLarge, object{{"error", "message"}})
	case errors.Is(err, errEmpty):
		return r.refusal(http.StatusBadRequest, object{{"error", "message"}})
	case errors.Is(err, errNoParent), errors.Is(err, errNoThread):
		return r.refusal(http.StatusBadRequest, object{{"error", "reply-to"}})
	case errors.Is(err, errNotAllowed):
		return r.refusal(http.StatusForbidden, list{})
	case err != nil:
		return r.refusal(http.StatusNotFound, list{})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	here := s.room(r.PathValue("token"))
	a := r.success(http.StatusCreated, s.chatMessage(here, posted, viewer))
	a.header.Set("X-Chat-Last-Common-Read", strconv.Itoa(here.commonRead()))
	return a
}

func (s *Server) editChat(r *request) answer {
	return s.changeChat(r, func(here *room, p *participant) (*message, []hook, error) {
		return s.edit(here, p, r.pathNumber("id"), r.text("message"))
	})
}

func (s *Server) deleteChat(r *request) answer {
	return s.changeChat(r, func(here *room, p *participant) (*message, []hook, error) {
		return s.delete(here, p, r.pathNumber("id"))
	})
}

// changeChat answers with the system message that tells of a change.
func (s *Server) changeChat(r *request, change func(here *room, p *participant) (told *message, hooks []hook, err error)) answer {
	if r.user == nil {
		return r.refusal(http.StatusNotFound, list{})
	}
	var told *message
	var viewer *participant
	_, err := s.act(r.detached(), r.PathValue("token"), r.user.id, func(here *room, p *participant) (_ int, hooks []hook, err error) {
		viewer = p
		told, hooks, err = change(here, p)
		return 0, hooks, err
	})
	refused := func(status int, why string) answer { return r.refusal(status, object{{"error", why}}) }
	switch {
	case r.tooLarge || errors.Is(err, errTooLong):
		return refused(http.StatusRequestEntityTooLarge, "message")
	case errors.Is(err, errEmpty):
		return refused(http.StatusBadRequest, "message")
	case errors.Is(err, errTooOld):
		return refused(http.StatusBadRequest, "age")
	case errors.Is(err, errDeleted):
		return refused(http.StatusMethodNotAllowed, "message")
	case errors.Is(err, errNotAllowed):
		return refused(http.StatusForbidden, "permission")
	case errors.Is(err, errNoMessage):
		return refused(http.StatusNotFound, "message")
	case err != nil:
		return r.refusal(http.StatusNotFound, list{})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	here, status := s.room(r.PathValue("token")), http.StatusOK
	if len(s.enabled(here)) > 0 {
		status = http.StatusAccepted
	}
	a := r.success(status, s.chatMessage(here, told, viewer))
	a.header.Set("X-Chat-Last-Common-Read", strconv.Itoa(here.commonRead()))
	return a
}

// userReaction adds or removes a reaction of a user, or lists all of them.
func (s *Server) userReaction(r *request) answer {
	if r.user == nil {
		return r.refusal(http.StatusNotFound, list{})
	}
	status, id := http.StatusOK, r.pathNumber("id")
	_, err := s.act(r.detached(), r.PathValue("token"), r.user.id, func(here *room, p *participant) (int, []hook, error) {
		switch r.Method {
		case http.MethodPost:
			_, fresh, hooks, err := s.react(here, p.actor, id, r.text("reaction"))
			if fresh {
				status = http.StatusCreated
			}
			return 0, hooks, err
		case http.MethodDelete:
			return s.unreact(here, p.actor, id, r.text("reaction"))
		default:
			if here.message(id) == nil {
				return 0, nil, errNoMessage
			}
			return 0, nil, nil
		}
	})
	switch {
	case errors.Is(err, errReaction):
		return r.refusal(http.StatusBadRequest, nil)
	case err != nil:
		return r.refusal(http.StatusNotFound, nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.room(r.PathValue("token")).message(id); m != nil {
		return r.success(status, m.reactionsByEmoji())
	}
	return r.success(status, object{})
}

// reactionsByEmoji returns who reacted, as the reaction API tells it.
func (m *message) reactionsByEmoji() object {
	reactions := object{}
	for _, emoji := range m.emojis() {
		by := list{}
		for _, reaction := range m.reactions {
			if reaction.text == emoji {
				by = append(by, object{
					{"actorType", reaction.actor.kind},
					{"actorId", reaction.actor.id},
					{"actorDisplayName", reaction.actor.name},
					{"timestamp", int(reaction.at.Unix())},
				})
			}
		}
		reactions = append(reactions, field{emoji, by})
	}
	return reactions
}

// emojis returns the different reactions to a message.
func (m *message) emojis() []string {
	var emojis []string
	for _, reaction := range m.reactions {
		if !slices.Contains(emojis, reaction.text) {
			emojis = append(emojis, reaction.text)
		}
	}
	return emojis
}
