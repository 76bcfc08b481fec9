"""A folder as a camera: every file gives its pixels or a fault that names it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from edge.frame import MAX_SIDE_PX, PartId
from edge.sources import Capture, EndOfSourceError, SourceError, folder
from edge.sources.folder import FolderSource, decode_image

RNG = np.random.default_rng(7)
GREY = RNG.integers(0, 256, (24, 32), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)


def encode(suffix: str, pixels: np.ndarray) -> bytes:
    """One image file's content."""
    ok, data = cv2.imencode(suffix, pixels)
    assert ok
    return data.tobytes()


def put(folder: Path, **files: bytes) -> Path:
    """Write files named ``stem__suffix`` into a folder."""
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def read_all(source: FolderSource) -> list[Capture]:
    """Everything that a source has."""
    return [source.read() for _ in range(len(source))]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize("pixels", [GREY, COLOUR], ids=["grey", "colour"])
def test_lossless_files_come_back(tmp_path: Path, suffix: str, pixels: np.ndarray) -> None:
    """Lossless files give the very pixels that were stored, in BGR order."""
    (tmp_path / f"part{suffix}").write_bytes(encode(suffix, pixels))

    capture = FolderSource(tmp_path).read()

    assert capture.fault == ""
    assert (capture.part_id, capture.origin, capture.bit_depth) == ("part", f"part{suffix}", 8)
    assert capture.pixel_format == ("mono" if pixels.ndim == 2 else "bgr")
    np.testing.assert_array_equal(capture.pixels, pixels)


@pytest.mark.parametrize("suffix", [".JPG", ".jpeg", ".webp"])
def test_lossy_files_come_back(tmp_path: Path, suffix: str) -> None:
    """Lossy files of any case of suffix are read, colour as three channels."""
    smooth = cv2.GaussianBlur(COLOUR, (0, 0), 5)
    (tmp_path / f"part{suffix}").write_bytes(encode(suffix, smooth))

    capture = FolderSource(tmp_path).read()

    assert capture.pixel_format == "bgr"
    assert capture.pixels is not None
    np.testing.assert_allclose(capture.pixels.astype(float), smooth, atol=12)


def test_jpeg_brings_its_file(tmp_path: Path) -> None:
    """A JPEG comes with the bytes that its pixels were decoded from; other files do not."""
    content = encode(".jpg", GREY)
    put(tmp_path, a__jpg=content, b__png=encode(".png", GREY), c__webp=encode(".webp", COLOUR))

    jpeg, *others = read_all(FolderSource(tmp_path))

    assert jpeg.jpeg is not None
    assert jpeg.jpeg.content == content
    assert jpeg.jpeg.pixels is jpeg.pixels
    assert [capture.jpeg for capture in others] == [None, None]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_are_kept(tmp_path: Path, suffix: str) -> None:
    """A 16-bit file is uint16 with bit depth 16, its numbers unscaled."""
    deep = RNG.integers(0, 4096, (8, 9), dtype=np.uint16)
    (tmp_path / f"part{suffix}").write_bytes(encode(suffix, deep))

    capture = FolderSource(tmp_path).read()

    assert (capture.pixel_format, capture.bit_depth) == ("mono", 16)
    np.testing.assert_array_equal(capture.pixels, deep)


def test_alpha_is_dropped(tmp_path: Path) -> None:
    """Of a file with an alpha channel the colour remains."""
    alpha = np.dstack([COLOUR, np.zeros_like(GREY)])

    capture = FolderSource(put(tmp_path, part__png=encode(".png", alpha))).read()

    np.testing.assert_array_equal(capture.pixels, COLOUR)


def test_name_order_without_the_rest(tmp_path: Path) -> None:
    """Files come by name in code point order; sub-folders, hidden and other files do not come."""
    data = encode(".png", GREY)
    put(tmp_path, b__png=data, a10__png=data, a9__PNG=data, Z__png=data, notes__txt=b"no image")
    (tmp_path / ".hidden.png").write_bytes(data)
    (tmp_path / "sub.png").mkdir()
    put(tmp_path / "sub.png", c__png=data)

    source = FolderSource(tmp_path)

    assert [capture.origin for capture in read_all(source)] == [
        "Z.png",
        "a10.png",
        "a9.PNG",
        "b.png",
    ]
    with pytest.raises(EndOfSourceError):
        source.read()
    with pytest.raises(EndOfSourceError):
        source.read()


def test_loop_begins_again(tmp_path: Path) -> None:
    """A looping source gives the first file after the last."""
    data = encode(".png", GREY)
    source = FolderSource(put(tmp_path, a__png=data, b__png=data), loop=True)

    stems = [source.read().part_id for _ in range(5)]
    source.close()
    source.close()

    assert stems == ["a", "b", "a", "b", "a"]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_truncated_files_are_faults(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], suffix: str, share: float
) -> None:
    """A file cut anywhere is a silent fault that names it, and the line goes on."""
    data = encode(f".{suffix}", GREY)
    (tmp_path / f"cut.{suffix}").write_bytes(data[: int(share * len(data))])
    put(tmp_path, good__png=encode(".png", GREY))

    first, second = read_all(FolderSource(tmp_path))

    assert first.pixels is None
    assert first.fault.startswith(f"cut.{suffix}: the file ")
    assert (first.part_id, first.origin) == ("cut", f"cut.{suffix}")
    assert second.pixels is not None
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_last_byte_counts(suffix: str) -> None:
    """A PNG, JPEG or WebP file that lacks its last byte only is refused by our own check."""
    data = encode(f".{suffix}", GREY)

    with pytest.raises(ValueError, match="truncated or damaged"):
        decode_image(data[:-1])


def test_thumbnail_does_not_end_a_jpeg() -> None:
    """The end marker of an embedded thumbnail is not taken for that of the picture."""
    data = encode(".jpg", GREY)
    thumbnail = b"Exif\0\0" + encode(".jpg", GREY[:8, :8])
    segment = b"\xff\xe1" + struct.pack(">H", 2 + len(thumbnail)) + thumbnail
    with_thumbnail = data[:2] + segment + data[2:]

    whole = decode_image(with_thumbnail)

    assert whole.shape == GREY.shape
    with pytest.raises(ValueError, match="EOI"):
        decode_image(with_thumbnail[:-2])


@given(position=st.integers(8, 600), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_any_flipped_bit_of_a_png_is_seen(position: int, bit: int) -> None:
    """A single flipped bit after the signature of a PNG never gives pixels."""
    data = bytearray(encode(".png", GREY))
    data[position] ^= 1 << bit

    with pytest.raises(ValueError, match="PNG"):
        decode_image(bytes(data))


@given(data=st.binary(max_size=200), start=st.sampled_from([b"", b"\xff\xd8", b"RIFF", b"BM"]))
@settings(max_examples=60, deadline=None)
def test_rubbish_is_refused(data: bytes, start: bytes) -> None:
    """Any bytes that are no image raise ValueError, never anything else."""
    with pytest.raises(ValueError, match="file"):
        decode_image(start + data)


def test_other_pixel_types_are_refused(tmp_path: Path) -> None:
    """Floating-point pixels are a fault that names the type."""
    floats = RNG.random((8, 8), np.float32)

    capture = FolderSource(put(tmp_path, part__tif=encode(".tif", floats))).read()

    assert capture.pixels is None
    assert capture.fault == "part.tif: pixels are float32, must be uint8 or uint16"


def test_too_large_is_refused() -> None:
    """A side beyond the limit is refused with size and limit."""
    wide = np.zeros((1, MAX_SIDE_PX + 1), np.uint8)

    with pytest.raises(ValueError, match=f"{MAX_SIDE_PX + 1} x 1 px, the limit is {MAX_SIDE_PX}"):
        decode_image(encode(".png", wide))


def test_channels_are_counted() -> None:
    """Decoded pixels with two or five channels are refused with their number."""
    for channels in (2, 5):
        with pytest.raises(ValueError, match=f"{channels} channels, must be 1, 3 or 4"):
            folder._accepted(np.zeros((4, 4, channels), np.uint8))


def test_header_beyond_opencv_is_a_fault() -> None:
    """A header of more pixels than OpenCV takes on is refused, not an error of OpenCV's own."""
    tall = bytearray(encode(".bmp", GREY))
    tall[18:26] = struct.pack("<ii", 60_000, 60_000)

    with pytest.raises(ValueError, match="cannot be decoded"):
        decode_image(bytes(tall))


def test_inner_damage_is_a_fault() -> None:
    """Compressed data that do not unpack are refused though every checksum is right."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + crc

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"rubbish") + chunk(b"IEND", b"")

    with pytest.raises(ValueError, match="cannot be decoded"):
        decode_image(data)


def test_vanished_file_is_a_fault(tmp_path: Path) -> None:
    """A file deleted after the folder was listed is a fault, not the end of the line."""
    source = FolderSource(put(tmp_path, part__png=encode(".png", GREY)))
    (tmp_path / "part.png").unlink()

    assert source.read().fault == "part.png: No such file or directory"


@pytest.mark.parametrize(
    "stem",
    ["lot 7;part 3", "Ä-1", "x" * 100, "a\tb", "\udcff", 'a"\\b'],
    ids=["; ", "ä", "long", "tab", "raw", "quoted"],
)
def test_part_id_fits(tmp_path: Path, stem: str) -> None:
    """Whatever the file's name, the part id is one that a message can carry."""
    (tmp_path / f"{stem}.png").write_bytes(encode(".png", GREY))

    capture = FolderSource(tmp_path).read()

    TypeAdapter(PartId).validate_python(capture.part_id)
    assert capture.origin.encode()
    assert capture.pixels is not None


def test_empty_or_missing_folder_is_named(tmp_path: Path) -> None:
    """A folder that is missing, a file, or without images is an error with its path."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")

    for name in ("empty", "file", "gone"):
        with pytest.raises(SourceError, match=str(tmp_path / name)):
            FolderSource(tmp_path / name)
