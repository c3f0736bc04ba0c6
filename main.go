// Perch runs a Nextcloud Talk bot from a home machine.
package main

import (
	"os"

	"perch/bridge/cli"
)

func main() { os.Exit(cli.Process(nil)) }
