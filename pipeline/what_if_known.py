"""What parts of a ledger really were: by a table of labels, or by its reviews."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge.frame import FrameKey
from edge.sources.folder import named_part
from pipeline.label_table import read_label_table
from pipeline.replay_report import match_labels
from pipeline.what_if import Known
from pipeline.what_if_ledger import ask, each

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.what_if_ledger import LedgerParts

_NAMES = "select camera, boot, seq, origin, part_id from verdicts"
_REVIEWS = """
    select max(parts.rowid) as part, label from reviews join parts using (part_id)
    where reviews.id in (select max(id) from reviews group by part_id) group by part_id
"""
"""The latest review of each part, beside the latest of the parts with that id."""


def labelled(ledger: Path, parts: LedgerParts, table: Path) -> Known:
    """Return what a table says of the parts; one with a defective view is defective.

    Args:
        ledger: The file.
        parts: Read from it.
        table: CSV with ``path`` (the file of a frame, with or without its ending) or ``part``,
            and ``label``.

    Raises:
        LabelError: The table cannot be read, or names what is no frame of the ledger.
        LedgerError: The ledger cannot be read.
    """
    labels = match_labels(table, _named(ledger, parts, table))
    said: dict[int, bool] = {}
    for frame in parts.frames:
        if frame.key in labels:
            said[frame.place] = said.get(frame.place, False) or labels[frame.key]
    return _known(parts, said, f"by {table.name}")


def _named(ledger: Path, parts: LedgerParts, table: Path) -> dict[str, list[FrameKey]]:
    """Return the names in a table that frames of the ledger have, and those of the parts asked."""
    wanted = {row.name for row in read_label_table(table)}
    asked = {frame.key for frame in parts.frames}
    names: dict[str, list[FrameKey]] = {}
    for row in each(ledger, _NAMES):
        key, origin = FrameKey(row["camera"], row["boot"], row["seq"]), row["origin"]
        own = {origin, named_part(Path(origin)), row["part_id"]} if origin else {row["part_id"]}
        for name in own & wanted:
            found = names.setdefault(name, [])
            if key in asked:
                found.append(key)
    return names


def reviewed(ledger: Path, parts: LedgerParts) -> Known | None:
    """Return what the latest reviews say of the parts; None where there are none.

    People look at rejects far more often than at parts that passed, so a reviewed part
    stands for its share of all with its verdict, as in ``verdicts --rates``.

    Raises:
        LedgerError: The ledger cannot be read, or is from before there were reviews.
    """
    rows = ask(ledger, _REVIEWS)
    said = {parts.places.get(row["part"], -1): row["label"] == "defect" for row in rows}
    known = _known(parts, said, "by reviews")
    if not known.weights.any():
        return None
    weights, whole = known.weights.copy(), True
    for verdict in ("PASS", "FAIL", "NO_RESULT"):
        own = parts.verdicts == verdict
        looked_at = int((known.weights[own] > 0).sum())
        weights[own] *= int(own.sum()) / max(1, looked_at)
        whole &= looked_at > 0 or not own.any() or verdict == "NO_RESULT"
    if not whole:
        note = f"{known.said}; of rejects and of passes some must be, for shares of all"
        return known._replace(whole=False, said=note)
    return known._replace(weights=weights)


def _known(parts: LedgerParts, said: Mapping[int, bool], whence: str) -> Known:
    """Return what is said of parts, by place."""
    defective, weights = np.zeros(len(parts.judged), bool), np.zeros(len(parts.judged))
    for place, label in said.items():
        if place >= 0:
            defective[place], weights[place] = label, 1.0
    bad = int(defective.sum())
    good = int(weights.sum()) - bad
    return Known(defective, weights, f"{bad} defective and {good} good parts {whence}", whole=True)
