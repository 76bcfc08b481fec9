"""Sections that wire the box into its plant: line, parts, transport, broker, disk, log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from edge.contract import Segment
from edge.frame import CameraId, RecipeId
from pipeline.config_settings import ENDPOINT, Settings

if TYPE_CHECKING:
    from typing_extensions import Self


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
    """Folder of the durable counters, the windows that are kept and the local sockets."""


class PartSettings(Settings):
    """What makes a part and until when its verdict must stand."""

    views: list[CameraId] = Field(default_factory=list, max_length=16)
    """Cameras that see each part; empty means all of them."""
    deadline_ms: int = Field(default=500, ge=10, le=600_000)
    """Time from capture to verdict; NO_RESULT is published when it is over."""
    rate_per_minute: float | None = Field(default=None, gt=0, le=60_000)
    """How many parts pass in a minute at most; `doctor` holds the cameras to it."""


class TransportSettings(Settings):
    """ZeroMQ between the processes; empty endpoints are sockets in state_path."""

    notices: str = Field(default="", pattern=ENDPOINT)
    """Ingest to gate."""
    frames: str = Field(default="", pattern=ENDPOINT)
    """Ingest to scorer."""
    inspections: str = Field(default="", pattern=ENDPOINT)
    """Scorer to gate."""
    keys_path: Path | None = None
    """Folder of CURVE keys, made by `musc-edge keys`; a tcp address beyond this host needs them."""
    policy: Literal["wait", "drop_oldest"] = "drop_oldest"
    """A scorer that is behind makes a recorded source wait, or a live one drop its oldest frame."""
    in_flight_frames: int = Field(default=2, ge=1, le=16)
    """Frames that a camera may have at the scorer."""
    queue_frames: int = Field(default=4, ge=1, le=1024)
    """Frames that wait at a camera for the scorer; beyond, the oldest is dropped."""


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
    """Environment variable that holds the user name."""
    password_env: str = ""
    """Environment variable that holds the password."""
    username_file: Path | None = None
    """File that holds the user name, instead of a variable; without either there is no login."""
    password_file: Path | None = None
    """File that holds the password, readable for its owner alone."""
    tls: bool = False
    """Encrypt, and check the broker's certificate; its port is usually 8883."""
    ca_file: Path | None = None
    """PEM file of who may sign the broker's certificate; without it the system's list."""
    cert_file: Path | None = None
    """PEM file of our own certificate, for brokers that ask for one."""
    key_file: Path | None = None
    """PEM file of its key, readable for its owner alone."""
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

    @model_validator(mode="after")
    def _secrets_are_whole(self) -> Self:
        for name in ("username", "password"):
            if getattr(self, f"{name}_env") and getattr(self, f"{name}_file"):
                msg = f"{name}_env and {name}_file: give one of them"
                raise ValueError(msg)
        if not self.tls and (self.ca_file or self.cert_file or self.key_file):
            msg = "ca_file, cert_file and key_file need tls = true"
            raise ValueError(msg)
        if (self.cert_file is None) != (self.key_file is None):
            msg = "cert_file and key_file come together"
            raise ValueError(msg)
        return self


class OutboxSettings(Settings):
    """What is kept for a broker that is away, and how it is sent afterwards."""

    max_bytes: int = Field(default=100_000_000, ge=100_000)
    """Byte budget; beyond it the oldest messages go first, their results stay in the ledger."""
    max_age_s: int = Field(default=604_800, ge=1)
    """Older messages are given up; a week."""
    drain_per_s: int = Field(default=100, ge=1, le=400)
    """Messages a second to `history` once the broker is back."""


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


class RecordSettings(Settings):
    """What `musc-edge run --record` and `musc-edge record` may write."""

    max_bytes: int = Field(default=20_000_000_000, ge=1_000_000)
    """Byte budget; the cameras share it equally, and each records no more than its share."""


class LogSettings(Settings):
    """What the processes say on standard error."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Least severity that is printed."""
