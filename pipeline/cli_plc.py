"""``musc-edge plc-sim``: a reference PLC on the line's broker."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from pipeline.cli_output import JsonOption, log_to_stderr, print_summary
from pipeline.config_file import load_config

if TYPE_CHECKING:
    from edge.plc_sim import BeltTimes, GateReport

log = logging.getLogger(__name__)

BAD_LINES_EXIT = 2
"""Exit code after a line of the sensors that could not be used: bad input."""


def plc_sim(
    config: Annotated[Path, typer.Option("--config", help="Config file of the line.")] = Path(
        "config.toml"
    ),
    *,
    verdict_ms: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How long a verdict counts after the entry; part.deadline_ms + 150 if none.",
        ),
    ] = None,
    belt_ms: Annotated[
        int | None,
        typer.Option(min=1, help="Travel time from entry sensor to gate; `gate` lines if none."),
    ] = None,
    json_line: JsonOption = False,
) -> None:
    """Play the PLC: reject each part unless its PASS arrives in time.

    The sensors are lines on standard input, as they would fire:
    {"enter": "A-1"} when a part passes the entry sensor and {"gate": "A-1"}
    when it is at the reject gate. With --belt-ms the second comes by itself.
    Each decision is a line on standard output: JSON, or text on a terminal.
    Verdicts cannot announce parts: a part id comes with its verdict only.
    A line that cannot be used is reported and skipped; the exit code is then 2.
    """
    from edge.contract import Topics
    from edge.plc_sim import HOPS_MS, BeltTimes, PlcSim
    from edge.stopping import StopFlag
    from pipeline.broker_login import broker_settings

    settings = load_config(config)
    log_to_stderr(settings.log.level, "plc-sim")
    as_json = json_line or not sys.stdout.isatty()
    line = settings.line
    # The box has answered at its deadline; the answer still has to reach the PLC.
    times = BeltTimes(verdict_ms or settings.part.deadline_ms + HOPS_MS, belt_ms)
    _warn_of_times(times, settings.part.deadline_ms)
    sim = PlcSim(
        broker_settings(settings.mqtt, f"plc-sim-{uuid4().hex[:8]}"),
        Topics(settings.mqtt.prefix, line.site, line.area, line.line, line.station),
        times,
        _print_json if as_json else _print_text,
    )
    stop = StopFlag()
    stop.install()
    sim.connect()
    try:
        sim.run_on(sys.stdin.fileno(), stop.is_set)
    finally:
        sim.close()
    summary = sim.summary()
    print_summary(summary, as_json=as_json)
    if summary["bad_lines"]:
        raise typer.Exit(BAD_LINES_EXIT)


def _warn_of_times(times: BeltTimes, deadline_ms: int) -> None:
    """Log what breaks ``part.deadline_ms < verdict < belt``, with the figures."""
    if times.verdict_ms <= deadline_ms:
        log.warning(
            "--verdict-ms %d is not above part.deadline_ms %d: verdicts in time will be late here",
            times.verdict_ms,
            deadline_ms,
        )
    if times.belt_ms is not None and times.verdict_ms >= times.belt_ms:
        log.warning(
            "--verdict-ms %d is not below --belt-ms %d: parts are at the gate before it is over",
            times.verdict_ms,
            times.belt_ms,
        )


def _print_json(report: GateReport) -> None:
    typer.echo(json.dumps(report.row()))


def _print_text(report: GateReport) -> None:
    decision = report.decision
    done = "open  " if decision.open else "REJECT"
    waited = "" if decision.waited_ms is None else f", verdict after {decision.waited_ms} ms"
    why = decision.answer.name.lower().replace("_", " ")
    typer.echo(f"{report.at_ms / 1000:9.3f} s  {done}  {decision.part}  {why}{waited}")
