// Package bridge is the domain: the types that flow through Perch and the
// interfaces where its parts meet. It imports nothing but the standard library.
//
// A message flows one way, left to right, and back:
//
//	Talk ──▶ webhook ──▶ talk.Decode ──▶ Intake (Inbox.Put: durable) ──▶ 200 OK
//	room ◀── talk.Client ◀── Sender ◀── Outbox ◀── Inbox.Finish ◀── Handler ◀── Inbox.Claim
//
// Every step publishes an Event. No step knows its neighbours: bridge/app joins them.
package bridge
