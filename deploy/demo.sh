#!/bin/sh
# Sets everything up and runs the demo; arguments go to `musc-edge demo` (see --help).
EXTRA=""
. "$(dirname "$0")/setup.sh"
say "running the demo"
exec .venv/bin/musc-edge demo "$@"
