"""Frame results and part verdicts: what the gate decides and everybody reads.

One result has two faces, a ledger row and an MQTT message; both are made here,
so that they cannot disagree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal

from edge.contract import CODES, PartMessage, State, Verdict, VerdictMessage, Why

if TYPE_CHECKING:
    from edge.frame import Announcement, FrameKey
    from pipeline.inspection import Inspection


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, on both clocks."""

    utc: datetime
    monotonic_ns: int


@dataclass(frozen=True, slots=True)
class LineIdentity:
    """What all results of one line have in common."""

    config_hash: str
    gate_boot: str
    deadline_ms: int
    deciding: Literal["raw", "rescored"] = "raw"
    """Which score the threshold belongs to."""


@dataclass(frozen=True, slots=True)
class FrameResult:
    """The one result of a frame."""

    announcement: Announcement
    verdict: Verdict
    why: Why
    detail: str
    state: State
    recipe: str
    """What was on the line: the inspection's recipe, or the gate's where there is none."""
    decided_at: datetime
    latency_ms: int
    inspection: Inspection | None = None
    """The opinion it rests on; None where the frame was not scored in time."""
    live: bool = True
    """Whether anybody may wait for it; what was counted and never announced is past."""

    @property
    def key(self) -> FrameKey:
        """Key of the frame."""
        return self.announcement.key


@dataclass(frozen=True, slots=True)
class PartVerdict:
    """The one verdict of a part, decided by its worst view."""

    part_id: str
    part_seq: int
    views: int
    """Views expected."""
    seen: int
    """Views that came."""
    worst: FrameResult | None
    """The result that decided; None where it was a missing view."""
    first: FrameResult
    """The first view's result; the part's times count from its capture."""
    frames: tuple[FrameKey, ...]
    """The views that came."""
    verdict: Verdict
    why: Why
    decided_at: datetime
    latency_ms: int


def timestamp(moment: datetime) -> str:
    """Return ISO-8601 with microseconds and Z."""
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds")[:26] + "Z"


def moment_of(text: str) -> datetime:
    """Return the time of a :func:`timestamp`."""
    # Python 3.10 does not read the Z.
    return datetime.fromisoformat(text.removesuffix("Z") + "+00:00")


def frame_message(result: FrameResult, identity: LineIdentity) -> VerdictMessage:
    """Return the ``verdict`` payload of a frame result."""
    seen = result.inspection
    box: dict[str, Any] = {}
    if result.verdict == "FAIL" and seen is not None and seen.box is not None:
        box = dict(zip("xywh", seen.box, strict=True))
    return VerdictMessage(
        **_times(result, identity),
        **_shared(result, identity),
        boot=result.announcement.boot,
        part=result.announcement.part_id,
        lat_ms=result.latency_ms,
        verdict=result.verdict,
        code=CODES[result.verdict],
        why=result.why,
        seq=result.announcement.seq,
        cam=result.announcement.camera,
        win=seen.window_size if seen else None,
        n=seen.window_n if seen else None,
        p=_short(seen.p_value) if seen else None,
        **box,
    )


def part_message(part: PartVerdict, identity: LineIdentity) -> PartMessage:
    """Return the ``part`` payload of a part verdict."""
    shared = _shared(part.worst or part.first, identity)
    if part.worst is None:
        shared |= {"score": None, "thr": None, "img": None}
    return PartMessage(
        **_times(part.first, identity),
        **shared,
        boot=identity.gate_boot,
        part=part.part_id,
        lat_ms=part.latency_ms,
        verdict=part.verdict,
        code=CODES[part.verdict],
        why=part.why,
        part_seq=part.part_seq,
        views=part.views,
        seen=part.seen,
        worst=part.worst.announcement.camera if part.worst else None,
    )


def frame_columns(result: FrameResult, identity: LineIdentity) -> dict[str, Any]:
    """Return the columns that a result adds to its open ledger row."""
    seen = result.inspection
    return {
        "decided_at": timestamp(result.decided_at),
        "verdict": result.verdict,
        "code": CODES[result.verdict],
        "reason": result.why,
        "detail": result.detail,
        "state": result.state,
        "latency_ms": result.latency_ms,
        "recipe": result.recipe,
        "config_hash": identity.config_hash,
        "score": seen.score if seen else None,
        "rescored": seen.rescored if seen else None,
        "threshold": seen.threshold if seen else None,
        "window_n": seen.window_n if seen else None,
        "window_size": seen.window_size if seen else None,
        "admitted": int(seen.admitted) if seen else None,
        "admission": seen.admission if seen else None,
        "warn": int(seen.warn) if seen else None,
        "p_value": seen.p_value if seen else None,
        "model": seen.model if seen else None,
        "compute_ms": seen.compute_ms if seen else None,
    }


def part_row(part: PartVerdict, identity: LineIdentity) -> dict[str, Any]:
    """Return the ledger row of a part verdict."""
    return {
        "boot": identity.gate_boot,
        "part_seq": part.part_seq,
        "part_id": part.part_id,
        "captured_at": timestamp(part.first.announcement.captured_at),
        "decided_at": timestamp(part.decided_at),
        "verdict": part.verdict,
        "code": CODES[part.verdict],
        "reason": part.why,
        "views": part.views,
        "seen": part.seen,
        "worst_camera": part.worst.announcement.camera if part.worst else None,
        "worst_boot": part.worst.announcement.boot if part.worst else None,
        "worst_seq": part.worst.announcement.seq if part.worst else None,
        "latency_ms": part.latency_ms,
        "config_hash": identity.config_hash,
    }


def _times(result: FrameResult, identity: LineIdentity) -> dict[str, Any]:
    """Return when a frame was captured and when its result must stand."""
    captured = result.announcement.captured_at
    expires = captured + timedelta(milliseconds=identity.deadline_ms)
    return {"t_cap": timestamp(captured), "t_exp": timestamp(expires)}


def _shared(result: FrameResult, identity: LineIdentity) -> dict[str, Any]:
    """Return what the two messages take from the frame result that decided."""
    seen = result.inspection
    deciding = None
    if seen is not None:
        deciding = seen.score if identity.deciding == "raw" else seen.rescored
    return {
        "score": _short(deciding),
        "thr": _short(seen.threshold) if seen else None,
        "warn": seen.warn if seen and result.verdict == "PASS" else False,
        "state": result.state,
        "recipe": result.recipe,
        "model": seen.model if seen else None,
        "cfg": identity.config_hash,
        "img": str(result.key) if seen and seen.evidence else None,
    }


def _short(number: float | None) -> float | None:
    """Six significant digits keep a message small; the ledger has them all."""
    if number is None or not math.isfinite(number):
        return None
    return float(f"{number:.6g}")
