package lab

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// OnTerminal runs the command to its end with a terminal of the node's as its standard input, output
// and error, and returns in Stdout what the terminal got, with plain line ends.
func (c *Cmd) OnTerminal() (Result, error) {
	var keyboard, screen *os.File
	err := c.node.enter(func() (err error) {
		keyboard, screen, err = openTerminal()
		return err
	})
	if err != nil {
		return Result{}, fmt.Errorf("lab: terminal of %s: %w", c.node.Name(), err)
	}
	defer keyboard.Close()
	var mu sync.Mutex
	var text strings.Builder
	quiet := make(chan struct{})
	go func() { // ends with the terminal
		defer close(quiet)
		buf := make([]byte, 4096)
		for {
			n, err := keyboard.Read(buf)
			mu.Lock()
			text.Write(buf[:n])
			mu.Unlock()
			if err != nil {
				return // EIO: the last process has closed it
			}
		}
	}()
	c.Stdin = screen
	c.SysProcAttr.Setctty, c.SysProcAttr.Ctty = true, 0
	c.Stdout, c.Stderr = screen, screen
	code, err := c.status()
	_ = screen.Close()
	// A daemon that keeps the terminal open is not waited for.
	select {
	case <-quiet:
	case <-time.After(time.Second):
		_ = keyboard.SetReadDeadline(time.Now())
	}
	mu.Lock()
	defer mu.Unlock()
	return Result{Code: code, Stdout: strings.ReplaceAll(text.String(), "\r\n", "\n")}, err
}

// openTerminal opens a terminal of the namespace that the calling thread is in.
func openTerminal() (keyboard, screen *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	keyboard = os.NewFile(uintptr(fd), "ptmx")
	err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	number := 0
	if err == nil {
		number, err = unix.IoctlGetInt(fd, unix.TIOCGPTN)
	}
	if err == nil {
		screen, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		_ = keyboard.Close()
	}
	return keyboard, screen, err
}
