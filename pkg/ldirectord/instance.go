package ldirectord

import (
	"fmt"
	"os"
	"path/filepath"
)

// Version is what the original's last release calls itself in its log and in --version.
const Version = "v1.186-ha"

// Paths are the places that ldirectord looks at.
type Paths struct {
	HaDir   string // /etc/ha.d
	Run     string // /var/run
	Lib     string // /var/lib/ldirectord: what is to survive a restart
	LogFile string // /var/log/ldirectord.log: where lines go before a configuration is read
}

// PathsUnder are the original's paths below root; "/" is the real one.
func PathsUnder(root string) Paths {
	return Paths{
		HaDir:   filepath.Join(root, "etc/ha.d"),
		Run:     filepath.Join(root, "var/run"),
		Lib:     filepath.Join(root, "var/lib/ldirectord"),
		LogFile: filepath.Join(root, "var/log/ldirectord.log"),
	}
}

// Instance is the names of one ldirectord.
type Instance struct {
	// Config is the configuration file as messages name it, Path the same as an absolute path.
	// Both are empty if the file was not found.
	Config, Path string
	// Name is the last component of the name given on the command line, extension included;
	// "ldirectord" if none was given. Log lines and the pid file carry it.
	Name    string
	PIDFile string // Run/ldirectord.NAME.pid
	Socket  string // Run/ldirectord.NAME.sock
	Drained string // Lib/NAME.drained: real servers that are drained
	Systole string // HaDir/systole.cf: what the configuration has no words for
	LogFile string // used until a configuration names one
}

// NoConfig is what [Paths.Find] returns when there is no such file.
type NoConfig struct{ Name string }

// Error is the original's text.
func (e *NoConfig) Error() string { return "Config file " + e.Name + " not found" }

// Find says which instance a configuration name means: the file is looked for in HaDir, in
// HaDir/conf, and as it is. An empty name is the default, ldirectord.cf. Without such a file
// the Instance has its other names all the same, and the error is a *NoConfig.
func (p Paths) Find(name string) (Instance, error) {
	in := Instance{Name: "ldirectord", LogFile: p.LogFile}
	if name == "" {
		name = "ldirectord.cf"
	} else {
		in.Name = filepath.Base(name)
	}
	in.PIDFile = filepath.Join(p.Run, "ldirectord."+in.Name+".pid")
	in.Drained = filepath.Join(p.Lib, in.Name+".drained")
	in.Systole = filepath.Join(p.HaDir, "systole.cf")
	in.Socket = filepath.Join(p.Run, "ldirectord."+in.Name+".sock")
	for _, path := range []string{p.HaDir + "/" + name, p.HaDir + "/conf/" + name, name} {
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		in.Config = path
		if in.Path, err = filepath.Abs(path); err != nil {
			return in, fmt.Errorf("find %s: %w", path, err)
		}
		return in, nil
	}
	return in, &NoConfig{name}
}
