package lab

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// kernel is an unpacked kernel package.
type kernel struct {
	image   string
	modules map[string]string // name, with _ for -, to file
}

// modules that every guest has: the file systems that it stands on, then what a director needs.
// They are loaded in this order, each after those that it depends on.
var guestModules = strings.Fields(`
	virtio_pci virtio_console virtio_net crc32c_generic 9pnet_virtio 9p overlay
	veth bridge dummy macvlan af_packet
	nf_tables nft_numgen nft_ct nft_compat ip_tables ip6_tables iptable_filter iptable_nat iptable_mangle ip6table_mangle xt_mark xt_MARK
	ip_vs ip_vs_rr ip_vs_wrr ip_vs_lc ip_vs_wlc ip_vs_fo ip_vs_ovf ip_vs_lblc ip_vs_lblcr ip_vs_dh ip_vs_sh ip_vs_mh
	ip_vs_sed ip_vs_nq ip_vs_twos ip_vs_ftp nf_conntrack_sip ip_vs_pe_sip ipip ip_gre ip6_tunnel sit fou softdog`)

func findKernel() (*kernel, error) {
	dir := os.Getenv(KernelEnv)
	if dir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			cache = "/var/cache/.cache" // as scripts/vm-kernel without HOME
		}
		dir = filepath.Join(cache, "systole", "vm-kernel")
	}
	// Unpacked by scripts/vm-kernel (vmlinux) it need not unpack itself, which is slow when emulated.
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinu[xz]-*"))
	if err != nil || len(images) == 0 {
		return nil, fmt.Errorf("%w: no kernel in %s (scripts/vm-kernel unpacks one)", ErrNoVM, dir)
	}
	k := &kernel{image: images[0], modules: map[string]string{}}
	_, release, _ := strings.Cut(filepath.Base(k.image), "-")
	err = filepath.WalkDir(filepath.Join(dir, "lib", "modules", release), func(path string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(d.Name(), ".ko"); ok && err == nil {
			k.modules[canonical(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoVM, err)
	}
	return k, nil
}

func canonical(module string) string { return strings.ReplaceAll(module, "-", "_") }

// loadOrder lists the files of the modules and of what they depend on, dependencies first. A name
// that the kernel has no file for is built in, or unknown to it, and left out.
func (k *kernel) loadOrder(names []string) ([]string, error) {
	var order []string
	seen := map[string]bool{}
	var visit func(name string) error
	visit = func(name string) error {
		name = canonical(name)
		file, ok := k.modules[name]
		if seen[name] || !ok {
			return nil
		}
		seen[name] = true
		needs, err := dependencies(file)
		if err != nil {
			return err
		}
		for _, n := range needs {
			if err := visit(n); err != nil {
				return err
			}
		}
		order = append(order, file)
		return nil
	}
	for _, n := range names {
		if err := visit(n); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// dependencies reads from a module's .modinfo what has to be loaded before it.
func dependencies(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", file, err)
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("module %s: no .modinfo", file)
	}
	info, err := section.Data()
	if err != nil {
		return nil, fmt.Errorf("module %s: %w", file, err)
	}
	var names []string
	for _, item := range bytes.Split(info, []byte{0}) {
		key, value, _ := strings.Cut(string(item), "=")
		switch key {
		case "depends":
			names = append(names, strings.FieldsFunc(value, func(r rune) bool { return r == ',' })...)
		case "softdep":
			if pre, ok := strings.CutPrefix(value, "pre: "); ok {
				before, _, _ := strings.Cut(pre, "post:")
				names = append(names, strings.Fields(before)...)
			}
		}
	}
	return names, nil
}
