package lab

import (
	"fmt"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
)

// faults is what is wrong with the network's wires at the moment.
type faults struct {
	cuts  [][2]string
	loss  map[string]int // node → percent
	rules []string
}

// Unplug pulls the cable of a link of the node: the interface loses its carrier.
func (n *Node) Unplug(link string) error { return n.cable(link, (*netlink.Handle).LinkSetDown) }

// Plug puts the cable back and returns when it carries.
func (n *Node) Plug(link string) error {
	if err := n.cable(link, (*netlink.Handle).LinkSetUp); err != nil {
		return err
	}
	if err := n.connected(link); err != nil {
		return fmt.Errorf("lab: %s: %w", n.Name(), err)
	}
	return nil
}

func (n *Node) cable(link string, set func(*netlink.Handle, netlink.Link) error) error {
	err := n.net.sw.withHandle(func(h *netlink.Handle) error {
		p, err := h.LinkByName(n.port(link))
		if err != nil {
			return err
		}
		return set(h, p)
	})
	if err != nil {
		return fmt.Errorf("lab: cable of %s %s: %w", n.Name(), link, err)
	}
	return nil
}

// isolate has the switch take nothing from a link of the node any more. The interface keeps its
// carrier: what runs on the node does not notice.
func (n *Node) isolate(link string) error { return n.cable(link, (*netlink.Handle).LinkSetNoMaster) }

// RemoveCard takes an interface out of the running node, together with its cable.
func (n *Node) RemoveCard(link string) error {
	return n.withHandle(func(h *netlink.Handle) error {
		l, err := h.LinkByName(link)
		if err == nil {
			err = h.LinkDel(l)
		}
		if err != nil {
			return fmt.Errorf("lab: %s %s: %w", n.Name(), link, err)
		}
		return nil
	})
}

// InsertCard puts an interface into the running node, for one that has been removed.
func (n *Node) InsertCard(l Link) error { return n.net.plug(n, l) }

// SetLink sets an interface up or down on the node itself.
func (n *Node) SetLink(link string, up bool) error {
	return n.withHandle(func(h *netlink.Handle) error {
		l, err := h.LinkByName(link)
		if err != nil {
			return fmt.Errorf("lab: %s %s: %w", n.Name(), link, err)
		}
		if up {
			return h.LinkSetUp(l)
		}
		return h.LinkSetDown(l)
	})
}

// Cut drops every frame between two nodes, both ways, on all segments; both still reach all others.
func (n *Network) Cut(a, b *Node) error {
	return n.fault(func(f *faults) { f.cuts = append(f.cuts, [2]string{a.ports(), b.ports()}) })
}

// Loss drops frames to and from the node at random, each with that probability in percent.
func (n *Network) Loss(nd *Node, percent int) error {
	return n.fault(func(f *faults) {
		if f.loss == nil {
			f.loss = map[string]int{}
		}
		f.loss[nd.ports()] = percent
	})
}

// Filter adds a rule in the language of nft(8) to the bridges' forwarding, such as
// "udp dport 694 drop".
func (n *Network) Filter(rule string) error {
	return n.fault(func(f *faults) { f.rules = append(f.rules, rule) })
}

// Heal ends what Cut, Loss and Filter did. Cables stay as they are.
func (n *Network) Heal() error { return n.fault(func(f *faults) { *f = faults{} }) }

func (n *Network) fault(change func(*faults)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(&n.faults)
	c := n.sw.Command(n.ctx, "nft", "-f", "-")
	c.Stdin = strings.NewReader(n.faults.script())
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("lab: nft: %w: %s", err, out)
	}
	return nil
}

// script is the whole rule set; nft applies it in one step.
func (f *faults) script() string {
	var b strings.Builder
	b.WriteString("table bridge lab\ndelete table bridge lab\ntable bridge lab {\nchain forward {\ntype filter hook forward priority 0; policy accept;\n")
	for _, c := range f.cuts {
		fmt.Fprintf(&b, "iifname %[1]s oifname %[2]s drop\niifname %[2]s oifname %[1]s drop\n", c[0], c[1])
	}
	for _, ports := range sortedKeys(f.loss) {
		for _, side := range []string{"iifname", "oifname"} {
			fmt.Fprintf(&b, "%s %s numgen random mod 100 < %d drop\n", side, ports, f.loss[ports])
		}
	}
	for _, r := range f.rules {
		b.WriteString(r + "\n")
	}
	b.WriteString("}\n}\n")
	return b.String()
}

// ports lists the node's bridge ports as an nft set.
func (n *Node) ports() string {
	var p []string
	for _, l := range n.Spec.Links {
		p = append(p, fmt.Sprintf("%q", n.port(l.name())))
	}
	return "{ " + strings.Join(p, ", ") + " }"
}

// CanFilter tells whether Cut, Loss and Filter have the program that they need.
func CanFilter() error {
	if _, err := exec.LookPath("nft"); err != nil {
		return fmt.Errorf("lab: %w (install nftables)", err)
	}
	return nil
}
