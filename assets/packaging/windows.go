package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// windows gives perch.exe its picture and version, and makes an installer if
// makensis is there.
func (r *release) windows(ctx context.Context, program string) error {
	number := "0.0.0"
	if m := regexp.MustCompile(`^\d+\.\d+\.\d+`).FindString(r.version); m != "" {
		number = m
	}
	settings, err := os.ReadFile(files + "/winres.json")
	if err != nil {
		return err
	}
	told := strings.NewReplacer("{{.Version}}", r.version, "{{.Number}}", number+".0").Replace(string(settings))
	if err := r.write("winres.json", []byte(told)); err != nil {
		return err
	}
	if err := run(ctx, nil, "go", "run", winres, "patch", "--no-backup", "--in", filepath.Join(r.work, "winres.json"), program); err != nil {
		return err
	}
	if !installed("makensis") {
		say("There is no makensis here: no installer for Windows is made")
		return nil
	}
	work, err := filepath.Abs(r.work)
	if err != nil {
		return err
	}
	setup, err := filepath.Abs(filepath.Join(r.dist, "perch-headless-"+r.version+"-windows-amd64-setup.exe"))
	if err != nil {
		return err
	}
	program, err = filepath.Abs(program)
	if err != nil {
		return err
	}
	return run(ctx, []string{fmt.Sprint("SOURCE_DATE_EPOCH=", r.date.Unix())}, "makensis", "-V2", "-NOCD", "-DVERSION="+r.version, "-DNUMBER="+number+".0",
		"-DPROGRAM="+program, "-DWORK="+work, "-DOUT="+setup, files+"/perch.nsi")
}
