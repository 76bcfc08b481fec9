"""What makes two runs the same: one hash over the results of a ledger.

SHA-256 over one line a frame, ordered by camera, then number, then boot; all cameras of
the ledger are in it. A line is a JSON array without blanks of ``FIELDS``, NULL as null,
ended by a newline. A number that is no integer is written as Python's ``repr`` writes the
float64 in the ledger, the shortest decimals that read back as the same number: two scores
that differ in the last bit are two runs.

When and how fast a result came is not in it, nor in which start of the camera (boot).
"""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from typing import TYPE_CHECKING

from pipeline.ledger import open_for_reading

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = (
    "camera", "seq", "part_id", "verdict", "reason", "score", "rescored", "threshold", "window_n",
)  # fmt: skip
"""Columns of ``verdicts`` that are the result; ``reason`` is the message's ``why``."""


def run_hash(ledger: Path) -> str:
    """Return the identity of a ledger's results, 64 hex digits.

    Raises:
        LedgerError: There is no such file, or it is not a ledger.
    """
    digest = hashlib.sha256()
    query = f"select {', '.join(FIELDS)} from verdicts order by camera, seq, boot"  # noqa: S608 - our own columns
    with closing(open_for_reading(ledger)) as db:
        for row in db.execute(query):
            digest.update(json.dumps(row, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()
