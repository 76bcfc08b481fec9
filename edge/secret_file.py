"""A secret in a file: short, not empty, and readable for its owner alone.

A password or key that others on the box can read is refused instead of used:
the file's mode is the only lock it has.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from edge.errors import LineError

if TYPE_CHECKING:
    from pathlib import Path

SECRET_LIMIT_BYTES = 4_096
"""Passwords and keys are far shorter; a longer file is the wrong one."""
OPEN_TO_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class SecretFileError(LineError):
    """A secret cannot be used; the message names the file, the reason and the remedy."""

    exit_code = 2


def read_secret(path: Path, *, private: bool = True) -> str:
    """Return what a file holds, without one newline at its end.

    Args:
        path: A text file in UTF-8.
        private: Refuse a file that is open to its group or to others; on
            Windows the mode says nothing, and is not looked at.

    Raises:
        SecretFileError: Not readable, open to others, empty, over
            SECRET_LIMIT_BYTES, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            if private:
                _check_mode(path, os.fstat(file.fileno()))
            content = file.read(SECRET_LIMIT_BYTES + 1)
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise SecretFileError(msg) from error
    try:
        return secret_text(content)
    except ValueError as error:
        msg = f"{path}: {error}"
        raise SecretFileError(msg) from error


def check_private(path: Path) -> None:
    """Refuse a file that is open to others, for a library that reads it by itself.

    Raises:
        SecretFileError: It is not there, or its group or others may use it.
    """
    try:
        status = path.stat()
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise SecretFileError(msg) from error
    _check_mode(path, status)


def secret_text(content: bytes) -> str:
    """Return a secret as text, without one newline at its end.

    Raises:
        ValueError: It is empty, over SECRET_LIMIT_BYTES, or not UTF-8.
    """
    if len(content) > SECRET_LIMIT_BYTES:
        msg = f"more than {SECRET_LIMIT_BYTES} bytes, this is no secret"
        raise ValueError(msg)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        # Its message would repeat bytes of the secret, and so would a chained traceback.
        msg = "not UTF-8"
        raise ValueError(msg) from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        msg = "empty"
        raise ValueError(msg)
    return text


def _check_mode(path: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if os.name != "nt" and mode & OPEN_TO_OTHERS:
        right = "700" if stat.S_ISDIR(status.st_mode) else "600"
        msg = f"{path}: mode {mode:04o} opens it to group or others; run: chmod {right} {path}"
        raise SecretFileError(msg)
