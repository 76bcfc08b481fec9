#!/bin/sh
# Sets everything up and runs the tests; arguments go to pytest.
EXTRA="[dev]"
. "$(dirname "$0")/setup.sh"
# Two cores and several processes: more threads than cores only wait for each other.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
say "running the tests"
exec .venv/bin/python -m pytest "$@"
