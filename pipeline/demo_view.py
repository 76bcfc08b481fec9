"""What the demo shows: verdicts as they come from the broker, then the summary.

On a terminal a live table, otherwise plain lines. It learns of verdicts only by
MQTT, like any other subscriber.
"""

from __future__ import annotations

import json
import queue
import sys
from collections import Counter, deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from edge.mqtt import BrokerError, BrokerSession, BrokerSettings

if TYPE_CHECKING:
    from types import TracebackType

    from rich.console import Console

    from pipeline.demo import DemoLine, Summary

ROWS_SHOWN = 12
STYLES = {"PASS": "green", "FAIL": "bold red", "NO_RESULT": "yellow"}
PLAIN_EVERY = 10
"""Without a terminal: a line for each FAIL, and a count every so many frames."""


class LiveView:
    """Subscribes to the line's verdicts and shows them."""

    def __init__(self, console: Console, line: DemoLine) -> None:
        """Prepare; the broker may not be there yet."""
        self._console = console
        self._line = line
        self._messages: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._session: BrokerSession | None = None
        self._last: deque[dict[str, Any]] = deque(maxlen=ROWS_SHOWN)
        self.counts: Counter[str] = Counter()
        self._progress = Progress(
            TextColumn("inspecting"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("inspecting", total=len(line.labels))
        self._live = Live(self._render(), console=console, refresh_per_second=4, transient=True)

    def __enter__(self) -> LiveView:
        """Show the table, where there is a terminal."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the table away and let go of the broker."""
        if self._console.is_terminal:
            self._live.stop()
        if self._session is not None:
            self._session.close()

    def tick(self) -> None:
        """Show what has come since; connect as soon as the broker is there."""
        if self._session is None:
            self._connect()
        while not self._messages.empty():
            self._take(json.loads(self._messages.get()))
        if self._console.is_terminal:
            self._live.update(self._render())

    def _connect(self) -> None:
        settings = BrokerSettings("127.0.0.1", self._line.port, "3.1.1", "demo-view")
        session = BrokerSession(settings)
        session.on_message = lambda message: self._messages.put(message.payload)
        try:
            session.connect(1.0)
        except BrokerError:
            return
        session.subscribe("musc/v1/+/+/+/+/verdict")
        self._session = session

    def _take(self, message: dict[str, Any]) -> None:
        verdict = message["verdict"]
        self.counts[verdict] += 1
        self._last.append(message)
        self._progress.advance(self._task)
        if self._console.is_terminal:
            return
        done = self.counts.total()
        if verdict == "FAIL" or done % PLAIN_EVERY == 0:
            self._console.print(f"{done:5d}  {_words(message)}", highlight=False)

    def _render(self) -> Group:
        table = Table("part", "verdict", "why", "score", "threshold", "peers", "ms")
        for message in self._last:
            style = STYLES[message["verdict"]]
            table.add_row(
                message["part"],
                f"[{style}]{message['verdict']}[/]",
                message["why"],
                _number(message.get("score")),
                _number(message.get("thr")),
                str(message.get("n", "")),
                str(message["lat_ms"]),
            )
        return Group(table, self._progress)


def print_summary(console: Console, line: DemoLine, summary: Summary, licence: str) -> None:
    """Print what came of the run and where everything lies."""
    reasons = ", ".join(f"{why} {count}" for why, count in summary.no_result.items())
    total = len(line.labels)
    if summary.frames < total:
        console.print(f"interrupted after {summary.frames} of {total} frames")
    elif not summary.verdicts:
        console.print("every frame went into warming up; more --frames give verdicts")
    rows = {
        "frames": f"{summary.frames} at {summary.frames_per_second:.2f} a second",
        "PASS / FAIL": " / ".join(str(summary.verdicts.get(v, 0)) for v in ("PASS", "FAIL")),
        "NO_RESULT": f"{sum(summary.no_result.values())} ({reasons or 'none'})",
        "image AUROC": f"{_number(summary.auroc)} raw, {_number(summary.auroc_rescored)} rescored",
        "recall": f"{_number(summary.recall)} of the defective parts FAIL",
        "false rejects": f"{_number(summary.false_rejects)} of the good parts FAIL",
        "config": str(line.config),
        "ledger": str(line.folder / "ledger.db"),
        "heatmaps": str(line.folder / "evidence"),
        "one of them": str(line.folder / "evidence" / summary.example) if summary.example else "-",
        "labels": str(line.folder / "labels.csv"),
    }
    # Soft wrap: a path that is broken into two lines cannot be copied.
    for name, value in rows.items():
        console.print(f"{name:<14} {value}", highlight=False, soft_wrap=True)
    console.print(f"\n{line.attribution.strip()}\n{licence}", highlight=False, soft_wrap=True)
    print_subscribe_hint(console, line, past=True)


def print_subscribe_hint(console: Console, line: DemoLine, *, past: bool = False) -> None:
    """Say how any MQTT client can listen."""
    again = f"Run it again with: {_command()} run --config {line.config}\n" if past else ""
    console.print(
        f"{again}Listen with any MQTT client{' while it runs' if past else ''}: "
        f"mosquitto_sub -h 127.0.0.1 -p {line.port} -t 'musc/v1/#' -v",
        highlight=False,
        soft_wrap=True,
    )


def _command() -> str:
    """Return how this installation's command is called from anywhere."""
    beside = Path(sys.executable).with_name("musc-edge")
    return str(beside) if beside.exists() else "musc-edge"


def _words(message: dict[str, Any]) -> str:
    words = f"{message['part']}: {message['verdict']} ({message['why']})"
    if "score" in message:
        words += f" score {_number(message['score'])}"
    if "thr" in message:
        words += f", threshold {_number(message['thr'])}"
    return words


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
