"""A folder of images as a camera: one file a part, in the order of the names.

What the decoder lets through is not taken on trust. OpenCV has versions that
fill the missing rest of a truncated PNG or JPEG with grey and say nothing, and
a grey half of a part must not be inspected. So PNG files are checked chunk by
chunk with their CRC up to IEND, JPEG files marker by marker up to EOI, WebP
files for the length that their header states; TIFF and BMP rest on the
decoder. Damage inside a JPEG scan that keeps its markers cannot be seen.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from edge.frame import MAX_SIDE_PX, ORIGIN_LIMIT, Jpeg, PixelFormat
from edge.sources import Capture, EndOfSourceError, Source, SourceError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
"""File types that are read; upper case counts as lower case."""
_ENDINGS = tuple(SUFFIXES)

PART_ID_LIMIT = 48

_NOT_IN_PART_ID = re.compile(r"[^!#-:<-\[\]-~]")
_PNG_START = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8"
_JPEG_EOI = b"\xd9"
# Inside a scan, FF 00 is a stuffed byte and FF D0 to FF D7 are restart markers.
_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)
_COLOUR, _COLOUR_ALPHA = 3, 4


class FolderSource(Source):
    """The images of one folder, each read when its turn comes.

    Sub-folders are not entered and hidden files not looked at. A file that
    cannot be used yields a capture with a fault, so the line goes on and the
    part is accounted for.
    """

    def __init__(self, path: Path, *, loop: bool = False) -> None:
        """List the folder.

        Args:
            path: The folder; files that appear in it later are not seen.
            loop: Begin again after the last file instead of ending.

        Raises:
            SourceError: No such folder, or no image in it.
        """
        self._files = images_in(path)
        self._loop = loop
        self._next = 0

    def __len__(self) -> int:
        """Return the number of files in one round."""
        return len(self._files)

    def read(self) -> Capture:
        """Return the next file as a capture.

        ``pixels`` is (height, width) for grey and (height, width, 3) in blue,
        green, red order for colour, uint8 with bit depth 8 or uint16 with bit
        depth 16; an alpha channel is dropped, and of a TIFF with several pages
        the first is taken.

        Raises:
            EndOfSourceError: Every file was read, and the source does not loop.
        """
        if self._next == len(self._files):
            if not self._loop:
                raise EndOfSourceError
            self._next = 0
        file = self._files[self._next]
        self._next += 1
        return read_capture(file)

    def close(self) -> None:
        """Do nothing: no file stays open between two reads."""


def images_in(folder: Path) -> list[Path]:
    """Return the image files directly in a folder, by name in code point order.

    Raises:
        SourceError: No such folder, or no image in it.
    """
    try:
        files = [path for path in folder.iterdir() if is_image_name(path.name) and path.is_file()]
    except OSError as error:
        msg = f"image folder {folder}: {error.strerror or error}"
        raise SourceError(msg) from error
    if not files:
        msg = f"image folder {folder} has no image ({', '.join(sorted(SUFFIXES))})"
        raise SourceError(msg)
    return sorted(files, key=lambda path: path.name)


def read_capture(file: Path, read: Callable[[Path], bytes] = Path.read_bytes) -> Capture:
    """Read and decode one file; every failure becomes the capture's fault.

    Args:
        file: A PNG, JPEG, BMP, TIFF or WebP file.
        read: Returns its content; other errors than OSError and ValueError pass.
    """
    name = shown_name(file)
    part_id = named_part(file)
    origin = name[:ORIGIN_LIMIT]
    try:
        content = read(file)
        pixels = decode_image(content)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return Capture(None, part_id=part_id, origin=origin, fault=f"{name}: {reason}")
    pixel_format: PixelFormat = "mono" if pixels.ndim == 2 else "bgr"  # noqa: PLR2004 - (height, width)
    bit_depth = 8 * pixels.dtype.itemsize
    jpeg = Jpeg(content, pixels) if content.startswith(_JPEG_START) else None
    return Capture(pixels, pixel_format, bit_depth, part_id, origin, jpeg=jpeg)


def is_image_name(name: str) -> bool:
    """Tell whether a file of this name is read: of a known type, and not hidden."""
    return not name.startswith(".") and name.lower().endswith(_ENDINGS)


def shown_name(file: Path) -> str:
    """Return the name of a file as it can be written into a message, which is UTF-8."""
    return file.name.encode("utf-8", "replace").decode()


def named_part(file: Path, room: int = 0) -> str:
    """Return the part id that a file's name makes, with room for so many more characters."""
    return _NOT_IN_PART_ID.sub("_", Path(shown_name(file)).stem)[: PART_ID_LIMIT - room]


def decode_image(data: bytes) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Decode one image file.

    Args:
        data: The whole content of a PNG, JPEG, BMP, TIFF or WebP file.

    Returns:
        (height, width) or (height, width, 3) in BGR order, as stored: uint8 or
        uint16, not scaled, not turned by EXIF orientation.

    Raises:
        ValueError: The content is empty, truncated, no image, too large, or of
            another type or number of channels.
    """
    if not data:
        msg = "the file is empty"
        raise ValueError(msg)
    if missing := _missing_end(data):
        msg = f"the file is truncated or damaged: {missing}"
        raise ValueError(msg)
    try:
        with silent_opencv():
            pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        msg = f"the file cannot be decoded: {error.err or 'OpenCV gives no reason'}"
        raise ValueError(msg) from error
    if pixels is None:
        msg = "the file cannot be decoded"
        raise ValueError(msg)
    return _accepted(pixels)


def _accepted(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return decoded pixels in one of the two shapes, or refuse them."""
    if pixels.dtype not in (np.uint8, np.uint16):
        msg = f"pixels are {pixels.dtype}, must be uint8 or uint16"
        raise ValueError(msg)
    height, width, channels = (*pixels.shape, 1)[:3]
    if max(height, width) > MAX_SIDE_PX:
        msg = f"the image is {width} x {height} px, the limit is {MAX_SIDE_PX} px a side"
        raise ValueError(msg)
    if channels == 1:
        return pixels.reshape(height, width)
    if channels not in (_COLOUR, _COLOUR_ALPHA):
        msg = f"the image has {channels} channels, must be 1, 3 or 4"
        raise ValueError(msg)
    return np.ascontiguousarray(pixels[..., :_COLOUR])


@contextmanager
def silent_opencv() -> Iterator[None]:
    """Keep OpenCV from writing its own lines: the fault says what is wrong."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)


def _missing_end(data: bytes) -> str:
    """Say what is wrong with the structure of a file, or nothing."""
    if data.startswith(_PNG_START):
        return _png_fault(data)
    if data.startswith(_JPEG_START):
        return "" if _jpeg_is_complete(data) else "no JPEG end marker (EOI)"
    if data.startswith(b"RIFF"):
        stated = 8 + int.from_bytes(data[4:8], "little")
        return "" if len(data) >= stated else f"{len(data)} bytes, WebP header says {stated}"
    return ""


def _png_fault(data: bytes) -> str:
    """Walk the chunks of a PNG: length, type, data, CRC (ISO/IEC 15948, clause 5)."""
    position = len(_PNG_START)
    while position + 12 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        body = memoryview(data)[position + 4 : end - 4]
        if end > len(data) or zlib.crc32(body) != int.from_bytes(data[end - 4 : end], "big"):
            return f"PNG chunk {kind.decode('latin-1')!r} is cut short or fails its CRC"
        if kind == b"IEND":
            return ""
        position = end
    return "no PNG end chunk (IEND)"


def _jpeg_is_complete(data: bytes) -> bool:
    """Walk the markers of a JPEG to EOI (ITU-T T.81, annex B)."""
    position = len(_JPEG_START)
    while match := _JPEG_MARKER.search(data, position):
        if match[1] == _JPEG_EOI:
            return True
        # Every other marker is followed by its length; skipping by it steps over
        # the end marker of a thumbnail, and finds none where the data stop before.
        position = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
    return False
