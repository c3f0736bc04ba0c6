package webhook_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"perch/bridge/webhook"
)

// wire is a network of one listener, for a bubble of synctest.
type wire struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (w wire) Accept() (net.Conn, error) {
	select {
	case conn := <-w.conns:
		return conn, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w wire) Close() error   { close(w.closed); return nil }
func (w wire) Addr() net.Addr { return address("127.0.0.1:8460") }

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// end is one end of a connection, of a client at an address.
type end struct {
	net.Conn
	remote address
}

func (e end) RemoteAddr() net.Addr { return e.remote }

func (w wire) dial(remote string) net.Conn {
	here, there := net.Pipe()
	w.conns <- end{there, address(remote)}
	return here
}

// wired serves f over a wire until stop is called.
func wired(t *testing.T, f *fixture) (w wire, stop func()) {
	t.Helper()
	w = wire{make(chan net.Conn), make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.handler.Serve(ctx, w) }()
	return w, func() {
		cancel()
		<-done
		time.Sleep(time.Minute) // net/http takes leave of a connection slowly
	}
}

// head returns the beginning of a webhook with a body of the given size.
func head(size int, signature string) string {
	return fmt.Sprintf("POST /nextcloud-talk HTTP/1.1\r\nHost: x\r\n%s: %s\r\n%s: %s\r\nContent-Length: %d\r\n\r\n",
		webhook.HeaderRandom, random, webhook.HeaderSignature, signature, size)
}

// crawl begins n webhooks with a large body and goes no further. Their answers
// are counted when all is over.
func (w wire) crawl(n int, remote func(i int) string, begun string) (conns []net.Conn) {
	for i := range n {
		conn := w.dial(remote(i))
		_, _ = io.WriteString(conn, head(2<<20-1, "x")+begun)
		conns = append(conns, conn)
	}
	synctest.Wait()
	return conns
}

// post sends a whole webhook and returns the status of the answer.
func (w wire) post(t *testing.T, remote, body string) int {
	t.Helper()
	conn := w.dial(remote)
	defer conn.Close()
	if _, err := io.WriteString(conn, head(len(body), sign(key, []byte(body)))+body); err != nil {
		t.Errorf("a webhook of %d bytes is not taken: %v", len(body), err)
		return 0
	}
	return status(bufio.NewReader(conn))
}

// status reads an answer and returns its status; 0 if there is none.
func status(r *bufio.Reader) int {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode
}

// large is a webhook as large as Talk sends any.
func large() string { return strings.Repeat(" ", 896<<10-len(body)) + body }

// However many connections crawl, of one address or of many, behind a proxy or
// not, a webhook passes at once: not a moment goes by.
func TestSlowConnectionsKeepNobodyOut(t *testing.T) {
	const home = "192.0.2.1:1"
	for name, crowd := range map[string]struct {
		n      int
		remote func(i int) string
		begun  string
	}{
		"one address":                 {2000, func(int) string { return "198.51.100.1:1" }, "{"},
		"the address of the server":   {2000, func(int) string { return home }, "{"},
		"many addresses":              {2000, func(i int) string { return fmt.Sprintf("198.51.%d.%d:1", i/256, i%256) }, "{"},
		"much was sent, then nothing": {60, func(i int) string { return fmt.Sprintf("198.51.100.%d:1", i%4) }, strings.Repeat(" ", 1<<20)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture()
				w, stop := wired(t, f)
				conns := w.crawl(crowd.n, crowd.remote, crowd.begun)
				time.Sleep(1900 * time.Millisecond) // nobody is cut off for their slowness yet
				for _, body := range []string{body, large(), body, large()} {
					began := time.Now()
					if status := w.post(t, home, body); status != http.StatusOK {
						t.Errorf("a webhook of %d bytes is answered %d", len(body), status)
					}
					if waited := time.Since(began); waited > 0 { // the bubble's time, which passes only while all wait
						t.Errorf("a webhook of %d bytes waited %v", len(body), waited)
					}
				}
				for _, conn := range conns {
					_ = conn.Close()
				}
				stop()
			})
		})
	}
}

// Who stops in the middle is cut off after a moment, and who goes on is not.
func TestSlowBodiesAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		w, stop := wired(t, f)
		conn := w.crawl(1, func(int) string { return "192.0.2.1:1" }, "{")[0]
		began := time.Now()
		if got := status(bufio.NewReader(conn)); got != http.StatusRequestTimeout {
			t.Errorf("who stops is answered %d", got)
		}
		if waited := time.Since(began); waited > 3*time.Second {
			t.Errorf("who stops is waited for %v", waited)
		}
		_ = conn.Close()

		conn = w.dial("192.0.2.1:1")
		large := large()
		written := make(chan struct{})
		go func() {
			defer close(written)
			_, _ = io.WriteString(conn, head(len(large), sign(key, []byte(large))))
			for rest := large; rest != ""; {
				n := min(len(rest), 16<<10)
				_, _ = io.WriteString(conn, rest[:n])
				rest = rest[n:]
				time.Sleep(100 * time.Millisecond)
			}
		}()
		if got := status(bufio.NewReader(conn)); got != http.StatusOK {
			t.Errorf("who goes on is answered %d", got)
		}
		<-written
		_ = conn.Close()
		stop()
	})
}

// A sender that stops in the middle of its headers is cut off.
func TestSlowHeadersAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		w, stop := wired(t, f)
		conn := w.dial("192.0.2.1:1")
		_, _ = io.WriteString(conn, "POST /nextcloud-talk HTTP/1.1\r\nHost: x\r\nX-Never")
		began := time.Now()
		answer, err := io.ReadAll(conn)
		if waited := time.Since(began); err != nil || strings.Contains(string(answer), "200") || waited > 5*time.Second {
			t.Errorf("answered %q, %v, after %v", answer, err, waited)
		}
		stop()
	})
}

// A connection whose request is verified, or that waits for its next one after
// that, makes room for nobody.
func TestProvenConnectionsStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture()
		w, stop := wired(t, f)
		server := w.dial("192.0.2.1:1")
		answers := bufio.NewReader(server)
		for range 2 {
			if _, err := io.WriteString(server, head(len(body), sign(key, []byte(body)))+body); err != nil {
				t.Fatal(err)
			}
			if got := status(answers); got != http.StatusOK {
				t.Fatalf("answered %d", got)
			}
			time.Sleep(10 * time.Second)
			for _, conn := range w.crawl(2000, func(int) string { return "192.0.2.1:1" }, "{") {
				defer conn.Close()
			}
		}
		_ = server.Close()
		stop()
	})
}
