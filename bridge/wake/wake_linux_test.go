package wake

import (
	"bufio"
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"

	"perch/bridge/testenv"
)

// What logind announces is noticed without a look at the clock.
func TestLogind(t *testing.T) {
	address := startBus(t)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
	logind := connect(t, address)
	if reply, err := logind.RequestName("org.freedesktop.login1", dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("reply %v, error %v", reply, err)
	}
	stranger := connect(t, address)
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	awake := wakeups(ctx)
	announce := func(by *dbus.Conn, asleep bool) {
		if err := by.Emit("/org/freedesktop/login1", "org.freedesktop.login1.Manager.PrepareForSleep", asleep); err != nil {
			t.Fatal(err)
		}
	}
	none := func(why string) {
		t.Helper()
		// What this connection sent before has been passed on when it is answered.
		for _, c := range []*dbus.Conn{logind, stranger} {
			if err := c.BusObject().Call("org.freedesktop.DBus.Peer.Ping", 0).Err; err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-awake:
			t.Error(why)
		default:
		}
	}
	announce(stranger, false)
	none("somebody else announced it")
	announce(logind, true)
	none("it only falls asleep")
	announce(logind, false)
	select {
	case <-awake:
	case <-ctx.Done():
		t.Fatal("not noticed")
	}
	cancel()
}

func TestNoSystemBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent")
	if wakeups(t.Context()) != nil {
		t.Error("there is a bus")
	}
}

// startBus starts a bus that ends with the test, and returns its address.
func startBus(t *testing.T) string {
	t.Helper()
	testenv.NeedPrograms(t, "dbus-daemon")
	daemon := exec.CommandContext(t.Context(), "dbus-daemon", "--session", "--nofork", "--print-address=1")
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = daemon.Wait() })
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(address)
}

func connect(t *testing.T, address string) *dbus.Conn {
	t.Helper()
	conn, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}
