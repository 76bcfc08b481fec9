"""The files of a recording, one at a time: head, lines, and the pixels of a frame.

Nothing read here is trusted before it is checked, and everything that is wrong is said
with file, line and reason.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import cv2
import numpy as np
from pydantic import ValidationError

from edge.errors import LineError
from edge.frame import Frame
from edge.recording_lines import FORMAT, HEAD_FILE, VERSION, Head
from edge.wire import pixel_shape_fault

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import TypeAdapter

    from edge.recording_lines import StoredFrame

ProblemKind = Literal[
    "torn_line",
    "cut",
    "damaged_line",
    "repeated_line",
    "missing_file",
    "damaged_file",
    "not_recorded",
    "ended",
    "gap",
    "missing_camera",
    "unknown_folder",
    "not_announced",
    "not_accounted",
    "no_pixels",
]
PROBLEM_MEANINGS: dict[ProblemKind, str] = {
    "torn_line": "Its writer was killed, or the disk was full, in the middle of the last line, "
    "which is skipped.",
    "cut": "A process ended in the middle of a line; the next one took the torn rest off.",
    "damaged_line": "This line is no line of a recording.",
    "repeated_line": "This was said before of the same frame; the first is used.",
    "missing_file": "The frame's file is not there.",
    "damaged_file": "The frame's file is not the one that was written.",
    "not_recorded": "The frame was announced; its pixels could not be recorded in time.",
    "ended": "Recording ended before the line did.",
    "gap": "Numbers of this camera that nothing is known of.",
    "missing_camera": "The camera has no index.",
    "unknown_folder": "A folder of no camera of this recording; it is not read.",
    "not_announced": "Frames of the line's index that their camera's index does not know.",
    "not_accounted": "Frames that their camera did not lose and that were not inspected either: "
    "the scorer may have seen them, at a place that nobody knows.",
    "no_pixels": "Frames that the scorer saw, or might have, and whose pixels are not there.",
}

BLOCK_BYTES = 65_536
_Line = TypeVar("_Line")
_KIND = re.compile(rb'"kind":"([a-z_]{1,32})"')
_NUMBER = re.compile(rb'"seq":([0-9]{1,12})[,}]')


class RecordingError(LineError):
    """A recording, or a frame of it, cannot be read; the message names the file and why."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is wrong with a recording; what no problem names can be trusted."""

    kind: ProblemKind
    where: str
    """File and line below the recording's folder, or camera and numbers."""
    detail: str
    count: int = 1
    """How many lines or frames it concerns."""


def read_head(folder: Path) -> Head:
    """Read ``recording.json``.

    Raises:
        RecordingError: It is not there, no recording's, or of another version.
    """
    path = folder / HEAD_FILE
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        msg = f"{path}: {error.strerror}; this folder is no recording"
        raise RecordingError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path}: no JSON; this folder is no recording"
        raise RecordingError(msg) from error
    found = content if isinstance(content, dict) else {}
    if found.get("format") != FORMAT:
        msg = f"{path}: format is {found.get('format')!r}, a recording has {FORMAT!r}"
        raise RecordingError(msg)
    if found.get("version") != VERSION:
        msg = f"{path}: version is {found.get('version')!r}, this program reads {VERSION}"
        raise RecordingError(msg)
    try:
        return Head.model_validate_json(json.dumps(content))
    except ValidationError as error:
        msg = f"{path}: {_first_line(error)}"
        raise RecordingError(msg) from error


def write_head(folder: Path, head: Head) -> None:
    """Write ``recording.json``, whole or not at all.

    Raises:
        OSError: It cannot be written.
    """
    part = folder / f"{HEAD_FILE}.part"
    part.write_text(head.model_dump_json(indent=2) + "\n", encoding="utf-8")
    part.replace(folder / HEAD_FILE)


def read_lines(
    path: Path, name: str, kind: TypeAdapter[_Line], problems: list[Problem]
) -> list[_Line]:
    """Return the whole lines of an index; add what is wrong with the others to ``problems``.

    A line is whole when it ends with a newline and is one of ``kind``.

    Raises:
        RecordingError: The file cannot be read.
    """
    found: list[_Line] = []
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, 1):
                where = f"{name}:{number}"
                if not raw.endswith(b"\n"):
                    detail = f"skipped: {torn_words(raw)}"
                    problems.append(Problem("torn_line", where, detail))
                    continue
                try:
                    found.append(kind.validate_json(raw))
                except ValidationError as error:
                    problems.append(Problem("damaged_line", where, _first_line(error)))
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise RecordingError(msg) from error
    return found


def take_torn_off(file: int) -> bytes:
    """Take what follows the last newline off an index; return it.

    Args:
        file: Descriptor, open for reading and writing, that nobody else writes.

    Raises:
        OSError: It cannot be read or cut.
    """
    size = begin = os.fstat(file).st_size
    torn = b""
    while begin > 0 and b"\n" not in torn:
        end, begin = begin, max(0, begin - BLOCK_BYTES)
        torn = os.pread(file, end - begin, begin) + torn
    torn = torn[torn.rfind(b"\n") + 1 :]
    if torn:
        os.ftruncate(file, size - len(torn))
    return torn


def torn_words(torn: bytes) -> str:
    """Say what a torn line was, as far as it is left."""
    kind, number = _KIND.search(torn), _NUMBER.search(torn)
    named = f" '{kind[1].decode()}'" if kind else ""
    numbered = f" of number {int(number[1])}" if number else ""
    return f"the last {len(torn)} bytes are a torn line{named}{numbered}"


def file_fault(folder: Path, stored: StoredFrame) -> Problem | None:
    """Tell whether a frame's file is missing or has another size, without reading it."""
    name = f"{folder.name}/{stored.file}"
    try:
        size = (folder / stored.file).stat().st_size
    except OSError as error:
        return Problem("missing_file", name, str(error.strerror))
    if size == stored.size_bytes:
        return None
    return Problem("damaged_file", name, f"{size} bytes, {stored.size_bytes} were written")


def load_frame(folder: Path, stored: StoredFrame) -> Frame:
    """Read a frame's pixels from the folder of its camera.

    Raises:
        RecordingError: The file is missing, is not the one that was written, or holds
            other pixels than its line says.
    """
    path = folder / stored.file
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise RecordingError(msg) from error
    if len(content) != stored.size_bytes or zlib.crc32(content) != stored.crc32:
        msg = f"{path}: not the {stored.size_bytes} bytes that were written, its CRC32 differs"
        raise RecordingError(msg)
    try:
        pixels: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        msg = f"{path}: no image: {error.err}"
        raise RecordingError(msg) from error
    if pixels is None:
        msg = f"{path}: no image"
        raise RecordingError(msg)
    fault = pixel_shape_fault(pixels, stored.pixel_format, stored.bit_depth)
    if fault or pixels.shape[:2] != stored.shape:
        msg = f"{path}: {fault or f'{pixels.shape[:2]} px, its line says {stored.shape}'}"
        raise RecordingError(msg)
    # A file holds red first and OpenCV gives blue first.
    given = pixels[..., ::-1] if stored.pixel_format == "rgb" else pixels
    frame_pixels: Any = np.ascontiguousarray(given)
    expected = stored.pixels_crc32
    if expected is not None and zlib.crc32(frame_pixels) != expected:
        msg = f"{path}: OpenCV {cv2.__version__} decodes it to other pixels than were recorded"
        raise RecordingError(msg)
    frame_pixels.flags.writeable = False
    return Frame(
        stored.announcement,
        frame_pixels,
        stored.pixel_format,
        stored.bit_depth,
        stored.offset_px,
    )


def _first_line(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")
