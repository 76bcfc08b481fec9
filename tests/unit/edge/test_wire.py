"""The wire: what is sent is what arrives, and what is not ours is refused by name."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any, get_args

import numpy as np
import pytest

from edge.frame import MAX_SIDE_PX, SEQ_LIMIT, Announcement, Frame, PixelFormat
from edge.wire import (
    MAX_NOTE_BYTES,
    Acknowledged,
    Announced,
    Begins,
    CameraHere,
    CameraLeft,
    Credit,
    Happened,
    Hello,
    Lost,
    Note,
    Order,
    Ordered,
    PartAt,
    ScorerLeft,
    ScorerUp,
    WireError,
    decode_frame,
    decode_note,
    encode_frame,
    encode_note,
    pixel_shape_fault,
)

BOOT = "0123456789abcdef"
SEEN = Announcement(
    camera="c1",
    boot=BOOT,
    seq=7,
    part_id="A-000812",
    captured_at=datetime(2026, 11, 22, 8, 14, 3, 123456, tzinfo=timezone.utc),
    captured_ns=5_000,
    origin="lid_07.png",
)
NOTES: list[Note] = [
    Announced(announcement=SEEN),
    Lost(announcement=SEEN, why="corrupt", detail="lid_07.png: cut short"),
    Acknowledged(boot=BOOT, seq=SEQ_LIMIT, notice="lost"),
    Hello(camera="c1", boot=BOOT, sent=0),
    Credit(boot=BOOT, settled=3, window=2),
    Lost(announcement=SEEN, why="missed_trigger", detail="no picture within 500 ms"),
    Begins(camera="c1", boot=BOOT, seq=0),
    CameraHere(camera="c1", boot=BOOT, state="NO_TRIGGER"),
    CameraLeft(camera="c1", boot=BOOT),
    PartAt(part_id="A-000812"),
    ScorerUp(scorer=BOOT, model="a89d1abb", recipe="lid-blue"),
    ScorerLeft(scorer=BOOT),
    Order(order=BOOT, verb="pin", recipe="lid-blue", camera="c1", boot=BOOT, seq=7),
    Order(order=BOOT, verb="reset", recipe="lid-blue"),
    Happened(
        camera="c1",
        boot=BOOT,
        seq=3,
        at=SEEN.captured_at,
        event="camera_back",
        detail={"away_s": 1.5, "name": "basler 1", "opening": 2},
    ),
    Ordered(order=BOOT, ok=False, code="pins_full", detail="4 frames are pinned"),
]


def frame(pixels: Any = None, pixel_format: PixelFormat = "mono", bit_depth: int = 8) -> Frame:
    """Return a frame of 2 x 3 pixels unless told otherwise."""
    values = np.arange(6, dtype=np.uint8).reshape(2, 3) if pixels is None else pixels
    return Frame(SEEN, values, pixel_format, bit_depth)


def test_every_kind_is_tried() -> None:
    """The notes below are of every kind that there is."""
    assert {type(note) for note in NOTES} == set(get_args(Note))


@pytest.mark.parametrize("note", NOTES, ids=lambda note: note.kind)
def test_notes_round_trip(note: Note) -> None:
    """Every kind of note arrives as it was sent, to the microsecond."""
    part = encode_note(note)

    arrived = decode_note(memoryview(part))

    assert arrived == note
    assert type(arrived) is type(note)


@pytest.mark.parametrize(
    ("part", "complaint"),
    [
        (b"", "not a note"),
        (b'{"kind":"hello","camera":"c1"}', "boot"),
        (b'{"kind":"goodbye"}', "goodbye"),
        (b'{"camera":"c1"}', "kind"),
        (b'{"v":2,"kind":"hello","camera":"c1","boot":"0123456789abcdef","sent":0}', "v"),
        (b'{"kind":"hello","camera":"c1","boot":"0123456789abcdef","sent":0,"x":1}', "x"),
        (b'{"kind":"hello","camera":"a/b","boot":"0123456789abcdef","sent":0}', "camera"),
        (b'{"kind":"hello","camera":"c1","boot":"0123456789abcdef","sent":1e12}', "sent"),
        (b'{"kind":"camera_here","camera":"c1","boot":"0123456789abcdef","state":"OK"}', "state"),
        (b'{"kind":"part_at","part_id":"A;1"}', "part_id"),
        (b'{"kind":"part_at","part_id":""}', "part_id"),
        (b'{"kind":"order","order":"1","verb":"reset","recipe":"r"}', "order"),
        (b'{"kind":"order","order":"0123456789abcdef","verb":"stop","recipe":"r"}', "verb"),
        (b'{"kind":"order","order":"0123456789abcdef","verb":"recipe","recipe":"a/b"}', "recipe"),
        (b"\xff\xfe", "not a note"),
    ],
)
def test_foreign_notes_are_refused(part: bytes, complaint: str) -> None:
    """A note of another version, kind or field raises WireError that names the field."""
    with pytest.raises(WireError, match=complaint):
        decode_note(part)


def test_long_note_is_refused() -> None:
    """A note over the limit is refused by its length, before anybody parses it."""
    part = encode_note(NOTES[0]) + b" " * MAX_NOTE_BYTES

    with pytest.raises(WireError, match=f"{len(part)} bytes, the limit is {MAX_NOTE_BYTES}"):
        decode_note(part)


def test_longest_note_fits() -> None:
    """The longest note that can be built is far below the limit."""
    longest = Announcement(
        camera="c" * 16,
        boot="f" * 16,
        seq=SEQ_LIMIT,
        part_id="P" * 48,
        captured_at=SEEN.captured_at,
        captured_ns=2**63 - 1,
        origin="\U0001f4f7" * 256,
    )
    lost = Lost(announcement=longest, why="corrupt", detail="\U0001f4f7" * 512)

    assert decode_note(encode_note(lost)) == lost
    assert len(encode_note(lost)) <= MAX_NOTE_BYTES // 2


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_frame_is_two_parts(count: int) -> None:
    """Fewer or more than two parts are not a frame."""
    header, body = encode_frame(frame())
    parts: list[bytes | memoryview] = [header]
    parts = [*parts, body, b""][:count]

    with pytest.raises(WireError, match="not a frame message"):
        decode_frame(parts)


@pytest.mark.parametrize("length", [0, 1, 5, 7, 12])
def test_wrong_number_of_bytes_is_refused(length: int) -> None:
    """Pixels that are not height x width x depth bytes are refused, never padded or cut."""
    header, _ = encode_frame(frame())

    with pytest.raises(WireError, match="not a frame message"):
        decode_frame([header, bytes(length)])


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (b'"v":1', b'"v":2', "v"),
        (b'"height":2', b'"height":0', "height"),
        (b'"width":3', b'"width":40000', "width"),
        (b'"bit_depth":8', b'"bit_depth":17', "bit_depth"),
        (b'"mono"', b'"bayer"', "pixel_format"),
        (b'"seq":7', b'"seq":1000000000000', "seq"),
        (b'"captured_ns":5000', b'"captured_ns":9223372036854775808', "captured_ns"),
        (b"lid_07", b"lid_07\xff", "not a frame message"),
    ],
)
def test_damaged_header_is_refused(old: bytes, new: bytes, complaint: str) -> None:
    """A header with one wrong field raises WireError that names the field."""
    header, body = encode_frame(frame())
    assert old in header

    with pytest.raises(WireError, match=complaint):
        decode_frame([header.replace(old, new), body])


def test_a_cut_out_picture_is_sent_row_by_row() -> None:
    """Pixels that are a window on a larger array arrive as they look, not as they lie."""
    sensor = np.arange(48, dtype=np.uint8).reshape(6, 8)
    region = sensor[1:5:2, 7:1:-2]

    arrived = decode_frame(encode_frame(frame(region)))

    np.testing.assert_array_equal(arrived.pixels, region)


@pytest.mark.parametrize(
    ("shape", "dtype", "pixel_format", "bit_depth", "complaint"),
    [
        ((), "u1", "mono", 8, r"shape \(\), mono has \(height, width\)"),
        ((4,), "u1", "mono", 8, r"shape \(4,\), mono has \(height, width\)"),
        ((4, 4, 1), "u1", "mono", 8, r"shape \(4, 4, 1\)"),
        ((4, 4, 3), "u1", "mono", 8, r"shape \(4, 4, 3\), mono has"),
        ((4, 4), "u1", "rgb", 8, r"shape \(4, 4\), rgb has \(height, width, 3\)"),
        ((4, 4, 4), "u1", "bgr", 8, r"shape \(4, 4, 4\), bgr has"),
        ((2, 4, 4, 3), "u1", "bgr", 8, r"shape \(2, 4, 4, 3\)"),
        ((4, 4), "u1", "mono", 12, "uint8 pixels cannot be 12 bits deep"),
        ((4, 4), "u2", "mono", 8, "uint16 pixels cannot be 8 bits deep"),
        ((4, 4), "f4", "mono", 8, "float32 pixels cannot be 8 bits deep"),
        ((4, 4), ">u2", "mono", 16, "cannot be 16 bits deep"),
        ((4, 4), "u1", "mono", 0, "0 bits a value, the limits are 1 and 16"),
        ((4, 4), "u2", "mono", 17, "17 bits a value, the limits are 1 and 16"),
        ((0, 4), "u1", "mono", 8, f"each side is 1 to {MAX_SIDE_PX} px"),
        ((1, MAX_SIDE_PX + 1), "u1", "mono", 8, f"each side is 1 to {MAX_SIDE_PX} px"),
    ],
)
def test_wrong_pixels_are_named(
    shape: tuple[int, ...], dtype: str, pixel_format: PixelFormat, bit_depth: int, complaint: str
) -> None:
    """Pixels that do not fit their format or depth have a fault that says what and the limit."""
    pixels: Any = np.zeros(shape, dtype)

    fault = pixel_shape_fault(pixels, pixel_format, bit_depth)

    assert re.search(complaint, fault)


def test_too_many_bytes_are_named() -> None:
    """A frame beyond the limit of one message is refused by its size, not by its sides."""
    huge = np.lib.stride_tricks.as_strided(
        np.zeros(1, np.uint16), (MAX_SIDE_PX, MAX_SIDE_PX), (0, 0)
    )

    fault = pixel_shape_fault(huge, "mono", 16)

    assert fault == f"{2 * MAX_SIDE_PX**2} bytes, the limit is {512 * 1024 * 1024}"


@pytest.mark.parametrize(
    ("shape", "dtype", "pixel_format", "bit_depth"),
    [
        ((1, 1), "u1", "mono", 1),
        ((1, MAX_SIDE_PX), "u1", "mono", 8),
        ((4, 5), "<u2", "mono", 9),
        ((4, 5, 3), "u1", "bgr", 8),
        ((4, 5, 3), "<u2", "rgb", 16),
    ],
)
def test_right_pixels_have_no_fault(
    shape: tuple[int, ...], dtype: str, pixel_format: PixelFormat, bit_depth: int
) -> None:
    """Pixels in a shape and depth that a frame can have are without fault, and can be sent."""
    pixels: Any = np.zeros(shape, dtype)

    assert pixel_shape_fault(pixels, pixel_format, bit_depth) == ""
    sent = frame(pixels, pixel_format, bit_depth)
    assert decode_frame(encode_frame(sent)).pixels.shape == shape
