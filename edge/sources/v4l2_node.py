"""Looks at a V4L2 device node before OpenCV does, which would not say what is wrong.

Written after the kernel's documentation and tried on stand-ins only: not yet
run with a camera.

Source: Linux Media Infrastructure userspace API, part I, VIDIOC_REQBUFS.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from pathlib import Path

from edge.sources import CameraBusyError, CameraMissingError, CameraSetupError, SourceError

REQUEST_BUFFERS = 0xC0145608
"""VIDIOC_REQBUFS: _IOWR('V', 8, struct v4l2_requestbuffers of 20 bytes)."""
NO_BUFFERS = struct.pack("5I", 0, 1, 1, 0, 0)
"""None, for video capture, memory-mapped: gives up what this descriptor does not have."""
_ABSENT = frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})


def check_node(path: Path) -> None:
    """Open a device node as a capture program does, and let it go again.

    A device can be opened by many, but only one may have buffers: asking for
    none is refused where another program has some, and changes nothing else.

    Raises:
        CameraMissingError: There is no such device; the message names those there are.
        CameraBusyError: Another program captures from it.
        CameraSetupError: This user may not open it.
        SourceError: It cannot be opened for another reason.
    """
    try:
        node = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _reason(path, error) from error
    try:
        fcntl.ioctl(node, REQUEST_BUFFERS, NO_BUFFERS)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise _reason(path, error) from error
        # A device without memory-mapped buffers: OpenCV is going to refuse it, or to read it.
    finally:
        os.close(node)


def _reason(path: Path, error: OSError) -> SourceError:
    if error.errno in _ABSENT:
        there = ", ".join(sorted(str(node) for node in path.parent.glob("video*")))
        return CameraMissingError(f"{path}: {error.strerror}; there is {there or 'none'}")
    if error.errno == errno.EBUSY:
        return CameraBusyError(f"{path}: another program captures from it (fuser -v {path})")
    if error.errno in _FORBIDDEN:
        remedy = "add the user of the line to group video"
        return CameraSetupError(f"{path}: {error.strerror}; {remedy}")
    return SourceError(f"{path}: {error.strerror}")
