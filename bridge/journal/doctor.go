package journal

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"perch/bridge"
)

// littleSpace is how much free space is too little to go on for long with.
const littleSpace = 100 << 20

// Diagnose says whether the journal can be written, how large it is, when it was
// last written to, and what space is left on its disk. It writes a file
// beside it, and removes that.
func (j *Journal) Diagnose(ctx context.Context) bridge.Result {
	why := bridge.Say("A message that cannot be stored is refused, and Talk does not send it again.")
	var size int64
	var written time.Time
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(j.path + suffix); err == nil {
			size += info.Size()
			if info.ModTime().After(written) {
				written = info.ModTime()
			}
		}
	}
	err := j.writer.do(ctx, func(context.Context, *database) error { return nil }) // nobody has it locked
	if err == nil {
		err = tryToWrite(filepath.Dir(j.path))
	}
	if err != nil {
		return bridge.FailedBy(j.explain(err), why)
	}
	seen := bridge.Say("%[1]s, last written %[2]s", megabytes(size), written.Format(time.DateTime))
	free, err := freeSpace(filepath.Dir(j.path))
	if err != nil {
		return bridge.Passed(seen) // it can be written, and more is not known
	}
	if free < littleSpace {
		return bridge.Warned(bridge.Say("only %[1]s are free on the disk of %[2]s", megabytes(int64(free)), j.path), why,
			bridge.Say("free some space; or keep messages for a shorter time: keep in the table [journal]"))
	}
	return bridge.Passed(bridge.Say("%[1]s; %[2]s are free on its disk", seen.String(), megabytes(int64(min(free, 1<<62)))))
}

func megabytes(bytes int64) string {
	if bytes >= 10<<30 {
		return strconv.FormatInt(bytes>>30, 10) + " GB"
	}
	return strconv.FormatFloat(float64(bytes)/(1<<20), 'f', 1, 64) + " MB"
}
