# Sets up .venv with musc-edge; sourced by demo.sh and test.sh with "" or "[dev]" in $EXTRA.
# Idempotent: a second run finds everything in place and takes a moment.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "== $*" >&2; }
fail() { printf '%s\n' "!! $*" >&2; exit 1; }

PYTHON=${PYTHON:-python3}
command -v "$PYTHON" >/dev/null 2>&1 ||
    fail "$PYTHON not found. Install Python 3.10 or newer (Debian: apt-get install python3 python3-venv)."
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
    fail "$("$PYTHON" --version) is too old; musc-edge needs 3.10 or newer. Set PYTHON=/path/to/python3.10."
if [ ! -x .venv/bin/python ]; then
    say "making .venv with $("$PYTHON" --version)"
    "$PYTHON" -m venv .venv || { rm -rf .venv; fail "venv failed (Debian: apt-get install python3-venv)."; }
fi

stamp=".venv/.installed$EXTRA"
wanted=$(cksum <pyproject.toml)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    free_kb=$(df -Pk . | awk 'NR == 2 { print $4 }')
    [ "$free_kb" -gt 10000000 ] ||
        fail "$((free_kb / 1000000)) GB free here; torch and its libraries need 10 GB to install."
    say "installing musc-edge and what it needs (torch with CUDA is 6 GB: some minutes)"
    .venv/bin/python -m pip install --quiet --upgrade pip
    .venv/bin/python -m pip install --progress-bar off --editable ".$EXTRA" >.venv/install.log 2>&1 &
    installer=$!
    trap 'kill $installer 2>/dev/null; exit 130' INT TERM
    while kill -0 $installer 2>/dev/null; do
        sleep 5
        tail -n 1 .venv/install.log | cut -c 1-100 >&2
    done
    wait $installer ||
        { tail -n 15 .venv/install.log >&2; fail "pip failed; the whole log is .venv/install.log."; }
    trap - INT TERM
    printf '%s\n' "$wanted" >"$stamp"
fi

.venv/bin/python -c 'import cv2' 2>/dev/null ||
    fail "OpenCV cannot be loaded; it needs system libraries (Debian: apt-get install libgl1 libglib2.0-0)."
