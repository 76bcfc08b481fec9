"""One pass of the gate: what it has decided, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.commands import CommandResult
    from edge.frame import FrameKey
    from edge.wire import Acknowledged, ScorerUp
    from pipeline.alarm import Transition
    from pipeline.evidence_worker import Stored
    from pipeline.inspection import Inspection
    from pipeline.results import FrameResult, Moment, PartVerdict
    from pipeline.scorer_link import Answer, Answered


@dataclass(slots=True)
class Pass:
    """What one pass of the gate has to commit, acknowledge and publish."""

    moment: Moment
    results: list[FrameResult] = field(default_factory=list)
    parts: list[PartVerdict] = field(default_factory=list)
    acknowledgements: list[tuple[bytes, Acknowledged]] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    """What became of images that were handed over earlier."""
    heard: list[Inspection | Answered | ScorerUp] = field(default_factory=list)
    """What the scorer has said, in its own order."""
    ordered: list[Answer] = field(default_factory=list)
    """What became of orders to the scorer."""
    answers: list[CommandResult] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    told_parts: list[tuple[str, str]] = field(default_factory=list)
    """Camera and the part that its next frame is of."""
    images: list[tuple[FrameKey, bytes, Inspection | None]] = field(default_factory=list)
