package ldirectord

import "slices"

// Actions are the words that Command understands: the original's, and then ours.
var Actions = []string{
	"start", "stop", "restart", "try-restart", "reload", "force-reload", "status",
	"configtest", "drain", "undrain",
}

// Call is the words of a call taken apart.
type Call struct {
	Config string // "" is the default
	Action string
	Args   []string // what follows the action
}

// ParseWords splits the words of a call as the original does: one word is the action, of several
// the first two are configuration and action. Beyond the original, an action that takes
// arguments may come first, too. ok is false if there is no action.
func ParseWords(words []string) (c Call, ok bool) {
	switch {
	case len(words) == 0:
		return c, false
	case len(words) > 1 && slices.Contains(Actions, words[1]):
		return Call{words[0], words[1], words[2:]}, true
	case len(words) == 2 && words[0] == "configtest": // to say "ok" of another file would be worse than not to understand
		return Call{Config: words[1], Action: words[0]}, true
	case len(words) == 1 && slices.Contains(Actions, words[0]), slices.Contains([]string{"drain", "undrain"}, words[0]),
		words[0] == "status" && len(words[1]) > 2 && words[1][:2] == "--":
		return Call{Action: words[0], Args: words[1:]}, true
	}
	return c, false
}
