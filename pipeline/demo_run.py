"""Runs a prepared demo line to its end, showing what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.stopping import StopFlag
from pipeline.config_file import load_config
from pipeline.demo import DemoError, DemoLine, Summary, fetch_weights, summarise
from pipeline.demo_view import LiveView, print_subscribe_hint, print_summary
from pipeline.supervisor import StageError, Supervisor, line_commands

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rich.console import Console

LOG_FILE = "line.log"


def run_demo(
    console: Console,
    prepare: Callable[[Path, int, int], DemoLine],
    folder: Path,
    frames: int,
    seed: int,
) -> Summary:
    """Prepare the line, run its processes until the source ends, and sum up.

    Raises:
        DemoError: The folder is in use, or the line failed; the message has the
            last lines of its log.
    """
    with console.status("preparing parts and weights (180 MB once, then from the cache)"):
        line = prepare(folder, frames, seed)
        licence = fetch_weights()
    print_subscribe_hint(console, line)
    console.print("loading the model; the first 24 frames warm the line up and get no verdict")
    stop = StopFlag()
    stop.install()
    log_path = folder / LOG_FILE
    config = load_config(line.config)
    with log_path.open("wb") as log_file, LiveView(console, line) as view:
        supervisor = Supervisor(line_commands(config, line.config), stderr=log_file)
        try:
            supervisor.run(stop.is_set, view.tick)
        except StageError as error:
            last = "\n".join(log_path.read_text(errors="replace").splitlines()[-5:])
            msg = f"{error}\n{last}"
            raise DemoError(msg) from error
        view.tick()
    summary = summarise(line)
    print_summary(console, line, summary, licence)
    return summary
