package ui

import (
	"io"
	"os"
	"path/filepath"
)

// askFile writes what the filter lets through into a new file among the
// downloads, or in the home folder where there are none.
func (p *logPage) askFile(name string, write func(w io.Writer, events []logEvent) error) {
	file, err := newDownload(name)
	if err != nil {
		p.u.failed(unwritable(name, err))
		return
	}
	p.write(file, file.Name(), write)
}

// newDownload makes a file that only its owner can read.
func newDownload(name string) (*os.File, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(home, "Downloads")
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		dir = home
	}
	return os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
}
