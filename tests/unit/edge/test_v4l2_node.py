"""A device node says what is wrong with it; stand-ins for the kernel, not yet with a camera."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from edge.sources import (
    CameraBusyError,
    CameraMissingError,
    CameraSetupError,
    SourceError,
    v4l2_node,
)
from edge.sources.v4l2_node import check_node

IOWR, SIZE_BYTES, GROUP, NUMBER = 3, 20, ord("V"), 8


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """Something that can be opened like a device node."""
    path = tmp_path / "video0"
    path.touch()
    return path


def failing(code: int) -> Any:
    """Return a system call that fails."""

    def call(*_given: Any) -> int:
        raise OSError(code, os.strerror(code))

    return call


def test_free_device_is_let_go_again(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that grants no buffers is free, and is not open afterwards."""
    asked: list[tuple[int, int, bytes]] = []
    monkeypatch.setattr(v4l2_node.fcntl, "ioctl", lambda *given: asked.append(given))

    check_node(node)

    ((descriptor, request, record),) = asked
    assert request == IOWR << 30 | SIZE_BYTES << 16 | GROUP << 8 | NUMBER
    assert len(record) == SIZE_BYTES
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_captured_device_is_busy(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device whose buffers another program has is busy, and the message says how to find it."""
    monkeypatch.setattr(v4l2_node.fcntl, "ioctl", failing(errno.EBUSY))

    with pytest.raises(CameraBusyError, match=f"another program captures.*fuser -v {node}"):
        check_node(node)


def test_other_answers_are_opencvs_affair(node: Path) -> None:
    """A device that does not know the question, like a file, may be tried."""
    check_node(node)


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (errno.EBUSY, CameraBusyError, "another program"),
        (errno.EACCES, CameraSetupError, "Permission denied; add the user .* to group video"),
        (errno.ENXIO, CameraMissingError, "there is .*video0"),
        (errno.EMFILE, SourceError, "Too many open files"),
    ],
)
def test_node_that_cannot_be_opened(
    node: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[SourceError], message: str
) -> None:
    """Each reason why a node cannot be opened is an error of its kind, with the remedy."""
    monkeypatch.setattr(v4l2_node.os, "open", failing(code))

    with pytest.raises(kind, match=message) as caught:
        check_node(node)

    assert type(caught.value) is kind


def test_missing_device_names_the_others(node: Path) -> None:
    """A device that is not there is missing, with those that are; or with none."""
    with pytest.raises(CameraMissingError, match=f"No such file or directory; there is {node}"):
        check_node(node.with_name("video9"))
    node.unlink()
    with pytest.raises(CameraMissingError, match="there is none"):
        check_node(node)
