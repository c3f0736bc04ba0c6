#!/bin/sh
# Answers "disk" with the space that is left. It needs nothing but a shell: the
# message comes as JSON on standard input, and is only looked for that word.
set -eu
case $(cat) in
*'"text":"disk"'*) df -h / | awk 'NR == 2 { print $4 " of " $2 " are free." }' ;;
esac
