"""``musc-edge doctor``: what is wrong with a line, and what to do about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.cli_output import JsonOption, log_to_stderr

if TYPE_CHECKING:
    from pipeline.doctor import Finding, Report

STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "skipped": "dim"}


def doctor(
    config: Annotated[Path, typer.Option("--config", help="Config file of the line.")] = Path(
        "config.toml"
    ),
    *,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out what takes long: loading the model.")
    ] = False,
    json_line: JsonOption = False,
) -> None:
    """Examine a line and its machine: each fault with what to do about it.

    A running line is not disturbed: what it holds is left alone, and nothing is
    said on the broker. Exit code 0 where nothing failed, 1 where something did,
    2 where the config cannot be used.
    """
    log_to_stderr("ERROR", "doctor")
    console = Console()
    if console.is_terminal:
        with console.status("loading the libraries") as status:
            from pipeline.doctor_examination import examine

            report = examine(config, quick=quick, begin=status.update)
        console.print(_table(report))
    else:
        from pipeline.doctor_examination import examine

        report = examine(config, quick=quick, tell=_print_line)
    _print_remedies(report)
    if json_line:
        typer.echo(json.dumps(report.row()))
    raise typer.Exit(report.exit_code)


def _table(report: Report) -> Table:
    table = Table("check", "verdict", "figure", box=None)
    for found in report.findings:
        # Text, not str: a path with [red] in it is shown as it is, not as markup.
        figure = Text(_figure(found))
        table.add_row(Text(_name(found)), Text(found.verdict, STYLES[found.verdict]), figure)
    return table


def _print_line(found: Finding) -> None:
    typer.echo(f"{found.verdict:<8}{_name(found):<26} {_figure(found)}".rstrip())


def _print_remedies(report: Report) -> None:
    """Print each fault in full, with what to do."""
    for found in report.findings:
        if found.remedy:
            typer.echo(f"\n{found.verdict} {_name(found)}: {found.detail}\n  -> {found.remedy}")
    counts = dict.fromkeys(STYLES, 0)
    for found in report.findings:
        counts[found.verdict] += 1
    typer.echo("\n" + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))


def _name(found: Finding) -> str:
    return found.check if found.camera is None else f"{found.check} {found.camera}"


def _figure(found: Finding) -> str:
    """Return figure and detail; a fault's detail stands with its remedy instead."""
    detail = "" if found.remedy else found.detail
    return "; ".join(words for words in (found.figure, detail) if words)
