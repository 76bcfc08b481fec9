"""The gate of the pipeline bench: the real one, which notes when the broker confirmed a frame.

It runs as ``python -m pipeline.bench_gate gate --config CONFIG --supervised``. Of every
frame whose live result the broker has acknowledged (PUBACK) it appends one line to the
file ``confirmed.csv`` in the state folder: camera, boot, sequence number, and when the
acknowledgement came, in ns on the host's monotonic clock.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pipeline.config_file import load_config
from pipeline.gate_stage import run_gate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from edge.frame import FrameKey
    from pipeline.config import Config


class Confirmed(NamedTuple):
    """When the broker had a frame's result."""

    boot: str
    seq: int
    at_ns: int


def confirmed_path(config: Config) -> Path:
    """Return the file that the gate of a line notes confirmations in."""
    return config.line.state_path / "confirmed.csv"


def read_confirmed(path: Path) -> list[Confirmed]:
    """Return what was noted so far, in the order of the confirmations; whole lines only."""
    if not path.is_file():
        return []
    whole, _, _ = path.read_text(encoding="ascii").rpartition("\n")
    return [
        Confirmed(boot, int(seq), int(at_ns))
        for _, boot, seq, at_ns in csv.reader(whole.splitlines())
    ]


def note(file: TextIO, key: FrameKey, at_ns: int) -> None:
    """Append one line, and have it in the file at once."""
    file.write(f"{key.camera},{key.boot},{key.seq},{at_ns}\n")
    file.flush()


def main(arguments: Sequence[str]) -> None:
    """Run the gate until it is told to stop."""
    config = load_config(Path(arguments[arguments.index("--config") + 1]))
    path = confirmed_path(config)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="ascii") as file:
        run_gate(
            config,
            supervised="--supervised" in arguments,
            on_confirmed=lambda key, at_ns: note(file, key, at_ns),
        )


if __name__ == "__main__":
    main(sys.argv[1:])
