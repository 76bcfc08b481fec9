"""A watched folder: what arrives is read once it is whole, in order, and nothing else is."""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

import pytest
from hot_folder_rig import SETTLE_MS, HotFolder, numbers, put, read_all
from picture_writers import encoded, pieces_of

from edge.sources import SourceError, inotify
from edge.sources.hot_folder import HotFolderSource

if TYPE_CHECKING:
    from pathlib import Path

POLL_LIMIT_S = 5.0
DATA = encoded(0)[1]


def test_what_is_there_comes_first(hot: HotFolder) -> None:
    """Files from before the start come first, by name, without a time; then as they arrive."""
    for number in (2, 0, 1):
        hot.put(number)
    source = hot.watch()
    for number in (9, 7, 8):
        hot.put(number)

    captures = read_all(source)

    assert numbers(captures) == [0, 1, 2, 9, 7, 8]
    assert [capture.arrived_ns for capture in captures] == [None] * 3 + [hot.clock.ns] * 3
    assert [capture.part_id for capture in captures[:2]] == ["p0000", "p0001"]


def test_arrival_is_when_the_writer_was_done(hot: HotFolder) -> None:
    """A picture that waits for its turn keeps the time of its arrival."""
    source = hot.watch()
    hot.put(1)
    source.clear()
    arrived_ns = hot.clock.ns
    hot.clock.advance_ms(700)

    capture = source.read()

    assert capture is not None
    assert capture.arrived_ns == arrived_ns


def test_open_file_is_not_read(hot: HotFolder) -> None:
    """A file that is whole but open for writing is read after its writer has closed it."""
    source = hot.watch()

    with (hot.folder / "a.png").open("wb", buffering=0) as file:
        file.write(DATA)
        while_open = read_all(source)
    after = read_all(source)

    assert while_open == []
    assert numbers(after) == [0]


def test_open_file_at_the_start_is_not_read(hot: HotFolder) -> None:
    """A file that is being written when the source starts is read after that, the rest before."""
    hot.put(5)

    with (hot.folder / "a.png").open("wb", buffering=0) as file:
        file.write(DATA)
        source = hot.watch()
        while_open = read_all(source)
    after = read_all(source)

    assert (numbers(while_open), numbers(after)) == ([5], [0])


def test_renamed_into_place(hot: HotFolder) -> None:
    """A temporary name is not looked at; the file is read under the name that it is moved to."""
    source = hot.watch()
    (hot.folder / "a.png.tmp").write_bytes(DATA)
    (hot.folder / ".a.png").write_bytes(DATA)
    before = read_all(source)

    (hot.folder / "a.png.tmp").rename(hot.folder / "a.png")

    assert before == []
    assert [capture.origin for capture in read_all(source)] == ["a.png"]


def test_renamed_before_it_was_read(hot: HotFolder) -> None:
    """A picture that is renamed inside the folder is one picture, under its last name."""
    source = hot.watch()
    (hot.folder / "a.png").write_bytes(DATA)
    (hot.folder / "a.png").rename(hot.folder / "b.png")

    captures = read_all(source)
    hot.clock.advance_ms(2 * SETTLE_MS)

    assert [capture.origin for capture in captures + read_all(source)] == ["b.png"]


@pytest.mark.parametrize("number", [0, 1, 2], ids=["png", "bmp", "tif"])
def test_appended_in_pieces(hot: HotFolder, number: int) -> None:
    """A file that is closed after each piece is read after the last, however often it was told."""
    source = hot.watch()
    name, data = encoded(number)
    early = []

    for piece in pieces_of(data):
        early += read_all(source)
        hot.clock.advance_ms(SETTLE_MS - 1)
        with (hot.folder / name).open("ab") as file:
            file.write(piece)

    assert early == []
    assert numbers(read_all(source)) == [number]


def test_other_files_are_not_looked_at(hot: HotFolder) -> None:
    """Sub-folders, hidden files, other types and what was moved to done are no pictures."""
    (hot.folder / "sub.png").mkdir()
    put(hot.folder / "sub.png", 1)
    source = hot.watch()
    (hot.folder / "more.png").mkdir()
    (hot.folder / "notes.txt").write_text("")
    (hot.folder / "more.png").rename(hot.folder / "again.png")
    os.mkfifo(hot.folder / "pipe.png")
    hot.put(2)

    read = read_all(source)
    hot.clock.advance_ms(2 * SETTLE_MS)

    assert numbers(read + read_all(source)) == [2]


def test_poller_is_woken(hot: HotFolder) -> None:
    """A poller on the source's descriptor wakes when a file is closed, and sleeps after clear."""
    source = hot.watch()
    assert source.wakeup is not None
    asleep = select.select([source.wakeup], [], [], 0)[0]

    hot.put(1)
    awake = select.select([source.wakeup], [], [], POLL_LIMIT_S)[0]
    source.wakeup.clear()
    asleep_again = select.select([source.wakeup], [], [], 0)[0]

    assert (asleep, awake, asleep_again) == ([], [source], [])
    assert numbers(read_all(source)) == [1], "what was taken note of is not forgotten"


def test_missing_folder_is_named(tmp_path: Path) -> None:
    """A folder that is not there, or is none, is an error with its path."""
    (tmp_path / "file").write_text("")

    for name, reason in (("gone", "No such file"), ("file", "Not a directory")):
        with pytest.raises(SourceError, match=f"{tmp_path / name}: {reason}"):
            HotFolderSource(tmp_path / name)


def test_too_many_watchers_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that grants no more watchers is an error that says so."""

    def refuse(_self: inotify.FolderWatch) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(inotify.FolderWatch, "__init__", refuse)

    with pytest.raises(SourceError, match="Too many open files"):
        HotFolderSource(tmp_path)
