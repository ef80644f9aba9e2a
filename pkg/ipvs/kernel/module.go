package kernel

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Unload unloads ip_vs and the modules that use it (schedulers, helpers), and with them the tables
// of all network namespaces. EBUSY: something holds one of them, a sync daemon for example. A kernel
// that has none loaded is left alone.
func Unload() error {
	text, err := os.ReadFile("/proc/modules")
	if err != nil {
		return fmt.Errorf("unload ip_vs: %w", err)
	}
	for _, module := range unloadOrder(string(text), "ip_vs") {
		if err := unix.DeleteModule(module, unix.O_NONBLOCK); err != nil {
			return fmt.Errorf("unload module %s: %w", module, err)
		}
	}
	return nil
}

// unloadOrder is a module with all that use it, users first, by the text of /proc/modules.
func unloadOrder(modules, name string) []string {
	users := map[string][]string{}
	for line := range strings.Lines(modules) {
		if f := strings.Fields(line); len(f) > 3 { // name, size, uses, users
			users[f[0]] = strings.FieldsFunc(f[3], func(r rune) bool { return r == ',' || r == '-' })
		}
	}
	var order []string
	var visit func(string)
	visit = func(module string) {
		_, loaded := users[module]
		if !loaded || slices.Contains(order, module) {
			return
		}
		for _, user := range users[module] {
			visit(user)
		}
		order = append(order, module)
	}
	visit(name)
	return order
}
