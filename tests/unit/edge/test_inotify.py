"""What Linux tells of a folder: each closing and renaming, in order, and no other folder's."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.sources import inotify
from edge.sources.inotify import FolderEvent, FolderWatch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILES = 2000
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), max_size=40)


@pytest.fixture
def watch() -> Iterator[FolderWatch]:
    """A watch of no folder yet, closed after the test."""
    watch = FolderWatch()
    yield watch
    watch.close()


def test_closing_and_renaming_are_told(tmp_path: Path, watch: FolderWatch) -> None:
    """A closed file and both ends of a renaming are told, the ends with one cookie."""
    watch.watch(tmp_path)
    (tmp_path / "ä b").write_text("1")
    (tmp_path / "ä b").rename(tmp_path / "c")
    (tmp_path / "c").read_text()

    closed, moved_from, moved_to = watch.take()

    assert closed == FolderEvent(inotify.CLOSE_WRITE, 0, "ä b")
    assert (moved_from.mask, moved_from.name) == (inotify.MOVED_FROM, "ä b")
    assert (moved_to.mask, moved_to.name) == (inotify.MOVED_TO, "c")
    assert moved_from.cookie == moved_to.cookie != 0
    assert watch.take() == []


def test_many_events_come_in_order(tmp_path: Path, watch: FolderWatch) -> None:
    """More events than one read returns come all at once, in their order."""
    names = [f"{number:04d}{'x' * 200}" for number in range(FILES)]
    watch.watch(tmp_path)

    for name in names:
        (tmp_path / name).write_text("1")

    assert [event.name for event in watch.take()] == names


def test_folder_before_is_forgotten(tmp_path: Path, watch: FolderWatch) -> None:
    """After another folder is watched, events of the one before are not told, told or not yet."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    watch.watch(tmp_path / "one")
    descriptor = watch.fileno()
    (tmp_path / "one" / "early").write_text("1")

    watch.watch(tmp_path / "other")
    (tmp_path / "one" / "late").write_text("1")
    (tmp_path / "other" / "mine").write_text("1")

    assert [event.name for event in watch.take()] == ["mine"]
    assert watch.fileno() == descriptor


def test_end_of_the_folder_is_told(tmp_path: Path, watch: FolderWatch) -> None:
    """A folder that is moved or deleted tells so."""
    (tmp_path / "one").mkdir()
    watch.watch(tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    moved = watch.take()
    (tmp_path / "two").rmdir()

    deleted = watch.take()

    assert [event.mask & inotify.FOLDER_GONE for event in moved] == [inotify.MOVE_SELF]
    assert inotify.DELETE_SELF in [event.mask & inotify.FOLDER_GONE for event in deleted]


def test_no_folder_is_an_error(tmp_path: Path, watch: FolderWatch) -> None:
    """What is missing, or is no folder, cannot be watched."""
    (tmp_path / "file").write_text("")

    for name, code in (("gone", errno.ENOENT), ("file", errno.ENOTDIR)):
        with pytest.raises(OSError, match=r"\[Errno") as caught:
            watch.watch(tmp_path / name)
        assert caught.value.errno == code


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A C library without inotify is an error that says so."""
    monkeypatch.setattr(inotify.ctypes, "CDLL", lambda *_args, **_kwargs: object())

    with pytest.raises(OSError, match="no inotify"):
        FolderWatch()


@given(st.lists(st.tuples(st.integers(-1, 99), st.integers(0, 2**32 - 1), NAMES)))
def test_records_are_parsed(events: list[tuple[int, int, str]]) -> None:
    """Records laid out as inotify(7) says, names padded with zeros, come back as they were."""
    records = b""
    for watch, mask, name in events:
        padded = name.encode() + b"\0" * (16 - len(name.encode()) % 16)
        records += struct.pack("iIII", watch, mask, 5, len(padded)) + padded

    parsed = inotify._parse(records)

    assert parsed == [(watch, FolderEvent(mask, 5, name)) for watch, mask, name in events]
