//go:build !oracle

package ldirectordcf

import (
	"fmt"
	"strings"
	"testing"
)

// TestOracleMissing wants to be told before all servers are down for lack of a driver.
func TestOracleMissing(t *testing.T) {
	const text = "virtual=1.2.3.4:1521\nvirtual=1.2.3.4:1522\n\tservice=oracle\n\tchecktype=connect\n"
	_, problems := Parse("cf", []byte(text), world())
	if len(problems) != 1 || problems.Err() != nil || !strings.Contains(fmt.Sprint(problems), "cf:1:1: warning: service: oracle: this program has no Oracle driver") {
		t.Error(problems)
	}
}
