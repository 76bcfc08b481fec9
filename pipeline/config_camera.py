"""Sections ``[[camera]]``: one class for each kind of source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from edge.frame import CameraId
from pipeline.config_geometry import GeometrySettings, Rectangle
from pipeline.config_settings import ENDPOINT, Settings

if TYPE_CHECKING:
    from typing_extensions import Self

PFNC_PATTERN = r"^[A-Za-z0-9_]{1,32}$"


class _Common(Settings):
    id: CameraId
    """Name of the camera: topic segment, ledger key, folder of its evidence."""
    interval_ms: int = Field(default=0, ge=0, le=3_600_000)
    """Least time between two captures of a camera that nothing triggers; 0 takes all."""
    part_id: Literal["source", "counter", "message"] = "source"
    """Part ids: as the source names parts (files), counted, or each told before its frame."""
    part_endpoint: str = Field(default="", pattern=ENDPOINT)
    """ZeroMQ endpoint that takes part messages, for part_id = "message"; MQTT always does."""
    good_path: Path | None = None
    """Folder of images of good parts, as the camera sends them; a new window has them pinned."""


class _Camera(GeometrySettings, _Common):
    """What all kinds have."""

    trigger: str
    """Who asks for a picture; each kind says what it can do."""

    @property
    def runs_freely(self) -> bool:
        """Whether only ``interval_ms`` limits how many frames there are."""
        return self.trigger == "free"

    @model_validator(mode="after")
    def _software_trigger_is_told(self) -> Self:
        if self.trigger == "software" and self.part_id != "message":
            msg = "trigger = 'software' needs part_id = 'message': the message is the trigger"
            raise ValueError(msg)
        return self


class _TriggeredCamera(_Camera):
    trigger: Literal["free", "software"] = "free"
    """"software": a picture is taken when its part is told, and only then."""
    stale_frames: int = Field(default=0, ge=0, le=1000)
    """So many pictures in a row that are equal bit by bit make a camera STALE; 0 never."""


class FolderCamera(_TriggeredCamera):
    """A folder of images in name order, or one that another program writes to."""

    kind: Literal["folder"]
    path: Path
    """Folder of PNG, JPEG, BMP, TIFF or WebP files, 8 or 16 bit."""
    loop: bool = False
    """Begin again at the end instead of ending the run."""
    watch: bool = False
    """Wait for files that are written or moved into the folder, each taken once it is whole."""
    after: Literal["move", "delete", "keep"] = "move"
    """What becomes of a file that was taken from a watched folder; move: into PATH/done."""

    @property
    def runs_freely(self) -> bool:
        """Whether only ``interval_ms`` limits how many frames there are; a writer does, too."""
        return super().runs_freely and not self.watch

    @model_validator(mode="after")
    def _watched_or_looped(self) -> Self:
        if self.watch and self.loop:
            msg = "loop and watch: give one of them, a watched folder has no end"
            raise ValueError(msg)
        return self


class VideoCamera(_TriggeredCamera):
    """A recorded video file."""

    kind: Literal["video"]
    path: Path
    """Video file that OpenCV can decode."""
    loop: bool = False
    """Begin again at the end instead of ending the run."""


class SyntheticCamera(_TriggeredCamera):
    """A seeded belt of textured parts with planted defects."""

    kind: Literal["synthetic"]
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """The same seed gives the same parts, bit by bit."""
    frames: int | None = Field(default=None, ge=1)
    """Parts until the source ends; without it the belt runs for ever."""
    defect_rate: float = Field(default=0.1, ge=0, le=1)
    """Share of parts with a planted defect."""
    pixel_format: Literal["mono", "bgr"] = "mono"
    """Grey or coloured pictures."""


class PushedCamera(_Camera):
    """Frames that another program pushes over ZeroMQ."""

    kind: Literal["zmq"]
    endpoint: str = Field(pattern=ENDPOINT, min_length=1)
    """ZeroMQ endpoint to listen at, ipc:// or tcp://."""
    stale_frames: int = Field(default=3, ge=0, le=1000)
    """So many pictures in a row that are equal bit by bit make a camera STALE; 0 never."""
    idle_s: float = Field(default=60.0, ge=0, le=86_400)
    """Without a picture for so long the camera is NO_TRIGGER; 0 never."""

    trigger: Literal["pushed"] = "pushed"
    """Who pushes a frame has seen a part: each one counts."""


class LiveCamera(_Camera):
    """What cameras have that are opened, lost and opened again."""

    open_timeout_s: float = Field(default=5.0, ge=0.1, le=60)
    """Time that one try to open the camera may take."""
    frame_timeout_s: float = Field(default=3.0, ge=0.1, le=600)
    """A camera that runs by its own clock and is silent for so long is LOST, and opened anew."""
    reopen_limit_s: float = Field(default=2.0, ge=0.1, le=600)
    """Longest wait between two tries to open it; they never end."""
    stale_frames: int = Field(default=3, ge=0, le=1000)
    """So many pictures in a row that are equal bit by bit make a camera STALE; 0 never."""
    idle_s: float = Field(default=60.0, ge=0, le=86_400)
    """Without a trigger for so long a triggered camera is NO_TRIGGER; 0 never."""
    latency_ms: int = Field(default=0, ge=0, le=60_000)
    """Least time that a picture without a clock of the camera is on its way; streams take long."""
    trigger: Literal["free", "hardware", "software", "motion"] = "free"
    """Who asks for a picture: the camera's clock, its input line, a told part, a part's motion."""
    fps: float | None = Field(default=None, gt=0)
    """Pictures a second of a camera that runs by its own clock; without it the camera's own."""
    detect_zone_px: Rectangle | None = None
    """x, y, width, height, in pixels of the picture, of where "motion" looks; all without it."""
    detect_difference: int = Field(default=25, ge=1, le=255)
    """How far a pixel must differ from the empty belt, of 255, to belong to a part."""
    detect_share: float = Field(default=0.05, gt=0, le=1)
    """Share of the zone that must differ for a part to be there."""
    detect_longest_s: float = Field(default=5.0, ge=0.5, le=600)
    """Longest time that a moving part is seen; what moves for longer is another belt or light."""

    @model_validator(mode="after")
    def _rate_is_its_own(self) -> Self:
        if self.fps is not None and self.trigger in {"hardware", "software"}:
            msg = f"fps with trigger = {self.trigger!r}: the trigger sets the rate, leave fps out"
            raise ValueError(msg)
        return self

    @property
    def runs_freely(self) -> bool:
        """Whether nothing but ``interval_ms`` limits it: its own rate, where it is set, does."""
        return super().runs_freely and self.fps is None


class OpencvCamera(LiveCamera):
    """A V4L2 device, or an RTSP or HTTP stream, through OpenCV."""

    kind: Literal["opencv"]
    source: str = ""
    """Device (/dev/video0, or 0) or URL (rtsp://, http://) without a password."""
    source_env: str = ""
    """Environment variable that holds the source instead, for a URL with a password."""
    trigger: Literal["free", "software", "motion"] = "free"
    """Who says which picture counts: the camera's clock, a told part, or a part's motion."""
    width_px: int | None = Field(default=None, ge=1)
    """Width to ask a V4L2 device for."""
    height_px: int | None = Field(default=None, ge=1)
    """Height to ask a V4L2 device for."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if bool(self.source) == bool(self.source_env):
            msg = "source and source_env: give one of them"
            raise ValueError(msg)
        return self


class _GenicamCamera(LiveCamera):
    pixel_format: str = Field(default="Mono8", pattern=PFNC_PATTERN)
    """Name after GenICam's PFNC: Mono8, Mono10, Mono12, Mono16, Bayer..8 to 12, RGB8, BGR8."""
    exposure_us: float | None = Field(default=None, gt=0)
    """Exposure time; without it the camera's own."""
    gain_db: float | None = Field(default=None, ge=0)
    """Gain; without it the camera's own."""
    trigger_line: str = Field(default="Line1", pattern=PFNC_PATTERN)
    """Input of the hardware trigger."""
    trigger_edge: Literal["rising", "falling"] = "rising"
    """Edge of the hardware trigger."""


class BaslerCamera(_GenicamCamera):
    """A Basler camera through pypylon (`pip install musc-edge[basler]`)."""

    kind: Literal["basler"]
    serial: str = ""
    """Serial number; empty takes the only camera there is."""


class AravisCamera(_GenicamCamera):
    """Any GigE or USB3 Vision camera through Aravis (Debian: gir1.2-aravis-0.8, python3-gi)."""

    kind: Literal["aravis"]
    device: str = ""
    """Id as `arv-tool-0.8` lists it, or address; empty takes the only camera there is."""


Camera = Annotated[
    FolderCamera
    | VideoCamera
    | SyntheticCamera
    | PushedCamera
    | OpencvCamera
    | BaslerCamera
    | AravisCamera,
    Field(discriminator="kind"),
]
