"""The published figures of MuSc, to lay ours beside them; their source is in ``published.csv``."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_FILE = Path(__file__).with_name("published.csv")
_TABLES: Mapping[str | None, tuple[str, ...]] = {
    None: ("14", "17", "18"),
    "degrees": ("3", "9"),
    "keep": ("4",),
    "rscin": ("5",),
    "subsets": ("7",),
    "interval": ("10",),
    "backbone": ("8",),
    "window": (),
    "references": ("15", "16"),
}
PUBLISHED_BACKBONE = "clip-vit-l-14-336"
PUBLISHED_SIDE_PX = 518


def published_figures(
    kind: str, ablation: str | None
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Return what the paper says of a data set.

    Args:
        kind: The data set.
        ablation: Whose tables are meant; None for the figures by category.

    Returns:
        For each row of the tables (a category or ``mean``, a row of the ablation) the
        measures that were published, 0 to 1; and the numbers of the tables.
    """
    with _FILE.open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(line for line in file if not line.startswith("#")))
    own = [line for line in lines if line["dataset"] == kind and line["table"] in _TABLES[ablation]]
    figures = {
        line["row"]: {
            measure: float(value) / 100
            for measure, value in line.items()
            if value and measure not in {"table", "dataset", "row"}
        }
        for line in own
    }
    return figures, sorted({line["table"] for line in own}, key=int)
