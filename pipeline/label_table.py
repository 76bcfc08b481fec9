"""Tables that say what parts really are: CSV with ``path`` or ``part``, and ``label``.

``label`` is 0 for good and 1 for defective. Other columns, such as ``mask``, are left to
whoever wants them.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, NamedTuple

from edge.errors import LineError

if TYPE_CHECKING:
    from pathlib import Path


class LabelError(LineError):
    """A table of labels cannot be used; the message names file, line and value."""


class LabelRow(NamedTuple):
    """One line of a table."""

    line: int
    """Number of the line in the file, from 1; the first has the names of the columns."""
    name: str
    """A path, or a part's id."""
    defective: bool


def read_label_table(table: Path) -> list[LabelRow]:
    """Return the rows of a table, in order.

    Raises:
        LabelError: It cannot be read, or a row lacks a name or has another label than 0 or 1.
    """
    rows: list[LabelRow] = []
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            for number, row in enumerate(csv.DictReader(file), 2):
                name, label = row.get("path") or row.get("part"), row.get("label")
                if not name or label not in {"0", "1"}:
                    msg = (
                        f"{table}, line {number}: part {name!r}, label {label!r}; wanted columns "
                        "path or part, and label, 0 or 1"
                    )
                    raise LabelError(msg)
                rows.append(LabelRow(number, name, label == "1"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        msg = f"{table}: {reason}"
        raise LabelError(msg) from error
    return rows
