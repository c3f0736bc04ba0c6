package bridge

import (
	"context"
	"fmt"
	"runtime/debug"
	"time"
)

// abandonAfter is how long after its end a handler may take to return.
const abandonAfter = time.Second

// Call has h answer m, and returns when h does, or a second after ctx is done:
// a handler that has not returned by then is left behind, and the error is that
// of ctx. A panic is an error of CodeInternal.
func Call(ctx context.Context, h Handler, m Message) ([]Reply, error) {
	type result struct {
		replies []Reply
		err     error
	}
	done := make(chan result, 1)
	go func() {
		var r result
		defer func() {
			if p := recover(); p != nil {
				r = result{err: &Error{
					Code:  CodeInternal,
					Text:  Say("The handler crashed"),
					Hint:  Say("This is a bug in the handler; the message is not tried again."),
					Cause: fmt.Errorf("panic: %v\n%s", p, debug.Stack()),
				}}
			}
			done <- r
		}()
		r.replies, r.err = h.Handle(ctx, m)
	}()
	select {
	case r := <-done:
		return r.replies, r.err
	case <-ctx.Done():
	}
	timer := time.NewTimer(abandonAfter)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.replies, r.err
	case <-timer.C:
		return nil, ctx.Err()
	}
}
