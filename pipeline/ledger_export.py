"""Frames of a ledger whose images were kept, as a recording, with the labels of their reviews.

An image that was kept as evidence is the PNG of its frame, its values moved up to fill 8
or 16 bits. Of a camera with 8 or 16 bits it is the frame, bit by bit; with fewer bits the
scores of a replay may differ in their last digits. Where the picture lies on the sensor is
taken from the config's ``roi_px``. All is copied into a folder beside the target, which
gets its name when it is whole.
"""

from __future__ import annotations

import csv
import secrets
import shutil
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.errors import LineError
from edge.recording_files import write_head
from edge.recording_lines import INDEX_FILE, StoredFrame, frame_file
from edge.sources.folder import decode_image
from edge.wire import Announced
from pipeline.queries import latest_images, reviews
from pipeline.recording_start import only_cameras, recording_head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from edge.frame import Announcement
    from pipeline.config import Config

LABELS_FILE = "labels.csv"
ALL = -1
"""No limit, to SQLite."""

_Image = tuple["Announcement", "Path"]


class ExportError(LineError):
    """A ledger cannot be exported; the message says what is missing or in the way."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """Frames of a ledger, those with an image by their capture."""

    images: Sequence[_Image]
    not_kept: int
    """Frames of which no image was kept."""
    gone: int
    """Images that are not there any more: the oldest go when their budget is used."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and what was not."""

    frames: int
    labels: int
    """Parts in ``labels.csv``; without any there is no such file."""
    not_kept: int
    gone: int
    damaged: int
    """Images that are not whole."""


def choose_images(
    ledger: Path,
    evidence: Path,
    *,
    limit: int | None = None,
    verdict: str | None = None,
    part: str | None = None,
) -> Chosen:
    """Return which frames ``verdicts`` would show, and where their images lie.

    Raises:
        LedgerError: There is no such ledger.
        ExportError: None of them has an image.
    """
    counts: Counter[str] = Counter()
    images: list[_Image] = []
    wanted = {"verdict": verdict, "part": part}
    for announcement, image in latest_images(ledger, limit=limit or ALL, **wanted):
        if image is None:
            counts["not_kept"] += 1
        elif (evidence / image).is_file():
            images.append((announcement, evidence / image))
        else:
            counts["gone"] += 1
    if not images:
        msg = (
            f"ledger {ledger}: no image of the {counts.total()} chosen frames is in {evidence}; "
            f"of {counts['not_kept']} none was kept, {counts['gone']} are not there any more"
        )
        raise ExportError(msg)
    return Chosen(images[::-1], counts["not_kept"], counts["gone"])


def export(
    chosen: Chosen,
    ledger: Path,
    config: Config,
    folder: Path,
    tick: Callable[[], None] = lambda: None,
) -> Exported:
    """Write a recording, whole or not at all.

    Args:
        chosen: What is exported.
        ledger: Where reviews are taken from.
        config: Of the line whose ledger it is; a replay begins with its settings.
        folder: New or empty.
        tick: Called after each frame.

    Raises:
        ConfigError: A camera of the frames is not in the config.
        ExportError: The folder is in use or cannot be written, or no image is whole.
    """
    target = folder.resolve()
    settings = only_cameras(config, {announcement.camera for announcement, _ in chosen.images})
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        if target.exists() and any(target.iterdir()):
            msg = f"{folder}: not empty; a recording needs a folder of its own"
            raise ExportError(msg)
        part.mkdir(parents=True)
        written = _write_frames(part, settings, chosen.images, tick)
        if not written:
            msg = f"{len(chosen.images)} images, and none of them is whole"
            raise ExportError(msg)
        begins_at = min(announcement.captured_at for announcement in written)
        write_head(part, recording_head(settings, begins_at, excerpt=True))
        labels = _write_labels(part / LABELS_FILE, ledger, {one.part_id for one in written})
        part.replace(target)
    except OSError as error:
        msg = f"{folder}: {error.strerror or error}"
        raise ExportError(msg) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return Exported(
        frames=len(written),
        labels=labels,
        not_kept=chosen.not_kept,
        gone=chosen.gone,
        damaged=len(chosen.images) - len(written),
    )


def _write_frames(
    folder: Path, config: Config, images: Sequence[_Image], tick: Callable[[], None]
) -> list[Announcement]:
    """Write each camera's index and frames; return what was written."""
    by_camera: dict[str, list[_Image]] = defaultdict(list)
    for one in images:
        by_camera[one[0].camera].append(one)
    written = []
    for camera in config.camera:
        place = folder / camera.id
        place.mkdir()
        corner = camera.roi_px[:2] if camera.roi_px is not None else (0, 0)
        with (place / INDEX_FILE).open("wb") as index:
            for announcement, image in by_camera[camera.id]:
                stored = _copy(announcement, image, place, corner)
                if stored is not None:
                    for line in (Announced(announcement=announcement), stored):
                        index.write(line.model_dump_json().encode() + b"\n")
                    written.append(announcement)
                tick()
    return written


def _copy(
    announcement: Announcement, image: Path, place: Path, corner: tuple[int, int]
) -> StoredFrame | None:
    """Copy an image to where a recording has it; None where it is not whole."""
    content = image.read_bytes()
    try:
        pixels = decode_image(content)
    except ValueError:
        return None
    file = place / frame_file(announcement.boot, announcement.seq)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return StoredFrame(
        announcement=announcement,
        pixel_format="mono" if pixels.ndim == 2 else "bgr",  # noqa: PLR2004 - (height, width)
        bit_depth=8 * pixels.dtype.itemsize,
        shape=pixels.shape[:2],
        offset_px=corner,
        file=frame_file(announcement.boot, announcement.seq),
        size_bytes=len(content),
        crc32=zlib.crc32(content),
    )


def _write_labels(table: Path, ledger: Path, parts: Iterable[str]) -> int:
    """Write what reviews say of these parts, the latest review of each; return how many."""
    said = {row["part_id"]: row["label"] for row in reviews(ledger, limit=ALL)}
    labels = {name: int(said[name] == "defect") for name in sorted(parts) if name in said}
    if labels:
        with table.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("part", "label"))
            writer.writerows(labels.items())
    return len(labels)
