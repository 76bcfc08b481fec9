"""The public MQTT contract, version 1: topics and what the box says on them.

This is what a controls engineer programs against. Every JSON payload is flat
and at most 512 bytes. What the box is told is in :mod:`edge.commands`;
``deploy/contract/`` ships the documents that both generate, and a test holds
the two together.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, model_validator

from edge.frame import (
    FRAME_KEY_LIMIT,
    MAX_SIDE_PX,
    PATTERN_WORDS,
    SEQ_LIMIT,
    BootId,
    CameraId,
    PartId,
    RecipeId,
)
from edge.frame import CameraState as CameraState  # noqa: PLC0414 - payload of camera/{id}/status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

MESSAGE_LIMIT_BYTES = 512
NUMBER_LIMIT = 99_999.0
"""Distances of unit vectors end at 2; a larger score or threshold is shown as this."""
NUMBER_FLOOR = 1e-99
"""Nearer to zero is shown as this: a third exponent digit takes ``history`` over its limit."""
LATENCY_LIMIT_MS = 99_999_999
"""A day and a bit; what an outage left open for longer is shown as this."""
WINDOW_LIMIT_FRAMES = 9_999
VIEWS_LIMIT = 99

Verdict = Literal["PASS", "FAIL", "NO_RESULT"]
State = Literal["WARMING", "READY", "DEGRADED", "FAULT", "STOPPED", "OFFLINE"]
Why = Literal[
    "score", "warming", "late", "dropped", "camera_lost", "corrupt", "stale", "missed_trigger",
    "missing_view", "overload", "scorer_down", "gate_restart", "not_finite", "regime_change",
    "disabled",
]  # fmt: skip
AlarmState = Literal["NORMAL", "ACTIVE_UNACK", "ACTIVE_ACK", "RTN_UNACK", "SHELVED"]
"""Payload of ``alarm/{name}``, plain ASCII; the states of ISA-18.2."""
WHY_MEANINGS: dict[Why, str] = {
    "score": "Scored, and compared with the threshold.",
    "warming": "The window, or what the threshold is made from, is not filled yet.",
    "late": "No inspection before the deadline.",
    "dropped": "The scorer was behind, or away, and the frame had to make room.",
    "camera_lost": "The camera went away; nobody can say what it saw.",
    "corrupt": "The image cannot be read, or is not what the camera declared.",
    "stale": "The camera repeats the same image, bit by bit.",
    "missed_trigger": "The part was told, or its trigger counted, and no image of it came.",
    "missing_view": "Not every view of the part came.",
    "overload": "Out of memory, or beyond what the scorer can do.",
    "scorer_down": "The scorer was not there.",
    "gate_restart": "The gate was started again before this had a result.",
    "not_finite": "The score is no number.",
    "regime_change": "The parts on the belt are not those of the window any more.",
    "disabled": "Inspection is switched off.",
}
CODES: dict[Verdict, Literal[0, 1, 2]] = {"NO_RESULT": 0, "PASS": 1, "FAIL": 2}


def _shortened(number: float) -> float:
    if number == 0.0:
        return 0.0
    size = max(NUMBER_FLOOR, min(NUMBER_LIMIT, abs(number)))
    return float(f"{math.copysign(size, number):.6g}")


def _capped(latency_ms: int) -> int:
    return min(latency_ms, LATENCY_LIMIT_MS)


Number = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_shortened)]
"""Finite, with six significant digits: a message is for people, the ledger has them all."""
Latency = Annotated[int, Field(ge=0), AfterValidator(_capped)]
SequenceNumber = Annotated[int, Field(ge=1, le=SEQ_LIMIT)]
Timestamp = Annotated[
    str,
    Field(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"),
]
"""ISO-8601, UTC, microseconds."""
DIGEST_PATTERN = r"^[0-9a-f]{4,8}$"
SEGMENT_PATTERN = r"^[A-Za-z0-9_.-]{1,32}$"
ALARM_PATTERN = r"^[A-Za-z0-9_-]{1,32}$"
NAME_WORDS = {
    **PATTERN_WORDS,
    DIGEST_PATTERN: "4 to 8 hexadecimal digits, a to f in lower case",
    SEGMENT_PATTERN: "1 to 32 of A-Z a-z 0-9 _ . -",
    ALARM_PATTERN: "1 to 32 of A-Z a-z 0-9 _ -",
}
"""What a person is told instead of a pattern, for every name in a topic or a message."""
Digest = Annotated[str, Field(pattern=DIGEST_PATTERN)]
Segment = Annotated[str, Field(pattern=SEGMENT_PATTERN)]
AlarmName = Annotated[str, Field(pattern=ALARM_PATTERN)]
"""Name of an alarm: a topic segment, at most 32 characters."""


def annotated_values(meanings: Mapping[Any, str]) -> dict[str, JsonValue]:
    """Return the part of a JSON Schema that says what each value of an enumeration means."""
    return {"oneOf": [{"const": value, "description": said} for value, said in meanings.items()]}


class _Payload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    v: Literal[1] = 1
    """Version of the contract."""

    def payload(self) -> bytes:
        """Return the JSON, without the fields that are not known."""
        return self.model_dump_json(exclude_none=True).encode()


class _Result(_Payload):
    """What frame results and part verdicts have in common."""

    boot: BootId
    """The start of the process that numbered this, of a frame its ingest, of a part the gate."""
    part: PartId
    """Id of the part."""
    t_cap: Timestamp
    """When the frame was captured; of a part, its first frame."""
    t_exp: Timestamp
    """The deadline, for information: the PLC decides by its own timer."""
    verdict: Verdict
    """What was found; only PASS lets a part go on."""
    code: Literal[0, 1, 2]
    """The verdict as a number: 0 NO_RESULT, 1 PASS, 2 FAIL."""
    why: Annotated[Why, Field(json_schema_extra=annotated_values(WHY_MEANINGS))]
    """What decided the verdict."""
    warn: bool = False
    """The score is unusual, yet below the threshold: the part passes."""
    score: Number | None = None
    """How anomalous it is, higher is worse; not given where nothing was scored."""
    thr: Number | None = None
    """Threshold that the score was compared with."""
    state: State
    """State of the line when this was decided."""
    recipe: RecipeId
    """The product that was on the line."""
    model: Digest | None = None
    """Digest of the backbone's weights; not given where nothing was scored."""
    cfg: Digest
    """Eight hex digits over what can change a result; not over paths and addresses."""
    lat_ms: Latency
    """Time from capture to verdict, in milliseconds."""
    img: str | None = Field(default=None, max_length=FRAME_KEY_LIMIT)
    """Key of the stored image, camera/boot/seq."""

    def payload(self) -> bytes:
        """Return the JSON, without the fields that are not known.

        ``img`` repeats camera, boot and seq; it is the one field that is left out
        where the longest identifiers would take the message over its limit.
        """
        body = super().payload()
        if len(body) <= MESSAGE_LIMIT_BYTES:
            return body
        return self.model_dump_json(exclude_none=True, exclude={"img"}).encode()

    @model_validator(mode="after")
    def _code_says_the_verdict(self) -> Self:
        if self.code != CODES[self.verdict]:
            msg = f"code {self.code} does not mean {self.verdict}, which is {CODES[self.verdict]}"
            raise ValueError(msg)
        return self


class VerdictMessage(_Result):
    """Topic ``verdict``: the result of one frame; ``boot`` is the ingest's."""

    seq: SequenceNumber
    """Number of the frame at its camera; it goes on across restarts."""
    cam: CameraId
    """Id of the camera."""
    p: Annotated[Number, Field(gt=0, le=1)] | None = None
    """P-value of the score; not given where none is computed."""
    win: int | None = Field(default=None, ge=1, le=WINDOW_LIMIT_FRAMES)
    """Frames in a full window."""
    n: int | None = Field(default=None, ge=0, le=WINDOW_LIMIT_FRAMES)
    """Peers that this frame was scored against."""
    x: int | None = Field(default=None, ge=0, le=MAX_SIDE_PX)
    """Left edge of the most anomalous region, in sensor pixels; only on FAIL."""
    y: int | None = Field(default=None, ge=0, le=MAX_SIDE_PX)
    """Upper edge of that region."""
    w: int | None = Field(default=None, ge=1, le=MAX_SIDE_PX)
    """Width of that region."""
    h: int | None = Field(default=None, ge=1, le=MAX_SIDE_PX)
    """Height of that region."""

    @model_validator(mode="after")
    def _box_is_whole_and_only_on_fail(self) -> Self:
        known = [side is not None for side in (self.x, self.y, self.w, self.h)]
        if any(known) and not (all(known) and self.verdict == "FAIL"):
            msg = f"x, y, w, h come together and only on FAIL, not on {self.verdict}"
            raise ValueError(msg)
        return self


class PartMessage(_Result):
    """Topic ``part``: the verdict of one part; ``boot`` is the gate's."""

    part_seq: SequenceNumber
    """Number of the part at the gate; the PLC uses each once."""
    views: int = Field(ge=1, le=VIEWS_LIMIT)
    """Views that are expected of a part."""
    seen: int = Field(ge=0, le=VIEWS_LIMIT)
    """Views that came."""
    worst: CameraId | None = None
    """The camera that decided."""


class HistoryMessage(VerdictMessage):
    """Topic ``history``: a frame result that an outage kept back; never wired to a gate."""

    late: Literal[True] = True
    """Always true: it was kept back and comes after its deadline."""


class PartHistoryMessage(PartMessage):
    """Topic ``history/part``: a part verdict that an outage kept back; never wired to a gate."""

    late: Literal[True] = True
    """Always true: it was kept back and comes after its deadline."""


class StatusMessage(_Payload):
    """Topic ``status``, retained; as last will with state OFFLINE."""

    state: State
    """State of the line."""
    boot: BootId
    """The start of the gate, 64 random bits in hex."""
    cfg: Digest
    """Eight hex digits over what can change a result; not over paths and addresses."""


class CameraCounts(_Payload):
    """Topic ``camera/{id}/counts``, retained: what a camera has done since its process began."""

    openings: int = Field(default=0, ge=0)
    """How often it was opened."""
    losses: int = Field(default=0, ge=0)
    """How often it went, or was not there."""
    pictures: int = Field(default=0, ge=0)
    """What it delivered, failed pictures included."""
    failed: int = Field(default=0, ge=0)
    """Pictures whose buffer failed or was not whole."""
    skipped: int = Field(default=0, ge=0)
    """Pictures of a free-running camera that nobody asked for."""
    frames: int = Field(default=0, ge=0)
    """Numbered triggers; each has one result."""
    corrupt: int = Field(default=0, ge=0)
    """Frames among them whose picture cannot be used."""
    dropped: int = Field(default=0, ge=0)
    """Frames that had to make room."""
    stale: int = Field(default=0, ge=0)
    """Frames that repeat the one before."""
    missed_trigger: int = Field(default=0, ge=0)
    """Triggers, or told parts, without a picture."""
    camera_lost: int = Field(default=0, ge=0)
    """Told parts while the camera was not there."""
    unaccounted: int = Field(default=0, ge=0)
    """Pictures without a result: the gate was away for hours."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topic tree of one station: ``{prefix}/v1/{site}/{area}/{line}/{station}``."""

    prefix: str
    site: str
    area: str
    line: str
    station: str

    @property
    def root(self) -> str:
        """Everything of this station is below."""
        return f"{self.prefix}/v1/{self.site}/{self.area}/{self.line}/{self.station}"

    def under(self, name: str) -> str:
        """Return the topic ``name`` of this station."""
        return f"{self.root}/{name}"

    def heatmap(self, camera: str, boot: str, seq: int) -> str:
        """Return the topic of one frame's heatmap."""
        return self.under(f"heatmap/{camera}/{boot}/{seq}")

    def camera(self, camera: str) -> str:
        """Return the topic of one camera's state."""
        return self.under(f"camera/{camera}/status")

    def camera_counts(self, camera: str) -> str:
        """Return the topic of one camera's counts."""
        return self.under(f"camera/{camera}/counts")

    def alarm(self, name: str) -> str:
        """Return the topic of one alarm's state."""
        return self.under(f"alarm/{name}")

    def command(self, verb: str) -> str:
        """Return the topic that the box is told ``verb`` on."""
        return self.under(f"cmd/{verb}")

    def verb(self, topic: str) -> str | None:
        """Return the verb of a command topic; None for any other, ``cmd/result`` among them.

        A subscription to ``cmd/+`` also brings the box its own results, which
        must not be answered again.
        """
        begin = self.command("")
        verb = topic[len(begin) :]
        if not topic.startswith(begin) or "/" in verb or verb in {"", "result"}:
            return None
        return verb


def plc_line(boot: str, part_seq: int, part: str, verdict: Verdict) -> bytes:
    """Return the ``plc`` payload, ASCII ``boot;part_seq;part;code``."""
    return f"{boot};{part_seq};{part};{CODES[verdict]}".encode("ascii")


def late_payload(payload: bytes) -> bytes:
    """Return what ``history`` or ``history/part`` says of a kept ``verdict`` or ``part`` payload.

    It is the same message with ``late``, within the same limit; ``img`` is left
    out where the message would be over it.

    Raises:
        ValueError: Not the payload of a frame result or a part verdict.
    """
    fields = json.loads(payload)
    if not isinstance(fields, dict):
        msg = f"not a result: {payload[:40]!r}"
        raise ValueError(msg)  # noqa: TRY004 - the payload's value is wrong, not the caller's type
    kind = PartHistoryMessage if "part_seq" in fields else HistoryMessage
    return kind.model_validate(fields).payload()
