"""``musc-edge stress``: adversarial streams, through a plain line and through the guarded one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipeline.cli_output import JsonOption, log_to_stderr, print_rows


def stress(
    *,
    scenario: Annotated[
        list[str] | None, typer.Option(help="Only this stream; may be given several times.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, max=100, help="How often, from seed 0 on.")] = 5,
    window: Annotated[int, typer.Option(min=16, max=512, help="Frames in a window.")] = 32,
    folder: Annotated[
        Path | None,
        typer.Option(help="Labelled parts: labels.csv, or a folder good beside others."),
    ] = None,
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="A synthetic belt instead of solar cells.")
    ] = False,
    memory_mb: Annotated[
        int, typer.Option(min=100, help="For what was computed before; less takes longer.")
    ] = 4000,
    jobs: Annotated[
        int, typer.Option(min=1, max=64, help="Processes, which share cores and memory.")
    ] = 2,
    json_lines: JsonOption = False,
) -> None:
    """Run streams that are made to fool the line: repeated defects, a stopped belt, odd light.

    Each one goes through two inspectors: plain mutual scoring, where every part joins
    the window, and the line with its guards. Recall is taken at the score that 5 % of
    the good parts reach in the line's own undisturbed stream. With --json each stream
    ends as one JSON object. Too few distinct defects for a stream are exit code 1.
    """
    from pipeline.stress import COLUMNS, SCENARIOS, Stress, attribution, table
    from pipeline.stress_bench import StressPlan
    from pipeline.stress_jobs import run_stress

    unknown = sorted(set(scenario or ()) - set(SCENARIOS))
    if unknown:
        msg = f"no stream {unknown[0]!r}; there are {', '.join(SCENARIOS)}"
        raise typer.BadParameter(msg)
    if folder is not None and synthetic:
        msg = "--folder and --synthetic name two kinds of parts"
        raise typer.BadParameter(msg)
    log_to_stderr("ERROR", "stress")
    wanted = Stress(
        scenarios=tuple(name for name in SCENARIOS if not scenario or name in scenario),
        seeds=seeds,
        plan=StressPlan(window=window),
        memory_bytes=memory_mb * 1_000_000,
        folder=folder,
        synthetic=synthetic,
    )
    collected = run_stress(Console(), wanted, jobs)
    print_rows(COLUMNS, table(collected))
    typer.echo(attribution(wanted), nl=False)
    faults = [fault for one in collected for fault in one.faults]
    for fault in dict.fromkeys(faults):
        typer.echo(f"fault: {fault}", err=True)
    if json_lines:
        for one in collected:
            typer.echo(json.dumps(one.summary()))
    if faults:
        raise typer.Exit(1)
