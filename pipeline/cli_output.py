"""How every command speaks: tables, summaries, the log on standard error."""

from __future__ import annotations

import json
import logging
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

JsonOption = Annotated[bool, typer.Option("--json", help="End with one line of JSON.")]
JsonRowsOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]


def print_rows(columns: tuple[str, ...], rows: list[list[str]]) -> None:
    """Print a table on a terminal, and whole tab-separated lines otherwise."""
    console = Console()
    if not rows:
        typer.echo("no results")
    elif console.is_terminal:
        table = Table(*columns, box=None)
        for row in rows:
            # Text, not str: a note with [red] in it is shown as it is, not as markup.
            table.add_row(*map(Text, row))
        console.print(table)
    else:
        typer.echo("\n".join("\t".join(row) for row in [list(columns), *rows]))


def print_summary(summary: dict[str, Any], *, as_json: bool) -> None:
    """Print names and values a line each, or one line of JSON."""
    if as_json:
        typer.echo(json.dumps(summary))
        return
    for name, value in summary.items():
        typer.echo(f"{name:<12} {value}")


def log_to_stderr(level: str, stage: str) -> None:
    """Send the log of this process, named by its stage, to standard error."""
    logging.basicConfig(
        level=level, format=f"%(asctime)s %(levelname)-7s {stage}: %(message)s", stream=sys.stderr
    )
