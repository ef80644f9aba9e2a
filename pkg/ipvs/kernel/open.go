package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/mdlayher/genetlink"
)

const familyName = "IPVS"

// Unavailable is why the kernel's table cannot be used.
type Unavailable struct {
	Cause    error  // ENOENT: no ip_vs; EPERM: not root
	Modprobe string // what modprobe printed when it could not load ip_vs; empty if it was not asked
}

// Error tells what to do about it.
func (u *Unavailable) Error() string {
	switch {
	case errors.Is(u.Cause, fs.ErrNotExist):
		text := "open IPVS: the kernel has no ip_vs, and it could not be loaded"
		if u.Modprobe != "" {
			text += " (" + strings.Join(strings.Fields(u.Modprobe), " ") + ")"
		}
		return text
	case errors.Is(u.Cause, fs.ErrPermission):
		return "open IPVS: permission denied (root only)"
	}
	return fmt.Sprintf("open IPVS: %v", u.Cause)
}

// Unwrap gives the errno.
func (u *Unavailable) Unwrap() error { return u.Cause }

// Open connects to the IPVS of the calling thread's network namespace, loading ip_vs if it has
// to. Its error is an [*Unavailable].
func Open(ctx context.Context) (*Table, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t, err := dial(ctx)
	if err == nil {
		// The kernel tells anyone that there is IPVS, but only root what it holds.
		if _, err = t.Info(ctx); err == nil {
			return t, nil
		}
		return nil, &Unavailable{Cause: errors.Join(err, t.Close())}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, &Unavailable{Cause: err}
	}
	said, loadErr := modprobe(ctx, "ip_vs")
	if loadErr != nil {
		if said == "" {
			said = loadErr.Error()
		}
		return nil, &Unavailable{Cause: err, Modprobe: said}
	}
	if t, err = dial(ctx); err != nil {
		return nil, &Unavailable{Cause: err, Modprobe: said}
	}
	return t, nil
}

// dial makes the connection.
func dial(ctx context.Context) (t *Table, err error) {
	err = (&Table{}).retry(ctx, func() (err error) {
		t, err = dialOnce()
		return err
	})
	return t, err
}

func dialOnce() (*Table, error) {
	conn, err := genetlink.Dial(nil)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(answerLimit)) // a connection that cannot will not send either
	family, err := conn.GetFamily(familyName)
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &Table{conn: conn, family: family.ID, dial: dialOnce}, nil
}

// modprobe asks the program that the kernel itself would ask.
func modprobe(ctx context.Context, module string) (said string, err error) {
	program := "/sbin/modprobe"
	if b, err := os.ReadFile("/proc/sys/kernel/modprobe"); err == nil && len(strings.TrimSpace(string(b))) > 0 {
		program = strings.TrimSpace(string(b))
	}
	cmd := exec.CommandContext(ctx, program, "--", module)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
