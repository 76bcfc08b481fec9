"""Secrets in files: short, whole, and for their owner alone."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING

import pytest

from edge.secret_file import SECRET_LIMIT_BYTES, SecretFileError, check_private, read_secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POSIX = pytest.mark.skipif(os.name == "nt", reason="a file's mode says nothing on Windows")


def write(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    """Write a file of this mode."""
    path = folder / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"s3cret", "s3cret"),
        (b"s3cret\n", "s3cret"),
        (b"s3cret\r\n", "s3cret"),
        (b"s3cret\n\n", "s3cret\n"),
        (b" s3 cret \n", " s3 cret "),
        ("schlüssel\n".encode(), "schlüssel"),
        (b"x" * SECRET_LIMIT_BYTES, "x" * SECRET_LIMIT_BYTES),
    ],
)
def test_one_newline_is_taken_off(tmp_path: Path, content: bytes, secret: str) -> None:
    """The secret is the file without one newline at its end, and nothing else is changed."""
    assert read_secret(write(tmp_path, content)) == secret


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"\n", "empty"),
        (b"x" * (SECRET_LIMIT_BYTES + 1), "more than 4096 bytes"),
        (b"abc\xff", "not UTF-8"),
    ],
)
def test_no_secret_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    """What cannot be a secret is refused with file and reason."""
    path = write(tmp_path, content)

    with pytest.raises(SecretFileError, match=f"{path}: {reason}") as caught:
        read_secret(path)

    assert caught.value.exit_code == 2


def test_error_does_not_repeat_the_secret(tmp_path: Path) -> None:
    """Neither message nor traceback of a refusal shows what the file holds."""
    path = write(tmp_path, b"hunter2\xff")

    with pytest.raises(SecretFileError) as caught:
        read_secret(path)

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@POSIX
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o620, 0o602, 0o666])
def test_open_file_is_refused(tmp_path: Path, mode: int) -> None:
    """A file that others may read or write is refused with its mode and the remedy."""
    path = write(tmp_path, b"s3cret", mode)

    for use in (read_secret, check_private):
        with pytest.raises(SecretFileError, match=f"mode {mode:04o} .* chmod 600 {path}"):
            use(path)


@POSIX
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_private_file_is_taken(tmp_path: Path, mode: int) -> None:
    """A file for its owner alone is taken, writable or not."""
    path = write(tmp_path, b"s3cret", mode)

    check_private(path)

    assert read_secret(path) == "s3cret"


@POSIX
def test_public_file_may_be_open(tmp_path: Path) -> None:
    """What is not private, as a user name, may be readable for all."""
    assert read_secret(write(tmp_path, b"box\n", 0o644), private=False) == "box"


@pytest.mark.parametrize("use", [read_secret, check_private])
def test_missing_file_is_named(tmp_path: Path, use: Callable[[Path], object]) -> None:
    """A file that is not there is named."""
    with pytest.raises(SecretFileError, match="gone: No such file"):
        use(tmp_path / "gone")


def test_folder_is_no_secret(tmp_path: Path) -> None:
    """A folder in a secret's place is named."""
    with pytest.raises(SecretFileError, match=f"{tmp_path}: Is a directory"):
        read_secret(tmp_path)
