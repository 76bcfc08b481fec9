"""The public MQTT contract, version 1: topics, payloads, JSON Schema.

This is what a controls engineer programs against. Every JSON payload is flat
and at most 512 bytes; ``deploy/schema/`` ships the schemas that the models
here generate, and a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from edge.frame import BootId, CameraId, PartId, RecipeId

MESSAGE_LIMIT_BYTES = 512

Verdict = Literal["PASS", "FAIL", "NO_RESULT"]
State = Literal["WARMING", "READY", "DEGRADED", "FAULT", "STOPPED", "OFFLINE"]
Why = Literal[
    "score", "warming", "late", "dropped", "camera_lost", "corrupt", "stale", "missed_trigger",
    "missing_view", "overload", "scorer_down", "gate_restart", "not_finite", "regime_change",
    "disabled",
]  # fmt: skip
CODES: dict[Verdict, Literal[0, 1, 2]] = {"NO_RESULT": 0, "PASS": 1, "FAIL": 2}

Timestamp = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")]
"""ISO-8601, UTC, microseconds."""
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{4,16}$")]
Segment = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$")]


class _Payload(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    v: Literal[1] = 1

    def payload(self) -> bytes:
        """Return the JSON, without the fields that are not known."""
        return self.model_dump_json(exclude_none=True).encode()


class _Result(_Payload):
    """What frame results and part verdicts have in common."""

    boot: BootId
    part: PartId
    t_cap: Timestamp
    t_exp: Timestamp
    """The deadline, for information: the PLC decides by its own timer."""
    verdict: Verdict
    code: Literal[0, 1, 2]
    why: Why
    warn: bool = False
    score: float | None = None
    thr: float | None = None
    state: State
    recipe: RecipeId
    model: Digest | None = None
    cfg: Digest
    lat_ms: int = Field(ge=0)
    img: str | None = Field(default=None, max_length=56)


class VerdictMessage(_Result):
    """Topic ``verdict``: the result of one frame; ``boot`` is the ingest's."""

    seq: int = Field(ge=1)
    cam: CameraId
    p: float | None = Field(default=None, gt=0, le=1)
    win: int | None = Field(default=None, ge=1)
    """Frames in a full window."""
    n: int | None = Field(default=None, ge=0)
    """Peers that this frame was scored against."""
    x: int | None = Field(default=None, ge=0)
    y: int | None = Field(default=None, ge=0)
    w: int | None = Field(default=None, ge=1)
    h: int | None = Field(default=None, ge=1)


class PartMessage(_Result):
    """Topic ``part``: the verdict of one part; ``boot`` is the gate's."""

    part_seq: int = Field(ge=1)
    views: int = Field(ge=1)
    """Views that are expected of a part."""
    seen: int = Field(ge=0)
    """Views that came."""
    worst: CameraId | None = None
    """The camera that decided."""


class StatusMessage(_Payload):
    """Topic ``status``, retained; as last will with state OFFLINE."""

    state: State
    boot: BootId
    cfg: Digest


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


def plc_line(boot: str, part_seq: int, part: str, verdict: Verdict) -> bytes:
    """Return the ``plc`` payload, ASCII ``boot;part_seq;part;code``."""
    return f"{boot};{part_seq};{part};{CODES[verdict]}".encode("ascii")


def schemas() -> dict[str, dict[str, Any]]:
    """Return a JSON Schema (2020-12) for each JSON topic, by its name."""
    models: dict[str, type[_Payload]] = {
        "verdict": VerdictMessage,
        "part": PartMessage,
        "status": StatusMessage,
    }
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {
        name: {"$schema": dialect, **model.model_json_schema()} for name, model in models.items()
    }
