"""How every command speaks: tables, summaries, the log on standard error."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pipeline.feature_files import FeatureCounts

JsonOption = Annotated[bool, typer.Option("--json", help="End with one line of JSON.")]
JsonRowsOption = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
FeaturesOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        file_okay=False,
        help="Folder that keeps what the backbone says of frames; a later run need not ask again.",
    ),
]


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


def features_summary(size_bytes: int, *counts: FeatureCounts | None) -> dict[str, int]:
    """Return how often a folder of features was of use, and how large it is now."""
    known = [one for one in counts if one is not None]
    return {
        "from_folder": sum(one.from_folder for one in known),
        "computed": sum(one.computed for one in known),
        "folder_bytes": size_bytes,
    }


def features_text(summary: dict[str, int]) -> str:
    """Return the same in words."""
    size_mb = summary["folder_bytes"] / 1e6
    kept, computed = summary["from_folder"], summary["computed"]
    return f"{kept} from the folder, {computed} computed; it has {size_mb:.1f} MB"


def log_to_stderr(level: str, stage: str) -> None:
    """Send the log of this process, named by its stage, to standard error."""
    logging.basicConfig(
        level=level, format=f"%(asctime)s %(levelname)-7s {stage}: %(message)s", stream=sys.stderr
    )
