package config

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"perch/bridge"
)

// FindProgram returns the path of a program that can be run. A name with a
// slash in it is its path, which counts from dir, the folder of config.toml;
// any other is looked for in PATH. The error is a *bridge.Error that says what
// keeps it from running, as far as that can be told without running it.
func FindProgram(name, dir string) (string, error) {
	if name == "" {
		return "", &bridge.Error{
			Code: bridge.CodeInvalid,
			Text: bridge.Say("No program is set"),
			Hint: bridge.Say(`Set the program and its arguments: command = ["/full/path/to/program", "argument"]`),
		}
	}
	isPath := filepath.Base(name) != name || strings.Contains(name, "/")
	if isPath && !filepath.IsAbs(name) {
		name = filepath.Join(dir, name)
	}
	path, err := exec.LookPath(name)
	if err == nil {
		return path, runsBy(path)
	}
	if !isPath {
		return "", &bridge.Error{
			Code: bridge.CodeNotFound, Cause: err,
			Text: bridge.Say("There is no program %s in the folders of PATH", strconv.Quote(name)),
			Hint: bridge.Say(`Install it, or write its whole path: command = ["/full/path/to/program"]`),
		}
	}
	problem := &bridge.Error{Code: bridge.CodeDenied, Cause: err}
	switch info, statErr := os.Stat(name); {
	case errors.Is(statErr, fs.ErrPermission):
		problem.Text = bridge.Say("Perch may not enter the folder of %s", strconv.Quote(name))
		problem.Hint = bridge.Say("Let the user that Perch runs as enter it, and every folder above it.")
	case statErr != nil:
		problem.Code = bridge.CodeNotFound
		problem.Text = bridge.Say("There is no program %s", strconv.Quote(name))
		problem.Hint = bridge.Say("Check the path in command.")
		if first, _, ok := strings.Cut(name, " "); ok && isFile(first) {
			problem.Hint = bridge.Say("Write each argument as a string of its own, such as %s", `command = ["`+first+`", "argument"]`)
		}
	case info.IsDir():
		problem.Code = bridge.CodeInvalid
		problem.Text = bridge.Say("%s is a folder, not a program", strconv.Quote(name))
		problem.Hint = bridge.Say("Set command to the path of a program in it.")
	case !errors.Is(err, fs.ErrPermission): // Windows decides by the end of the name.
		problem.Code = bridge.CodeInvalid
		problem.Text = bridge.Say("%s is not a program for this system", strconv.Quote(name))
		problem.Hint = bridge.Say(`A script needs its language in command: command = ["python", "/full/path/to/script.py"]`)
	case info.Mode()&0o111 == 0:
		problem.Text = bridge.Say("%s may not be run", strconv.Quote(name))
		problem.Hint = bridge.Say("Allow it: chmod +x %s", strconv.Quote(name))
	default:
		problem.Text = bridge.Say("%s may not be run", strconv.Quote(name))
		problem.Hint = bridge.Say("May your user run the file, and enter its folder? Is its disk mounted without noexec?")
	}
	return "", problem
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// runsBy returns an error if the program at path is a script whose first line
// names a program that cannot be run. Windows does not read that line.
func runsBy(path string) error {
	line := firstLine(path)
	if bytes.HasPrefix(line, []byte("\ufeff#!")) && filepath.Separator == '/' {
		return &bridge.Error{
			Code: bridge.CodeInvalid,
			Text: bridge.Say("%s begins with a byte order mark, so that its first line names no program", strconv.Quote(path)),
			Hint: bridge.Say("Save it as UTF-8 without a byte order mark (BOM)."),
		}
	}
	line, ok := bytes.CutPrefix(line, []byte("#!"))
	words := strings.Fields(string(line))
	if !ok || len(words) == 0 || filepath.Separator != '/' {
		return nil
	}
	name, last := words[0], len(words) == 1
	program, err := exec.LookPath(name)
	if err == nil && program != name {
		err = fs.ErrNotExist // The system looks in no PATH.
	}
	if err == nil && filepath.Base(name) == "env" {
		words = words[1:]
		if len(words) > 0 && words[0] == "-S" {
			words = words[1:]
		}
		if len(words) == 0 || strings.HasPrefix(words[0], "-") || strings.Contains(words[0], "=") {
			return nil
		}
		name, last = words[0], len(words) == 1
		_, err = exec.LookPath(name)
	}
	if last && HasWindowsLineEnds(path) {
		return &bridge.Error{
			Code: bridge.CodeInvalid,
			Text: bridge.Say("%s has the line ends of Windows, so that its first line names no program", strconv.Quote(path)),
			Hint: UnixLineEnds(path),
		}
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return &bridge.Error{
			Code: bridge.CodeInvalid, Cause: err,
			Text: bridge.Say("The first line of %[1]s names %[2]s, which may not be run", strconv.Quote(path), strconv.Quote(name)),
			Hint: bridge.Say("Correct the line, for example to #!/bin/sh."),
		}
	default:
		return &bridge.Error{
			Code: bridge.CodeInvalid, Cause: err,
			Text: bridge.Say("The first line of %[1]s names the program %[2]s, which is not there", strconv.Quote(path), strconv.Quote(name)),
			Hint: bridge.Say("Install it, or correct the line, for example to #!/bin/sh."),
		}
	}
}

// HasWindowsLineEnds reports whether a file is a script whose first line ends
// as on Windows, which is then part of a name or an argument.
func HasWindowsLineEnds(path string) bool {
	line := firstLine(path)
	return bytes.HasPrefix(line, []byte("#!")) && bytes.HasSuffix(line, []byte("\r"))
}

// UnixLineEnds says how to mend line ends.
func UnixLineEnds(path string) bridge.Text {
	return bridge.Say("Save it with the line ends of Unix (LF). On Linux: %s", `sed -i 's/\r$//' `+shellWord(path))
}

// firstLine returns the first line of a file, without the line feed, as far as
// the system reads it; nothing if it cannot be read: a program can be run that
// cannot.
func firstLine(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	start, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil {
		return nil
	}
	line, _, _ := bytes.Cut(start, []byte("\n"))
	return line
}
