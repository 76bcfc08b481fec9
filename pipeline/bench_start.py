"""What a scorer must do at least before its first frame: import, read weights, read windows.

It runs as ``python -m pipeline.bench_start CONFIG`` and prints one JSON object: when each
step was over, in ns on the host's monotonic clock. Whoever started it knows when.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pipeline.scoring_stage  # noqa: F401 - what a scorer imports
from pipeline.build import line_backbone
from pipeline.config_file import load_config
from pipeline.snapshot_file import read_state


def main(arguments: list[str]) -> None:
    """Do the steps, each once."""
    steps = {"imported": time.monotonic_ns()}
    config = load_config(Path(arguments[0]))
    line_backbone(config)
    steps["weights"] = time.monotonic_ns()
    for path in sorted(config.windows_path.glob("*/*.safetensors")):
        read_state(path)
    steps["windows"] = time.monotonic_ns()
    print(json.dumps(steps))  # noqa: T201 - read by the bench


if __name__ == "__main__":
    main(sys.argv[1:])
