"""A video file as a camera: every frame in order, and what it lacks is told."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from pydantic import TypeAdapter

from edge.frame import ORIGIN_LIMIT, PartId
from edge.sources import Capture, EndOfSourceError, SourceError
from edge.sources.video import BAD_FRAMES, VideoSource
from edge.sources.video_capture import FFMPEG_QUIET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FRAMES = 40
SIZE = (64, 48)
CODECS = {"avi": "MJPG", "mkv": "MJPG", "mp4": "mp4v", "ts": "mp4v"}
LOSSY = 8
MATRIX_BYTES = 44
"""From the name of a track header to its matrix (ISO/IEC 14496-12, 8.3.2, version 0)."""


def colour(number: int) -> np.ndarray:
    """Return the colour of a frame, counted from 1: blue falls, red rises."""
    return np.array([250 - 6 * number, 100, 6 * number])


@pytest.fixture
def write(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Path]:
    """Write a video of FRAMES frames."""
    # Read once a process, and the writer of the tests may be the first to use FFmpeg.
    monkeypatch.setenv("OPENCV_FFMPEG_LOGLEVEL", FFMPEG_QUIET)

    def make(name: str = "belt.avi") -> Path:
        path = tmp_path / name
        codec = cv2.VideoWriter.fourcc(*CODECS[path.suffix[1:]])
        writer = cv2.VideoWriter(str(path), codec, 25, SIZE)
        assert writer.isOpened()
        for number in range(1, FRAMES + 1):
            writer.write(np.full((*SIZE[::-1], 3), colour(number), np.uint8))
        writer.release()
        capfd.readouterr()  # The writer of OpenCV is not what is tested.
        return path

    return make


def read_all(source: VideoSource, limit: int = 3 * FRAMES) -> list[Capture]:
    """Everything up to the end."""
    captures = []
    while len(captures) < limit:
        try:
            captures.append(source.read())
        except EndOfSourceError:
            break
    source.close()
    return captures


def chunks_of(video: bytes) -> list[tuple[int, int]]:
    """Return begin and length of each picture in an AVI file."""
    found = []
    begin = video.index(b"movi")
    while (begin := video.find(b"00dc", begin)) >= 0 and b"idx1" not in video[:begin]:
        length = int.from_bytes(video[begin + 4 : begin + 8], "little")
        found.append((begin + 8, length))
        begin += 8 + length
    return found


def damage(path: Path, numbers: Iterable[int]) -> None:
    """Overwrite these pictures of an AVI file with zeros."""
    video = bytearray(path.read_bytes())
    chunks = chunks_of(bytes(video))
    for number in numbers:
        begin, length = chunks[number - 1]
        video[begin : begin + length] = bytes(length)
    path.write_bytes(video)


@pytest.mark.parametrize("suffix", CODECS)
def test_every_frame_comes_in_order(write: Callable[..., Path], suffix: str) -> None:
    """Each frame comes once, blue first, named by file and number; then the source ends."""
    captures = read_all(VideoSource(write(f"belt.{suffix}")))

    assert [capture.part_id for capture in captures] == [f"belt-{n:06d}" for n in range(1, 41)]
    assert [c.origin for c in captures] == [f"belt.{suffix}#{n}" for n in range(1, 41)]
    assert {capture.fault for capture in captures} == {""}
    for number, capture in enumerate(captures, 1):
        assert capture.pixels is not None
        assert (capture.pixels.shape, capture.pixels.dtype) == ((48, 64, 3), np.uint8)
        assert np.abs(capture.pixels.astype(int) - colour(number)).max() <= LOSSY
        assert (capture.pixel_format, capture.bit_depth) == ("bgr", 8)


def test_ended_source_stays_ended(write: Callable[..., Path]) -> None:
    """After its last frame a source ends, again and again."""
    source = VideoSource(write())
    for _ in range(FRAMES):
        source.read()

    for _ in range(2):
        with pytest.raises(EndOfSourceError):
            source.read()
    source.close()
    source.close()


def test_loop_begins_again(write: Callable[..., Path]) -> None:
    """A looping source gives the first frame after the last, under its name."""
    captures = read_all(VideoSource(write(), loop=True), limit=FRAMES + 2)

    assert [capture.part_id for capture in captures[-3:]] == [
        "belt-000040",
        "belt-000001",
        "belt-000002",
    ]
    np.testing.assert_array_equal(captures[-2].pixels, captures[0].pixels)


def test_cut_file_ends_with_a_fault(write: Callable[..., Path]) -> None:
    """A file that was cut short gives what is there, one fault with both numbers, and ends."""
    path = write()
    video = path.read_bytes()
    begin, _ = chunks_of(video)[30]
    path.write_bytes(video[: begin - 8])

    *captures, last = read_all(VideoSource(path))

    assert [capture.fault for capture in captures] == [""] * 30
    assert (last.pixels, last.part_id, last.origin) == (None, "belt-000031", "belt.avi#31")
    assert last.fault == "the video ends at frame 30 of 40"


def test_cut_file_loops(write: Callable[..., Path]) -> None:
    """A looping source tells in each round what its file lacks."""
    path = write()
    video = path.read_bytes()
    path.write_bytes(video[: chunks_of(video)[5][0] - 8])

    captures = read_all(VideoSource(path, loop=True), limit=12)

    fault = "the video ends at frame 5 of 40"
    assert [capture.fault for capture in captures] == ([""] * 5 + [fault]) * 2


@pytest.mark.parametrize("bad", [[20], [1, 2, 3], [20, 21, 30]])
def test_bad_frame_is_a_fault_of_its_own(write: Callable[..., Path], bad: list[int]) -> None:
    """A frame that cannot be decoded is a fault at its place, and the others are not lost."""
    path = write()
    damage(path, bad)

    captures = read_all(VideoSource(path))

    faults = {n: capture.fault for n, capture in enumerate(captures, 1) if capture.fault}
    assert len(captures) == FRAMES
    assert faults == dict.fromkeys(bad, "the frame cannot be decoded")


def test_nothing_is_written_to_stderr(write: Callable[..., Path]) -> None:
    """In a fresh process, neither OpenCV nor FFmpeg writes a line of its own about a bad video."""
    path = write()
    damage(path, [20, 30])
    program = (
        "import sys; from pathlib import Path; from edge.sources.video import VideoSource; "
        "video = VideoSource(Path(sys.argv[1])); print(sum(1 for _ in range(40) if video.read()))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        env={name: value for name, value in os.environ.items() if "FFMPEG" not in name},
        capture_output=True,
        check=True,
        text=True,
    )

    assert (int(done.stdout), done.stderr) == (FRAMES, "")


def test_many_bad_frames_are_the_end(write: Callable[..., Path]) -> None:
    """A file without a good frame for long has ended there, which is one fault."""
    path = write()
    damage(path, range(6, 6 + BAD_FRAMES))

    captures = read_all(VideoSource(path))

    assert [capture.fault for capture in captures] == [""] * 5 + ["the video ends at frame 5 of 40"]


@pytest.mark.parametrize("content", [b"", b"no video", b"RIFF" + bytes(200)])
def test_no_video_is_an_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], content: bytes
) -> None:
    """A file that is no video is an error with its path, and nothing on stderr."""
    path = tmp_path / "belt.avi"
    path.write_bytes(content)

    with pytest.raises(SourceError, match=f"video {path}: OpenCV cannot decode"):
        VideoSource(path)

    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", ["concat:belt.mkv", "belt%02d.mkv"])
def test_name_is_nothing_but_a_name(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A file whose name reads like a URL or a pattern is a file, also by a relative path."""
    path = write("belt.mkv")
    path.rename(path.with_name(name))
    monkeypatch.chdir(path.parent)

    captures = read_all(VideoSource(Path(name)))

    assert [capture.fault for capture in captures] == [""] * FRAMES


def test_picture_is_not_turned(write: Callable[..., Path]) -> None:
    """A video that asks its player to turn it is taken as the sensor saw it."""
    path = write("belt.mp4")
    video = bytearray(path.read_bytes())
    matrix = video.index(b"tkhd") + MATRIX_BYTES
    struct.pack_into(">9i", video, matrix, 0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30)
    path.write_bytes(video)
    player = cv2.VideoCapture(str(path))
    turned = player.read()[1].shape
    player.release()

    capture = VideoSource(path).read()

    assert turned == (64, 48, 3), "the video asks for it"
    assert capture.pixels is not None
    assert capture.pixels.shape == (48, 64, 3)


def test_missing_video_is_named(tmp_path: Path) -> None:
    """A path without a file is an error, also one that OpenCV would take for a pattern or URL."""
    (tmp_path / "img_01.png").write_bytes(b"")

    for path in (tmp_path / "gone.avi", tmp_path, tmp_path / "img_%02d.png", Path("udp://1")):
        with pytest.raises(SourceError, match=r"video .*: no such file"):
            VideoSource(path)


def test_video_that_goes_between_rounds(write: Callable[..., Path]) -> None:
    """A looping source whose file is deleted says so when it begins again."""
    path = write()
    source = VideoSource(path, loop=True)
    path.unlink()
    for _ in range(FRAMES):
        source.read()

    with pytest.raises(SourceError, match=f"video {path}: no such file"):
        source.read()


def test_path_that_opencv_crashes_on(write: Callable[..., Path]) -> None:
    """A path that is not UTF-8 is an error that can be printed, and OpenCV never sees it."""
    path = write()
    path = path.rename(path.with_name("belt\udcff.avi"))

    with pytest.raises(SourceError, match=r"video belt\?\.avi: rename it"):
        VideoSource(path)


@pytest.mark.parametrize("stem", ["lot 7;part 3", "x" * 251, "Ä"])
def test_part_id_fits(write: Callable[..., Path], stem: str) -> None:
    """Whatever the file's name, part id and origin are such as a message can carry."""
    path = write()
    path = path.rename(path.with_name(f"{stem}.avi"))

    first, second = read_all(VideoSource(path))[:2]

    for capture in (first, second):
        TypeAdapter(PartId).validate_python(capture.part_id)
        assert capture.origin.encode()
        assert len(capture.origin) <= ORIGIN_LIMIT
    assert first.part_id != second.part_id
