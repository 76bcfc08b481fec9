"""``musc-edge plc-sim``: a reference PLC on the line's broker."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

import typer

from pipeline.cli_output import JsonOption, log_to_stderr, print_summary
from pipeline.config_file import load_config

if TYPE_CHECKING:
    from edge.plc_sim import GateReport


def plc_sim(
    config: Annotated[Path, typer.Option("--config", help="Config file of the line.")] = Path(
        "config.toml"
    ),
    *,
    verdict_ms: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How long a verdict counts after the entry; part.deadline_ms if none.",
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
    """
    from edge.contract import Topics
    from edge.plc_sim import BeltTimes, PlcSim
    from edge.stopping import StopFlag
    from pipeline.broker_login import broker_settings

    settings = load_config(config)
    log_to_stderr(settings.log.level, "plc-sim")
    as_json = json_line or not sys.stdout.isatty()
    line = settings.line
    sim = PlcSim(
        broker_settings(settings.mqtt, f"plc-sim-{uuid4().hex[:8]}"),
        Topics(settings.mqtt.prefix, line.site, line.area, line.line, line.station),
        BeltTimes(verdict_ms or settings.part.deadline_ms, belt_ms),
        _print_json if as_json else _print_text,
    )
    stop = StopFlag()
    stop.install()
    sim.connect()
    try:
        sim.run_on(sys.stdin.fileno(), stop.is_set)
    finally:
        sim.close()
    print_summary(sim.summary(), as_json=as_json)


def _print_json(report: GateReport) -> None:
    typer.echo(json.dumps(report.row()))


def _print_text(report: GateReport) -> None:
    decision = report.decision
    done = "open  " if decision.open else "REJECT"
    waited = "" if decision.waited_ms is None else f", verdict after {decision.waited_ms} ms"
    why = decision.answer.name.lower().replace("_", " ")
    typer.echo(f"{report.at_ms / 1000:9.3f} s  {done}  {decision.part}  {why}{waited}")
