"""What a replay is shown, step by step, and a folder of images as such a source.

A step is a frame for the inspector, a frame that no inspector ever sees, or what a
person or a gate has changed in between. Whoever yields steps knows all frames before the
first one, so that a table of labels can be held against them.

A folder is one camera: frame 1 is the first image in natural order of the names (2 comes
before 10), a picture every ``interval_ms`` of its camera from ``EPOCH`` on. The start of
the camera (boot) follows from the names, so the same folder is the same line.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple, Protocol

from edge.camera import Camera, CameraChecks
from edge.errors import LineError
from edge.frame import Announcement, Frame, FrameKey
from edge.part_ids import PartIds
from edge.sources import Capture, EndOfSourceError, Source
from edge.sources.folder import images_in, named_part, read_capture, shown_name
from pipeline.camera_sources import crops_itself
from pipeline.config import Config
from pipeline.config_file import ConfigError
from pipeline.results import Moment

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from edge.contract import Why
    from edge.wire import Order

EPOCH = datetime(2000, 1, 1, tzinfo=timezone.utc)
"""When the first image of a folder was taken, as far as its ledger knows."""
INTERVAL_MS = 1000
"""From one image to the next where the camera's own interval is 0."""
_NUMBER = re.compile(r"([0-9]+)")


NAMED_LIMIT = 5
"""Of what is wrong a message names so many, and counts all."""


class ReplayError(LineError):
    """A replay cannot be run as asked; the message says what is wrong, and how often."""


class Fate(NamedTuple):
    """What was decided of a frame by when it came, not by what it shows: its NO_RESULT."""

    why: Why
    detail: str
    keeps_figures: bool = False
    """Whether it was a PASS, with its figures, that came too late to be said."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame for the inspector."""

    frame: Frame
    fate: Fate | None = None
    """None where the inspection decides."""

    @property
    def announcement(self) -> Announcement:
        """The frame's."""
        return self.frame.announcement


@dataclass(frozen=True, slots=True)
class Unseen:
    """A frame that no inspector sees."""

    announcement: Announcement
    fate: Fate


@dataclass(frozen=True, slots=True)
class Ordered:
    """The scorer obeys an order here."""

    order: Order


@dataclass(frozen=True, slots=True)
class RecipeBegins:
    """Another recipe is in force at the gate."""

    recipe: str
    moment: Moment


@dataclass(frozen=True, slots=True)
class GateBegins:
    """Another gate begins; what the one before had in hand is closed."""


Step = Seen | Unseen | Ordered | RecipeBegins | GateBegins


class ReplaySource(Protocol):
    """Frames and what happened between them, in the order of a scorer."""

    config: Config
    """The settings that it is replayed with."""
    begins_at: datetime
    """When it began, on the clock of its frames; UTC."""
    recipe: str
    """What is in force at the gate when it begins."""
    boot: str
    """Stands for the start of the gate, 16 hex digits; the same for the same source."""
    name: str
    """What it is called in the ledger."""
    windows: Path | None
    """Snapshots that the scorer starts from."""
    warnings: Sequence[str]
    """What is wrong with it, and still lets it be replayed."""

    def __len__(self) -> int:
        """Return the number of frames."""
        ...

    def names(self) -> Mapping[str, Sequence[FrameKey]]:
        """Return the frames of each name that a label may give: a file or a part."""
        ...

    def steps(self) -> Iterator[Step]:
        """Yield the steps, in order.

        Raises:
            LineError: A frame cannot be read.
        """
        ...

    def frames(self, keys: Collection[FrameKey]) -> Iterator[Frame]:
        """Yield these frames once more, in order; one that is not there any more is left out."""
        ...


class FolderReplay:
    """The images directly in a folder as one camera."""

    def __init__(self, folder: Path, config: Config | None) -> None:
        """List the folder.

        Args:
            folder: Sub-folders are not entered and hidden files not looked at.
            config: A line with one camera, whose id, geometry, checks and part ids the
                images get; without it a line of defaults with a camera ``c1``.

        Raises:
            SourceError: No such folder, or no image in it.
            ConfigError: The config has several cameras.
        """
        self._files = sorted(images_in(folder), key=lambda path: natural(path.name))
        self.config = config or Config.model_validate(
            {"camera": [{"id": "c1", "kind": "folder", "path": folder, "interval_ms": INTERVAL_MS}]}
        )
        if len(self.config.camera) > 1:
            ids = ", ".join(camera.id for camera in self.config.camera)
            msg = (
                f"{folder}: a folder is one camera, the config has {len(self.config.camera)}: {ids}"
            )
            raise ConfigError(msg)
        listed = sorted(shown_name(path) for path in self._files)
        self.boot = hashlib.sha256("\n".join(listed).encode()).hexdigest()[:16]
        self.begins_at = EPOCH
        self.recipe = self.config.line.recipe
        self.name = shown_name(folder.resolve())
        self.windows: Path | None = None
        self.warnings: Sequence[str] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._files)

    def names(self) -> dict[str, list[FrameKey]]:
        """Return the frame of each file name, and of each name without its ending."""
        found: dict[str, list[FrameKey]] = {}
        camera = self.config.camera[0].id
        for seq, path in enumerate(self._files, 1):
            for name in dict.fromkeys((shown_name(path), named_part(path))):
                found.setdefault(name, []).append(FrameKey(camera, self.boot, seq))
        return found

    def steps(self) -> Iterator[Step]:
        """Yield each image, checked and cut as ingest does; one that cannot be used is unseen."""
        return self._shown(range(1, len(self) + 1), self.config.camera[0].stale_frames)

    def frames(self, keys: Collection[FrameKey]) -> Iterator[Frame]:
        """Yield these frames once more, in order; one that is not there any more is left out."""
        camera = self.config.camera[0].id
        own = [n for n in range(1, len(self) + 1) if FrameKey(camera, self.boot, n) in keys]
        for step in self._shown(own, stale_frames=0):
            if isinstance(step, Seen):
                yield step.frame

    def _shown(self, numbers: Sequence[int], stale_frames: int) -> Iterator[Seen | Unseen]:
        settings = self.config.camera[0]
        clock = _FrameClock(settings.interval_ms or INTERVAL_MS)
        roi = None if crops_itself(settings) else settings.roi_px
        files = _Files([self._files[number - 1] for number in numbers])
        camera = Camera(files, CameraChecks(stale_frames, roi), clock)
        part_ids = PartIds(settings.id, settings.part_id, wait_ms=0)
        for seq in numbers:
            clock.frames = seq - 1
            picture = camera.take()
            if picture is None:
                return
            capture = picture.capture
            announcement = Announcement(
                camera=settings.id,
                boot=self.boot,
                seq=seq,
                part_id=part_ids.name(seq, capture.part_id),
                captured_at=picture.captured_at,
                captured_ns=picture.captured_ns,
                origin=capture.origin,
            )
            if picture.why is not None or capture.pixels is None:
                yield Unseen(announcement, Fate(picture.why or "corrupt", picture.fault))
                continue
            yield Seen(
                Frame(
                    announcement,
                    capture.pixels,
                    capture.pixel_format,
                    capture.bit_depth,
                    capture.offset_px,
                )
            )


class _FrameClock:
    """Both clocks, counted in frames."""

    def __init__(self, interval_ms: int) -> None:
        self._interval_ms = interval_ms
        self.frames = 0

    def now(self) -> datetime:
        return EPOCH + timedelta(milliseconds=self.frames * self._interval_ms)

    def monotonic_ns(self) -> int:
        return self.frames * self._interval_ms * 1_000_000


class _Files(Source):
    """Files in a given order."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._left = iter(files)

    def read(self) -> Capture:
        file = next(self._left, None)
        if file is None:
            raise EndOfSourceError
        return read_capture(file)


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return what sorts names as people do: numbers in them by value, all else by code point."""
    pieces = _NUMBER.split(name)
    return [(int(piece), "") if odd % 2 else (-1, piece) for odd, piece in enumerate(pieces)], name


def named(kind: str, places: Sequence[str]) -> str:
    """Return how often something is wrong, and where first."""
    more = ", ..." if len(places) > NAMED_LIMIT else ""
    return f"{len(places)} {kind}: {', '.join(places[:NAMED_LIMIT])}{more}"
