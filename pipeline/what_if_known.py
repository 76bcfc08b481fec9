"""What parts of a ledger really were: by a table of labels, or by its reviews."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge.frame import FrameKey
from pipeline.replay_report import match_labels
from pipeline.what_if_ledger import Known, ask

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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
        table: CSV with ``path`` (the file of a frame) or ``part``, and ``label``.

    Raises:
        LabelError: The table cannot be read, or names what is no frame of the ledger.
        LedgerError: The ledger cannot be read.
    """
    names: dict[str, list[FrameKey]] = {}
    for row in ask(ledger, _NAMES):
        key = FrameKey(row["camera"], row["boot"], row["seq"])
        for name in {row["origin"], row["part_id"]} - {None, ""}:
            names.setdefault(name, []).append(key)
    labels = match_labels(table, names)
    said: dict[int, bool] = {}
    for frame in parts.frames:
        if frame.key in labels:
            said[frame.place] = said.get(frame.place, False) or labels[frame.key]
    return _known(parts, said, f"by {table.name}")


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
    for verdict in ("PASS", "FAIL"):
        own = parts.verdicts == verdict
        looked_at = int((known.weights[own] > 0).sum())
        weights[own] *= int(own.sum()) / max(1, looked_at)
        whole &= looked_at > 0 or not own.any()
    if not whole:
        note = f"{known.said}; of rejects and of passes some must be, for shares of all"
        return known._replace(whole=False, said=note)
    return known._replace(weights=weights)


def _known(parts: LedgerParts, said: Mapping[int, bool], whence: str) -> Known:
    """Return what is said of parts with a result, by place."""
    defective, weights = np.zeros(len(parts.judged), bool), np.zeros(len(parts.judged))
    for place, label in said.items():
        if place >= 0 and parts.judged[place]:
            defective[place], weights[place] = label, 1.0
    bad = int(defective.sum())
    good = int(weights.sum()) - bad
    return Known(defective, weights, f"{bad} defective and {good} good parts {whence}", whole=True)
