package config

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"perch/bridge"
)

// maxFile is the most that is read of any file, in bytes.
const maxFile = 256 << 10

// Load reads and checks a config.toml and the certificates that it names, and
// looks for the programs that it names, to warn. The
// warnings are for a Config that can be used all the same. The error is an
// *InvalidError, or a *bridge.Error: of CodeNotFound if there is no file.
func Load(path string) (c Config, warnings []Problem, err error) {
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Config{}, nil, &bridge.Error{
			Code:  bridge.CodeNotFound,
			Text:  bridge.Say("there is no configuration yet: %s does not exist", path),
			Hint:  bridge.Say("set it up: perch setup\nor look at Perch without a server first: perch demo"),
			Cause: err,
		}
	}
	if err != nil {
		return Config{}, nil, unavailable(bridge.Say("the configuration %s cannot be read", path), err)
	}
	c, at := parse(path, data, migrations())
	if err := at.err(); err != nil {
		return Config{}, nil, err
	}
	at.key = caFile
	if _, err := c.Talk.CertPool(filepath.Dir(path)); err != nil {
		at.fail(bridge.TextOf(err), bridge.HintOf(err))
	}
	for _, k := range newDraft(&c).keys() {
		if tools, ok := k.value.(*toolsValue); ok {
			for i, t := range tools.Tools {
				if len(t.Command) == 0 {
					continue
				}
				if _, err := FindProgram(t.Command[0], filepath.Dir(path)); err != nil {
					at.key = commandKey(k.name(), i, "command")
					at.warn(bridge.TextOf(err), bridge.HintOf(err))
				}
			}
		}
		if _, ok := k.value.(*commandValue); !ok || k.handler.Kind != Exec {
			continue
		}
		if _, err := FindProgram(k.handler.Command[0], filepath.Dir(path)); err != nil {
			at.key = k.name()
			at.warn(bridge.TextOf(err), bridge.HintOf(err))
		}
	}
	err = at.err()
	return c, at.warnings, err
}

// CertPool returns the system's certificate authorities and those of CAFile,
// for TLS connections to the server; nil, which stands for the system's alone,
// if there is no CAFile. A relative CAFile counts from dir.
func (t Talk) CertPool(dir string) (*x509.CertPool, error) {
	if t.CAFile == "" {
		return nil, nil
	}
	file := t.CAFile
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	data, err := readFile(file)
	if err != nil {
		return nil, unavailable(bridge.Say("the certificate file %s cannot be read", file), err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(data) {
		hint := bridge.Say("convert it: openssl x509 -inform der -in %s -out my-ca.pem", shellWord(file))
		if block, _ := pem.Decode(data); block != nil {
			hint = bridge.Say("give the certificate, not the key: its first line is %s", "-----BEGIN CERTIFICATE-----")
		}
		return nil, &bridge.Error{
			Code: bridge.CodeInvalid,
			Text: bridge.Say("must be the path of a PEM file with certificates; there is none in %s", file),
			Hint: hint,
		}
	}
	return pool, nil
}

// readFile reads a regular file of at most maxFile bytes.
func readFile(path string) (data []byte, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if len(data) > maxFile {
		return nil, errors.New("too big to be a settings or certificate file")
	}
	return data, err
}

// Save writes c, which should be valid, to path in one step: after a crash the
// file is the old or the new one. Of a file that is there, only what c says
// otherwise changes; comments, order and spacing stay. Missing folders are made,
// for the user alone, and so is the file. If path is a symbolic link, the file
// it points to is written. A file that Load would refuse, or that cannot be
// changed without losing comments, is kept beside under the name that Save
// returns; it can hold secrets, if it was refused for them.
func Save(path string, c Config) (kept string, err error) {
	data, err := c.Bytes()
	if err != nil {
		return "", err
	}
	failed := func(err error) error {
		return unavailable(bridge.Say("the configuration %s cannot be written", path), err)
	}
	target := path
	for last := range links(path) {
		target = last
	}
	dir, name := filepath.Split(target)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", failed(err)
	}
	old, err := readFile(target)
	whole := errors.Is(err, fs.ErrNotExist)
	if err == nil {
		_, _, err = Parse(target, old)
		revised, ok := revise(old, c)
		if ok {
			data = revised
		}
		whole = ok && err == nil
	}
	if !whole {
		kept = target + ".old-" + time.Now().UTC().Format("20060102-150405.000")
		if err := keep(target, kept); err != nil {
			return "", failed(err)
		}
	}
	if err := replace(dir, name, data); err != nil {
		return kept, failed(err)
	}
	return kept, nil
}

// keep gives the file the second name kept.
func keep(file, kept string) error {
	if err := os.Link(file, kept); err != nil {
		if err := os.Rename(file, kept); err != nil { // No links here, or it is a folder.
			return err
		}
	}
	info, err := os.Stat(kept)
	if err != nil || info.IsDir() {
		return err
	}
	return os.Chmod(kept, 0o600)
}

// replace puts a file with data in the place of dir/name.
func replace(dir, name string, data []byte) (err error) {
	f, err := os.CreateTemp(dir, "."+name+"-*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	if runtime.GOOS == "windows" {
		return nil // Folders cannot be synced there.
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// links yields path and, as long as it is a symbolic link, what it points to;
// the last need not exist.
func links(path string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for range 40 {
			if !yield(path) {
				return
			}
			link, err := os.Readlink(path)
			if err != nil {
				return
			}
			if !filepath.IsAbs(link) {
				link = filepath.Join(filepath.Dir(path), link)
			}
			path = filepath.Clean(link)
		}
	}
}

// Touch makes a running Perch load the file again, and with it the secrets. It
// does nothing if there is no file.
func Touch(path string) error {
	now := time.Now()
	if err := os.Chtimes(path, now, now); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unavailable(bridge.Say("the configuration %s cannot be touched", path), err)
	}
	return nil
}

func unavailable(text bridge.Text, cause error) error {
	return &bridge.Error{Code: bridge.CodeUnavailable, Text: text, Cause: cause}
}
