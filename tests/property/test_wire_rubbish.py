"""The wire under any bytes: rubbish is refused, and every frame survives the journey."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.frame import SEQ_LIMIT, Announcement, Frame
from edge.wire import Hello, WireError, decode_frame, decode_note, encode_frame, encode_note

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.frame import PixelFormat

BOOT = "0123456789abcdef"
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
ANNOUNCEMENTS = st.builds(
    Announcement,
    camera=st.from_regex(r"[A-Za-z0-9_-]{1,16}", fullmatch=True),
    boot=st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    seq=st.integers(1, SEQ_LIMIT),
    part_id=st.from_regex(r"[!#-:<-\[\]-~]{1,48}", fullmatch=True),
    captured_at=st.integers(0, 2**53).map(lambda us: EPOCH + timedelta(microseconds=us)),
    captured_ns=st.integers(0, 2**63 - 1),
    origin=st.text(st.characters(codec="utf-8"), max_size=256),
)
FORMATS: st.SearchStrategy[PixelFormat] = st.sampled_from(["mono", "bgr", "rgb"])
SEEN = Announcement(
    camera="c1",
    boot=BOOT,
    seq=1,
    part_id="P1",
    captured_at=datetime(2026, 1, 2, tzinfo=timezone.utc),
    captured_ns=0,
)
FRAME_PARTS = [bytes(part) for part in encode_frame(Frame(SEEN, np.eye(3, dtype="u1"), "mono", 8))]
NOTE_PART = encode_note(Hello(camera="c1", boot=BOOT, sent=1))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@st.composite
def frames(draw: Callable[..., Any]) -> Frame:
    """Draw a frame of any format, of 8 to 16 bits, with any values of its depth."""
    pixel_format, bit_depth = draw(FORMATS), draw(st.integers(8, 16))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    shape = (height, width) if pixel_format == "mono" else (height, width, 3)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = random.integers(0, 2**bit_depth, shape)
    pixels: Any = values.astype("u1" if bit_depth == 8 else "<u2")
    return Frame(draw(ANNOUNCEMENTS), pixels, pixel_format, bit_depth)


@given(sent=frames())
@settings(max_examples=60, deadline=None)
def test_frames_round_trip(sent: Frame) -> None:
    """Every frame arrives bit by bit: pixels, format, depth, announcement."""
    header, body = encode_frame(sent)

    arrived = decode_frame([memoryview(header), bytes(body)])

    assert arrived.announcement == sent.announcement
    assert (arrived.pixel_format, arrived.bit_depth) == (sent.pixel_format, sent.bit_depth)
    assert arrived.pixels.dtype == sent.pixels.dtype
    assert arrived.pixels.shape == sent.pixels.shape
    assert arrived.pixels.tobytes() == sent.pixels.tobytes()


@given(sent=frames())
@settings(max_examples=30, deadline=None)
def test_pixels_are_never_copied(sent: Frame) -> None:
    """Both ways pixels are a view: of the frame when sent, read-only of the buffer on arrival."""
    header, body = encode_frame(sent)
    buffer = bytearray(body)

    arrived = decode_frame([header, memoryview(buffer)])

    assert np.shares_memory(np.frombuffer(body, np.uint8), sent.pixels)
    assert np.shares_memory(arrived.pixels, np.frombuffer(buffer, np.uint8))
    assert not arrived.pixels.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        arrived.pixels[0, 0] = 0


@given(parts=st.lists(st.binary(max_size=64), max_size=3))
@settings(max_examples=100, deadline=None)
def test_rubbish_is_no_frame(parts: list[bytes]) -> None:
    """Any bytes that are not a frame raise WireError, never anything else."""
    with pytest.raises(WireError):
        decode_frame(parts)


@given(part=st.binary(max_size=64))
@settings(max_examples=100, deadline=None)
def test_rubbish_is_no_note(part: bytes) -> None:
    """Any bytes that are not a note raise WireError, never anything else."""
    with pytest.raises(WireError):
        decode_note(part)


@given(value=JSON, depth=st.sampled_from([0, 1, 3_000]))
@settings(max_examples=60, deadline=None)
def test_any_json_is_refused(value: object, depth: int) -> None:
    """JSON that is not ours, however deep, raises WireError in place of a note or a header."""
    part = b"[" * depth + json.dumps(value).encode() + b"]" * depth

    with pytest.raises(WireError):
        decode_note(part)
    with pytest.raises(WireError):
        decode_frame([part, b"0"])


@given(cut=st.integers(0, len(FRAME_PARTS[0]) - 1), keep_body=st.booleans())
@settings(max_examples=60, deadline=None)
def test_cut_frames_are_refused(*, cut: int, keep_body: bool) -> None:
    """A frame whose header or pixels were cut anywhere raises WireError."""
    header, body = FRAME_PARTS
    parts = [header[:cut], body] if keep_body else [header, body[: cut % len(body)]]

    with pytest.raises(WireError):
        decode_frame(parts)


@given(cut=st.integers(0, len(NOTE_PART) - 1), digits=st.integers(13, 8_000))
@settings(max_examples=60, deadline=None)
def test_cut_and_swollen_notes_are_refused(cut: int, digits: int) -> None:
    """A note cut anywhere, or with a number of thousands of digits, raises WireError."""
    swollen = NOTE_PART.replace(b'"sent":1', b'"sent":' + b"9" * digits)

    for part in (NOTE_PART[:cut], swollen):
        with pytest.raises(WireError):
            decode_note(part)


@given(place=st.integers(0, len(FRAME_PARTS[0]) - 1), value=st.integers(0, 255))
@settings(max_examples=200, deadline=None)
def test_one_wrong_byte_never_crashes(place: int, value: int) -> None:
    """One byte changed in a header gives WireError or a frame that is still whole."""
    header = bytearray(FRAME_PARTS[0])
    header[place] = value

    try:
        arrived = decode_frame([bytes(header), FRAME_PARTS[1]])
    except WireError:
        return
    assert arrived.pixels.nbytes == len(FRAME_PARTS[1])
    assert arrived.pixels.shape == (3, 3)
