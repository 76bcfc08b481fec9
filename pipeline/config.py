"""The one place where settings are defined: ``config.toml`` as pydantic models.

A setting is a field of one section and nowhere else; its docstring is its
documentation. The unit stands in the key's name. Unknown keys are refused.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from pipeline.config_alarm import Alarm, default_alarms
from pipeline.config_camera import Camera, PushedCamera
from pipeline.config_geometry import GEOMETRY_KEYS
from pipeline.config_method import (
    CALIBRATION_PEERS,
    JudgeSettings,
    MuscSettings,
    WindowSettings,
    scores_needed,
)
from pipeline.config_plant import (
    EvidenceSettings,
    LedgerSettings,
    LineSettings,
    LogSettings,
    MqttSettings,
    OutboxSettings,
    PartSettings,
    RecordSettings,
    TransportSettings,
)
from pipeline.config_settings import Settings
from pipeline.good_folder import content_digest, recipe_folders

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self


STAGE_ENDPOINTS = ("notices", "frames", "inspections")
CONFIG_VERSION = 1
"""The newest format of a config file that this program understands."""


class Config(Settings):
    """A whole line."""

    version: int = Field(default=CONFIG_VERSION, ge=1, le=CONFIG_VERSION)
    """Version of this file's format."""
    line: LineSettings = LineSettings()
    camera: list[Camera] = Field(min_length=1, max_length=16)
    part: PartSettings = PartSettings()
    transport: TransportSettings = TransportSettings()
    window: WindowSettings = WindowSettings()
    musc: MuscSettings = MuscSettings()
    judge: JudgeSettings = JudgeSettings()
    mqtt: MqttSettings = MqttSettings()
    outbox: OutboxSettings = OutboxSettings()
    alarm: list[Alarm] = Field(default_factory=default_alarms, max_length=64)
    ledger: LedgerSettings = LedgerSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    record: RecordSettings = RecordSettings()
    log: LogSettings = LogSettings()

    @model_validator(mode="after")
    def _cameras_fit(self) -> Self:
        ids = [camera.id for camera in self.camera]
        if len(set(ids)) != len(ids):
            msg = f"camera ids must differ: {', '.join(ids)}"
            raise ValueError(msg)
        unknown = sorted(set(self.part.views) - set(ids))
        if unknown:
            msg = f"part.views names {', '.join(unknown)}; the cameras are {', '.join(ids)}"
            raise ValueError(msg)
        if len(set(self.part.views)) != len(self.part.views):
            msg = f"part.views must differ: {', '.join(self.part.views)}"
            raise ValueError(msg)
        names = [alarm.name for alarm in self.alarm]
        if len(set(names)) != len(names):
            msg = f"alarm names must differ: {', '.join(names)}"
            raise ValueError(msg)
        if self.judge.method != "fixed" and self.window.size_frames <= CALIBRATION_PEERS:
            msg = (
                f"window.size_frames = {self.window.size_frames}: judge.method = "
                f"{self.judge.method!r} needs at least {CALIBRATION_PEERS + 1}, "
                "scores of fewer peers cannot be compared"
            )
            raise ValueError(msg)
        counted = [c.id for c in self.camera if c.part_id == "counter" and c.id in self.views]
        if counted and len(self.views) > 1:
            msg = (
                f"camera {counted[0]}: part_id = 'counter' with {len(self.views)} views of a part; "
                "each camera counts for itself, so views would be joined wrongly: use 'message'"
            )
            raise ValueError(msg)
        free = [c.id for c in self.camera if c.interval_ms == 0 and c.runs_freely]
        if self.transport.policy == "drop_oldest" and free:
            msg = (
                f"camera {free[0]}: interval_ms = 0 with transport.policy = 'drop_oldest' "
                "would drop most frames; give interval_ms or use policy = 'wait'"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _rejects_are_supported(self) -> Self:
        """Regions share what may be rejected, so that each needs more scores to tell its part."""
        most = max(self.camera, key=lambda camera: camera.regions)
        share = self.judge.rejects_per_1000 / most.regions
        needed = scores_needed(share)
        if self.judge.method != "fixed" and needed > self.judge.history_scores:
            msg = (
                f"camera {most.id}: {most.regions} regions share judge.rejects_per_1000 = "
                f"{self.judge.rejects_per_1000:g}, {share:.3g} each; judge.history_scores = "
                f"{self.judge.history_scores} can never support it, it needs at least {needed}"
            )
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _endpoints_differ(self) -> Self:
        transport = self.transport
        named = {f"transport.{name}": getattr(transport, name) for name in STAGE_ENDPOINTS}
        named |= {
            f"camera {camera.id} part_endpoint": camera.part_endpoint for camera in self.camera
        }
        named |= {
            f"camera {camera.id} endpoint": camera.endpoint
            for camera in self.camera
            if isinstance(camera, PushedCamera)
        }
        taken: dict[str, str] = {}
        for name, endpoint in named.items():
            if endpoint and endpoint in taken:
                msg = f"{taken[endpoint]} and {name} are both {endpoint}; each needs its own"
                raise ValueError(msg)
            taken[endpoint] = name
        return self

    @property
    def views(self) -> tuple[str, ...]:
        """Cameras that see each part."""
        return tuple(self.part.views) or tuple(camera.id for camera in self.camera)

    @property
    def digest(self) -> str:
        """Eight hex digits over everything that can change a result.

        Of good images what is in the files, of all recipes, as it is now on this host.
        """
        sections = {
            "recipe": self.line.recipe,
            "part": self.part.model_dump(exclude={"rate_per_minute"}),
            "window": self.window.model_dump(exclude={"snapshot_s"}),
            "musc": self.musc.model_dump(exclude={"weights", "offline", "device", "batch_frames"}),
            "judge": self.judge.model_dump(),
            "camera": {c.id: c.model_dump(include=set(GEOMETRY_KEYS)) for c in self.camera},
            "good": {c.id: self._good_digests(c.good_path) for c in self.camera if c.good_path},
        }
        return hashlib.sha256(json.dumps(sections, sort_keys=True).encode()).hexdigest()[:8]

    def _good_digests(self, root: Path) -> dict[str, str | None]:
        """Return the digests of a folder of good images and of the recipes' folders in it."""
        inner = recipe_folders(root)
        return {"": content_digest(root), **{one.name: content_digest(one) for one in inner}}

    def endpoint(self, name: Literal["notices", "frames", "inspections"]) -> str:
        """Return an endpoint, by default an ipc socket in the state folder."""
        given: str = getattr(self.transport, name)
        return given or f"ipc://{self.line.state_path}/{name}.ipc"

    def counter_path(self, camera: str) -> Path:
        """Return the file of a camera's durable counter."""
        return self.line.state_path / f"{camera}.count"

    @property
    def windows_path(self) -> Path:
        """The folder of what is kept of windows."""
        return self.line.state_path / "windows"
