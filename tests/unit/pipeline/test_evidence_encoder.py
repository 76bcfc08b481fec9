"""Evidence is encoded beside the scoring: all of it, in order, and not without a limit."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from factories import frame

from pipeline import evidence_encoder
from pipeline.evidence_encoder import LIMIT, EvidenceEncoder, encoded
from pipeline.heatmap import HeatmapError
from pipeline.inspection import decode_evidence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.frame import Frame

LIMIT_S = 20.0


@pytest.fixture
def encoder() -> Iterator[EvidenceEncoder]:
    """An encoder whose thread ends with the test."""
    one = EvidenceEncoder(lambda: None)
    yield one
    one.close()


def test_each_image_comes_once_and_in_order(encoder: EvidenceEncoder) -> None:
    """Frames come out as they went in, each with its own pixels."""
    for seq in range(1, 8):
        encoder.put(frame(seq))

    messages = encoder.done() + encoder.finish()

    images = [decode_evidence(message[1:]) for message in messages]
    assert [key.seq for key, _ in images] == list(range(1, 8))
    for key, png in images:
        pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(pixels, frame(key.seq).pixels)
    assert encoder.done() == []


def test_bits_are_moved_up() -> None:
    """Of 12 bits in 16 the highest is the image's highest."""
    pixels = np.full((4, 4), 4095, np.uint16)
    deep = frame(1, pixels)

    png = encoded(type(deep)(deep.announcement, pixels, "mono", 12))

    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.max() == 4095 << 4


def test_what_cannot_be_encoded_is_logged(
    encoder: EvidenceEncoder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An image that cannot be encoded is named in the log, and those after it come."""
    whole = evidence_encoder.encode_png

    def encode(pixels: np.ndarray) -> bytes:
        if pixels[0, 0] == 2:
            message = "no"
            raise HeatmapError(message)
        return whole(pixels)

    monkeypatch.setattr(evidence_encoder, "encode_png", encode)
    for seq in (1, 2, 3):
        encoder.put(frame(seq))

    messages = encoder.finish()

    assert [decode_evidence(one[1:])[0].seq for one in messages] == [1, 3]
    assert "no evidence of c1/" in caplog.text


def test_frames_in_hand_are_limited(
    encoder: EvidenceEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever hands over one more than the limit waits for the oldest."""
    go, handed = threading.Semaphore(0), threading.Event()

    def encode(_one: Frame) -> list[bytes]:
        assert go.acquire(timeout=LIMIT_S)
        return [b"x"]

    monkeypatch.setattr(evidence_encoder, "evidence_message", encode)
    for seq in range(LIMIT):
        encoder.put(frame(seq + 1))

    def put_one_more() -> None:
        encoder.put(frame(LIMIT + 1))
        handed.set()

    waiting = threading.Thread(target=put_one_more)
    waiting.start()
    early = handed.wait(0.05)
    go.release(LIMIT + 1)
    waiting.join(LIMIT_S)

    assert (early, handed.is_set()) == (False, True)
    assert len(encoder.finish()) == LIMIT + 1
