"""The one place where settings are defined: ``config.toml`` as pydantic models.

A setting is a field here and nowhere else; its docstring is its documentation.
The unit stands in the key's name. Unknown keys are refused.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from edge.contract import Segment
from edge.frame import CameraId, RecipeId
from pipeline.weights_registry import REGISTRY

if TYPE_CHECKING:
    from typing_extensions import Self


class Settings(BaseModel):
    """Base of every section: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LineSettings(Settings):
    """Where the box stands, in ISA-95 order, and what runs on the line."""

    site: Segment = "site"
    """First topic segment after the prefix."""
    area: Segment = "area"
    """Second topic segment."""
    line: Segment = "line"
    """Third topic segment."""
    station: Segment = "station"
    """Fourth topic segment."""
    recipe: RecipeId = "default"
    """Product on the line; windows and thresholds belong to one recipe."""
    state_path: Path = Path("state")
    """Folder of the durable counters and the local sockets."""


class _Camera(Settings):
    id: CameraId
    """Name of the camera: topic segment, ledger key, folder of its evidence."""
    interval_ms: int = Field(default=0, ge=0, le=3_600_000)
    """Least time between two captures; 0 takes them as fast as they come."""


class FolderCamera(_Camera):
    """A folder of images in name order."""

    kind: Literal["folder"]
    path: Path
    """Folder of PNG, JPEG, BMP, TIFF or WebP files, 8 or 16 bit."""
    loop: bool = False
    """Begin again at the end instead of ending the run."""


class SyntheticCamera(_Camera):
    """A seeded belt of textured parts with planted defects."""

    kind: Literal["synthetic"]
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """The same seed gives the same parts, bit by bit."""
    frames: int | None = Field(default=None, ge=1)
    """Parts until the source ends; without it the belt runs for ever."""
    defect_rate: float = Field(default=0.1, ge=0, le=1)
    """Share of parts with a planted defect."""


CALIBRATION_PEERS = 8
"""Below 8 peers a score depends on how many there are: ln(score) rises by up to 0.3."""

Camera = Annotated[FolderCamera | SyntheticCamera, Field(discriminator="kind")]


class PartSettings(Settings):
    """What makes a part and until when its verdict must stand."""

    views: list[CameraId] = Field(default_factory=list, max_length=16)
    """Cameras that see each part; empty means all of them."""
    deadline_ms: int = Field(default=500, ge=10, le=600_000)
    """Time from capture to verdict; NO_RESULT is published when it is over."""


class TransportSettings(Settings):
    """ZeroMQ between the processes; empty endpoints are sockets in state_path."""

    notices: str = Field(default="", pattern=r"^((ipc|tcp)://.+)?$")
    """Ingest to gate."""
    frames: str = Field(default="", pattern=r"^((ipc|tcp)://.+)?$")
    """Ingest to scorer."""
    inspections: str = Field(default="", pattern=r"^((ipc|tcp)://.+)?$")
    """Scorer to gate."""
    policy: Literal["wait", "drop_oldest"] = "drop_oldest"
    """A scorer that is behind makes a recorded source wait, or a live one drop its oldest frame."""
    in_flight_frames: int = Field(default=2, ge=1, le=16)
    """Frames that a camera may have at the scorer."""
    queue_frames: int = Field(default=4, ge=1, le=1024)
    """Frames that wait at a camera for the scorer; beyond, the oldest is dropped."""


class WindowSettings(Settings):
    """How many frames are scored together."""

    size_frames: int = Field(default=32, ge=2, le=512)
    """Frames in a window; each is scored against the others."""
    min_peers: int = Field(default=8, ge=1, le=511)
    """Fewer peers than this give NO_RESULT `warming`."""

    @model_validator(mode="after")
    def _peers_fit(self) -> Self:
        if self.min_peers >= self.size_frames:
            msg = (
                f"min_peers = {self.min_peers}: must be less than size_frames = {self.size_frames}"
            )
            raise ValueError(msg)
        return self


class MuscSettings(Settings):
    """The method: backbone and mutual scoring."""

    backbone: str = "dinov2-vits14"
    """Vision transformer; `musc-edge weights` lists what there is."""
    weights: Path | None = None
    """A weights file to use instead of the cache: safetensors, or a checkpoint of the authors."""
    offline: bool = False
    """Never fetch weights; they must be in the cache already."""
    image_size_px: int | None = Field(default=None, ge=32, le=1036)
    """Side of the square that a frame is resized to, a multiple of the patch; else 224 or 518."""
    stages: list[Annotated[int, Field(ge=0, le=23)]] = Field(default=[], max_length=24)
    """Blocks whose patch tokens are compared, from 0; empty takes the end of each quarter."""
    degrees: list[Annotated[int, Field(ge=1, le=9)]] = Field(
        default=[1, 3, 5], min_length=1, max_length=5
    )
    """Neighbourhoods, in patches, that tokens are averaged over; odd numbers."""
    keep_lowest: float = Field(default=0.3, gt=0, le=1)
    """Share of the peers, the most similar ones, whose distances count."""
    neighbours: list[Annotated[int, Field(ge=1, le=512)]] = Field(
        default=[1, 2, 3], min_length=1, max_length=8
    )
    """RsCIN's neighbourhood sizes, the frame itself included."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the scorer computes; auto takes CUDA where there is one."""
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Arithmetic of the backbone; auto is float16 on CUDA and float32 on a CPU."""

    @field_validator("backbone")
    @classmethod
    def _backbone_is_known(cls, name: str) -> str:
        if name not in REGISTRY:
            msg = f"no such backbone; there are {', '.join(REGISTRY)}"
            raise ValueError(msg)
        return name

    @model_validator(mode="after")
    def _patches_fit(self) -> Self:
        patch = REGISTRY[self.backbone].patch_px
        if self.image_size_px is not None and self.image_size_px % patch:
            msg = (
                f"image_size_px = {self.image_size_px}: must be a multiple of {patch}, "
                f"the patch of {self.backbone}"
            )
            raise ValueError(msg)
        return self

    @field_validator("degrees")
    @classmethod
    def _degrees_are_odd(cls, degrees: list[int]) -> list[int]:
        if any(degree % 2 == 0 for degree in degrees):
            msg = "each degree must be odd, so that a neighbourhood has a centre"
            raise ValueError(msg)
        return degrees

    @field_validator("stages", "degrees")
    @classmethod
    def _ascending(cls, numbers: list[int]) -> list[int]:
        if numbers != sorted(set(numbers)):
            msg = "must be ascending, without repeats"
            raise ValueError(msg)
        return numbers


class JudgeSettings(Settings):
    """From a score to PASS or FAIL."""

    score: Literal["raw", "rescored"] = "raw"
    """Which score decides: mutual scoring as it is, or smoothed by RsCIN."""
    method: Literal["robust_z", "fixed"] = "robust_z"
    """A threshold from the line's own scores, or one that is given."""
    rejects_per_1000: float = Field(default=20.0, ge=0.01, lt=500)
    """Parts in a thousand that may be rejected; the robust z follows from it."""
    min_scores: int = Field(default=16, ge=8, le=10_000)
    """Scores that robust_z must have seen before it decides anything."""
    history_scores: int = Field(default=500, ge=8, le=100_000)
    """Latest scores that robust_z looks at."""
    fixed_threshold: float | None = Field(default=None, gt=0, le=2)
    """The threshold of method "fixed"; scores are distances of unit vectors, at most 2."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.method == "fixed" and self.fixed_threshold is None:
            msg = 'fixed_threshold is missing; method = "fixed" needs it'
            raise ValueError(msg)
        if self.min_scores > self.history_scores:
            msg = f"min_scores = {self.min_scores}: at most history_scores = {self.history_scores}"
            raise ValueError(msg)
        return self


class MqttSettings(Settings):
    """The broker that verdicts go to."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Host name or address of the broker."""
    port: int = Field(default=1883, ge=1, le=65_535)
    """TCP port of the broker."""
    protocol: Literal["5", "3.1.1"] = "5"
    """MQTT version; the embedded broker speaks 3.1.1 only."""
    prefix: Segment = "musc"
    """First topic segment."""
    embedded: bool = False
    """Run a broker on this host, without login, on the loopback address only."""
    username_env: str = ""
    """Environment variable that holds the user name; empty means no login."""
    password_env: str = ""
    """Environment variable that holds the password."""
    heatmaps: Literal["off", "fail"] = "fail"
    """Which frames' heatmaps are published."""

    @model_validator(mode="before")
    @classmethod
    def _embedded_speaks_3(cls, given: Any) -> Any:  # noqa: ANN401 - not validated yet
        if isinstance(given, dict) and given.get("embedded") is True:
            return {"protocol": "3.1.1"} | given
        return given

    @model_validator(mode="after")
    def _embedded_is_local(self) -> Self:
        if self.embedded and (self.host != "127.0.0.1" or self.protocol != "3.1.1"):
            msg = 'embedded = true needs host = "127.0.0.1" and protocol = "3.1.1"'
            raise ValueError(msg)
        return self


class LedgerSettings(Settings):
    """The database that every verdict is kept in."""

    path: Path = Path("ledger.db")
    """SQLite file; opens in Datasette as it is."""
    synchronous: Literal["FULL", "NORMAL"] = "FULL"
    """FULL keeps each result through a power loss, NORMAL through a killed process."""


class EvidenceSettings(Settings):
    """Images kept as proof."""

    path: Path = Path("evidence")
    """Folder of images and overlays, by camera and boot."""
    max_bytes: int = Field(default=2_000_000_000, ge=1_000_000)
    """Byte budget; the oldest files go first."""
    keep: Literal["none", "fail", "all"] = "fail"
    """Which frames' images are kept."""


class LogSettings(Settings):
    """What the processes say on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severity that is printed."""


class Config(Settings):
    """A whole line."""

    line: LineSettings = LineSettings()
    camera: list[Camera] = Field(min_length=1, max_length=16)
    part: PartSettings = PartSettings()
    transport: TransportSettings = TransportSettings()
    window: WindowSettings = WindowSettings()
    musc: MuscSettings = MuscSettings()
    judge: JudgeSettings = JudgeSettings()
    mqtt: MqttSettings = MqttSettings()
    ledger: LedgerSettings = LedgerSettings()
    evidence: EvidenceSettings = EvidenceSettings()
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
        if self.judge.method == "robust_z" and self.window.size_frames <= CALIBRATION_PEERS:
            msg = (
                f"window.size_frames = {self.window.size_frames}: judge.method = 'robust_z' needs "
                f"at least {CALIBRATION_PEERS + 1}, scores of fewer peers cannot be compared"
            )
            raise ValueError(msg)
        free = [c.id for c in self.camera if c.interval_ms == 0]
        if self.transport.policy == "drop_oldest" and free:
            msg = (
                f"camera {free[0]}: interval_ms = 0 with transport.policy = 'drop_oldest' "
                "would drop most frames; give interval_ms or use policy = 'wait'"
            )
            raise ValueError(msg)
        return self

    @property
    def views(self) -> tuple[str, ...]:
        """Cameras that see each part."""
        return tuple(self.part.views) or tuple(camera.id for camera in self.camera)

    @property
    def digest(self) -> str:
        """Eight hex digits over everything that can change a result."""
        sections = {
            "recipe": self.line.recipe,
            "part": self.part.model_dump(),
            "window": self.window.model_dump(),
            "musc": self.musc.model_dump(exclude={"weights", "offline", "device"}),
            "judge": self.judge.model_dump(),
        }
        return hashlib.sha256(json.dumps(sections, sort_keys=True).encode()).hexdigest()[:8]

    def endpoint(self, name: Literal["notices", "frames", "inspections"]) -> str:
        """Return an endpoint, by default an ipc socket in the state folder."""
        given: str = getattr(self.transport, name)
        return given or f"ipc://{self.line.state_path}/{name}.ipc"

    def counter_path(self, camera: str) -> Path:
        """Return the file of a camera's durable counter."""
        return self.line.state_path / f"{camera}.count"
