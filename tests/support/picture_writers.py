"""Programs that write pictures into a folder, each in its own bad habit.

A picture carries its number in its first row and a checksum of the rest in its
last: one that was read half-written cannot pass for whole.
"""

from __future__ import annotations

import threading
import time
import zlib
from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

Picture = npt.NDArray[np.uint8]

SIDE_PX = 64
PIECES = 4
SUFFIXES = ("png", "bmp", "tif")


def numbered_picture(number: int) -> Picture:
    """Return SIDE_PX x SIDE_PX pixels of noise with their number and checksum."""
    picture = np.random.default_rng(number).integers(0, 256, (SIDE_PX, SIDE_PX), np.uint8)
    picture[0, :4] = np.frombuffer(number.to_bytes(4, "little"), np.uint8)
    checksum = zlib.crc32(picture[:-1].tobytes())
    picture[-1, :4] = np.frombuffer(checksum.to_bytes(4, "little"), np.uint8)
    return picture


def number_of(pixels: npt.NDArray[np.generic]) -> int:
    """Return the number of a picture, which is whole, or it is no picture of ours."""
    checksum = zlib.crc32(pixels[:-1].tobytes())
    assert int.from_bytes(pixels[-1, :4].tobytes(), "little") == checksum, "half-written"
    return int.from_bytes(pixels[0, :4].tobytes(), "little")


def encoded(number: int) -> tuple[str, bytes]:
    """Return file name and content of a picture; the type goes round."""
    suffix = SUFFIXES[number % len(SUFFIXES)]
    ok, data = cv2.imencode(f".{suffix}", numbered_picture(number))
    assert ok
    return f"p{number:04d}.{suffix}", data.tobytes()


def pieces_of(data: bytes) -> list[bytes]:
    """Cut a content into PIECES."""
    size = -(-len(data) // PIECES)
    return [data[at : at + size] for at in range(0, len(data), size)]


def kept_open(path: Path, data: bytes, pause: Callable[[], None]) -> None:
    """Write piece by piece, and close in the end."""
    with path.open("wb", buffering=0) as file:
        for piece in pieces_of(data):
            file.write(piece)
            pause()


def closed_between(path: Path, data: bytes, pause: Callable[[], None]) -> None:
    """Append piece by piece, and close after each."""
    for piece in pieces_of(data):
        with path.open("ab") as file:
            file.write(piece)
        pause()


def renamed(path: Path, data: bytes, pause: Callable[[], None]) -> None:
    """Write under another name, then move into place."""
    aside = path.with_name(f"{path.name}.tmp")
    kept_open(aside, data, pause)
    aside.rename(path)


def renamed_while_open(path: Path, data: bytes, pause: Callable[[], None]) -> None:
    """Give the file its size, and move it into place before the last piece is written."""
    aside = path.with_name(f".{path.name}")
    *first, last = pieces_of(data)
    with aside.open("wb", buffering=0) as file:
        file.truncate(len(data))
        for piece in first:
            file.write(piece)
            pause()
        aside.rename(path)
        pause()
        file.write(last)


def rewritten(path: Path, data: bytes, pause: Callable[[], None]) -> None:
    """Write a half, close, and begin again from nothing."""
    path.write_bytes(data[: len(data) // 2])
    pause()
    kept_open(path, data, pause)


def full_size_first(path: Path, data: bytes, pause: Callable[[], None]) -> None:
    """Give the file its size, then its content, as a copy to a Windows share does."""
    with path.open("wb", buffering=0) as file:
        file.truncate(len(data))
        pause()
        for piece in pieces_of(data):
            file.write(piece)
            pause()


STYLES = (kept_open, closed_between, renamed, renamed_while_open, rewritten, full_size_first)


class Writers:
    """Several programs at once: each takes every nth picture, and the styles in turn."""

    def __init__(
        self, folder: Path, numbers: Iterable[int], programs: int = 4, pause_s: float = 0.003
    ) -> None:
        """Start them."""
        self._folder = folder
        self._pause_s = pause_s
        self._stopped = threading.Event()
        every = list(numbers)
        self._threads = [
            threading.Thread(target=self._write, args=(every[first::programs],))
            for first in range(programs)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def are_done(self) -> bool:
        """Whether every picture is written."""
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Let them end with the picture at hand."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _write(self, numbers: list[int]) -> None:
        for number in numbers:
            if self._stopped.is_set():
                return
            name, data = encoded(number)
            # Divided, so that every type of file meets every style.
            style = STYLES[number // len(SUFFIXES) % len(STYLES)]
            style(self._folder / name, data, lambda: time.sleep(self._pause_s))
