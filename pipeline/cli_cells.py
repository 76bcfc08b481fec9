"""``musc-edge solar-cells``: real parts with labels, to try the other commands on."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from edge.errors import LineError


class CellsError(LineError):
    """The cells cannot be written as asked; the message says why."""


def solar_cells(
    out: Annotated[Path, typer.Argument(help="New or empty folder for the photographs.")],
    *,
    frames: Annotated[int, typer.Option(min=1, help="Cells, without repetition.")] = 200,
    defect_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of them that is defective.")
    ] = 0.3,
    seed: Annotated[int, typer.Option(min=0, help="Which cells, in which order.")] = 0,
) -> None:
    """Write photographs of solar cells, numbered in random order, and labels.csv.

    They are monocrystalline cells of ELPV on which the experts were sure, fetched once
    (90 MB): 588 good and 313 defective. The licence, CC BY-NC-SA 4.0, is written beside.
    """
    from pipeline.solar_cells import ATTRIBUTION, SOLAR_CELLS, select_cells, write_cells
    from pipeline.wheels import fetch_wheel, user_cache

    try:
        used = out.exists() and (not out.is_dir() or any(out.iterdir()))
    except OSError as error:
        msg = f"{out}: {error.strerror}"
        raise CellsError(msg) from error
    if used:
        msg = f"{out} is not an empty folder"
        raise CellsError(msg)
    with Console(stderr=True).status("fetching the solar cells (90 MB once, then from the cache)"):
        wheel = fetch_wheel(SOLAR_CELLS, user_cache() / "wheels")
    try:
        cells = select_cells(wheel, frames=frames, defect_share=defect_share, seed=seed)
    except ValueError as error:
        msg = f"--frames {frames} --defect-share {defect_share}: {error}"
        raise CellsError(msg) from error
    try:
        paths = write_cells(cells, out)
        with (out / "labels.csv").open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("path", "label"))
            rows.writerows((path.name, cell.label) for path, cell in zip(paths, cells, strict=True))
        (out / "ATTRIBUTION.txt").write_text(ATTRIBUTION, encoding="utf-8")
    except OSError as error:
        msg = f"{out}: {error.strerror}"
        raise CellsError(msg) from error
    typer.echo(f"{out}: {frames} cells, {sum(cell.label for cell in cells)} of them defective")
    typer.echo(ATTRIBUTION, nl=False)
