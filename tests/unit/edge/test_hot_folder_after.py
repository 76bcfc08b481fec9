"""What becomes of a file that was read: moved, deleted or kept, and never read twice."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest
from hot_folder_rig import LIST_MS, SETTLE_MS, HotFolder, numbers, read_all
from picture_writers import encoded

from edge.sources import arrivals
from edge.sources.hot_folder import DONE

if TYPE_CHECKING:
    from pathlib import Path

    from edge.sources import Capture
    from edge.sources.hot_folder import HotFolderSource

DATA = encoded(0)[1]


def test_put_away_once_it_is_accounted_for(hot: HotFolder) -> None:
    """A file lies where it was until ingest says that the gate has its frame on disk."""
    source = hot.watch()
    name = hot.put(0)

    source.read()
    source.clear()
    again, at_first = source.read(), (hot.folder / name).exists()
    source.let_go(1)

    assert again is None
    assert at_first
    assert not (hot.folder / name).exists()
    assert (hot.folder / DONE / name).read_bytes() == DATA


@pytest.mark.parametrize("after", ["move", "delete", "keep"])
def test_same_name_again(hot: HotFolder, after: str) -> None:
    """A name that comes again is another picture, and none that was moved is overwritten."""
    source = hot.watch(after)
    read = []

    for number in (0, 3, 6):
        (hot.folder / "latest.png").write_bytes(encoded(number)[1])
        hot.clock.advance_ms(LIST_MS)
        read += read_all(source)

    assert numbers(read) == [0, 3, 6]
    source.close()
    moved = ["latest-1.png", "latest-2.png", "latest.png"]
    assert sorted(p.name for p in hot.folder.glob("done/*")) == (moved if after == "move" else [])
    assert (hot.folder / "latest.png").exists() == (after == "keep")


def test_rewritten_before_it_was_put_away(hot: HotFolder) -> None:
    """A file that is written anew right after it was read is not moved unread."""
    source = hot.watch()
    name = hot.put(0)
    first = source.read()
    (hot.folder / name).write_bytes(encoded(3)[1])

    second = source.read()

    assert first is not None
    assert second is not None
    assert numbers([first, second]) == [0, 3]


def test_kept_file_is_read_once(hot: HotFolder) -> None:
    """A file that stays is not read again, whether it is listed or opened for nothing."""
    hot.put(1)
    source = hot.watch("keep")
    first = read_all(source)
    hot.clock.advance_ms(LIST_MS)
    again = read_all(source)
    (hot.folder / hot.put(2)).open("ab").close()
    again += read_all(source)
    (hot.folder / encoded(2)[0]).open("ab").close()

    again += read_all(source)

    assert (numbers(first), numbers(again)) == ([1], [2])


def test_deleted_file_may_come_again(hot: HotFolder) -> None:
    """A file that was read and deleted has arrived anew when it is there again, as it was."""
    source = hot.watch("delete")
    file = hot.folder / hot.put(0)
    (hot.folder / "spare").hardlink_to(file)
    read = read_all(source)

    file.hardlink_to(hot.folder / "spare")
    for _ in range(2):
        hot.clock.advance_ms(SETTLE_MS)
        read += read_all(source)

    assert numbers(read) == [0, 0]


def test_kept_file_may_come_again(hot: HotFolder) -> None:
    """A file that was read, taken away and is there again, as it was, has arrived anew."""
    source = hot.watch("keep")
    file = hot.folder / hot.put(0)
    (hot.folder / "spare").hardlink_to(file)
    read = read_all(source)
    file.unlink()
    hot.clock.advance_ms(LIST_MS)
    read += read_all(source)

    file.hardlink_to(hot.folder / "spare")
    for _ in range(2):
        hot.clock.advance_ms(SETTLE_MS)
        read += read_all(source)

    assert numbers(read) == [0, 0]


def test_file_that_cannot_be_moved(
    hot: HotFolder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where moving fails files stay, are read once all the same, and that is said once."""
    (hot.folder / DONE).write_text("in the way")
    source = hot.watch()

    with caplog.at_level(logging.WARNING):
        for number in (1, 2):
            hot.put(number)
        read = read_all(source)
        hot.clock.advance_ms(2 * SETTLE_MS)
        read += read_all(source)

    assert numbers(read) == [1, 2]
    assert len(list(hot.folder.glob("p*"))) == 2
    assert caplog.text.count("cannot move it") == 1


def test_file_that_somebody_else_took(hot: HotFolder, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is gone when it is to be put away is no trouble."""
    source = hot.watch()
    file = hot.folder / hot.put(0)
    first = source.read()
    file.unlink()

    with caplog.at_level(logging.WARNING):
        second = source.read()

    assert first is not None
    assert second is None
    assert caplog.text == ""


def test_closing_keeps_what_was_read_last(hot: HotFolder) -> None:
    """A picture whose frame may have no number yet stays for the next start; closing is final."""
    source = hot.watch("delete")
    first, last = hot.put(0), hot.put(3)
    source.read()
    source.let_go(1)
    source.read()

    source.close()
    source.close()

    assert [(hot.folder / name).exists() for name in (first, last)] == [False, True]


def test_picture_that_takes_the_name_meanwhile_is_read(
    hot: HotFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that replaces a file in the instant in which it is put away loses no picture."""
    source = hot.watch()
    (hot.folder / "latest.png").write_bytes(encoded(0)[1])
    read = read_all_but_put_away(source)
    (hot.folder / "new.tmp").write_bytes(encoded(3)[1])
    place_for = source._place_for

    def replaced(file: Path) -> Path:
        if (hot.folder / "new.tmp").exists():
            (hot.folder / "new.tmp").replace(file)
        return place_for(file)

    monkeypatch.setattr(source, "_place_for", replaced)
    source.let_go(1)
    for _ in range(3):
        hot.clock.advance_ms(LIST_MS)
        read += read_all(source)
    hot.clock.advance_ms(SETTLE_MS)
    read += read_all(source)

    assert numbers(read) == [0, 3]


def read_all_but_put_away(source: HotFolderSource) -> list[Capture]:
    """Read one picture, which is not put away yet."""
    capture = source.read()
    assert capture is not None
    return [capture]


@pytest.mark.parametrize("after", ["move", "delete", "keep"])
def test_time_that_is_set_later_makes_no_new_picture(hot: HotFolder, after: str) -> None:
    """A copying program that sets the file's time after the writing has brought one picture."""
    source = hot.watch(after)
    file = hot.folder / hot.put(0)
    first = source.read()
    os.utime(file, (1e9, 1e9))
    source.let_go(1)
    again = []

    for _ in range(4):
        hot.clock.advance_ms(SETTLE_MS)
        again += read_all(source)

    assert first is not None
    assert again == []
    assert file.exists() == (after == "keep")


@pytest.mark.parametrize("after", ["move", "delete", "keep"])
def test_closed_again_without_a_change(hot: HotFolder, after: str) -> None:
    """A file that is opened and closed once more after it was read is no second picture."""
    source = hot.watch(after)
    file = hot.folder / hot.put(0)
    first = source.read()
    file.open("r+b").close()
    source.let_go(1)
    again = []

    for _ in range(4):
        hot.clock.advance_ms(SETTLE_MS)
        again += read_all(source)

    assert first is not None
    assert again == []
    assert file.exists() == (after == "keep")


def test_name_comes_again_right_after_it_was_put_away(hot: HotFolder) -> None:
    """A picture that takes the name of one that was just deleted is not taken for it."""
    source = hot.watch("delete")
    file = hot.folder / hot.put(0)
    first = source.read()
    file.open("r+b").close()
    source.let_go(1)
    file.write_bytes(encoded(3)[1])

    second = source.read()

    assert first is not None
    assert second is not None
    assert numbers([first, second]) == [0, 3]


@pytest.mark.parametrize("after", ["move", "keep"])
def test_time_is_news_on_a_share(
    hot: HotFolder, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    """Where another host may write unseen, a file of a new time is a new picture."""
    monkeypatch.setattr(arrivals, "is_remote", lambda _folder: True)
    source = hot.watch(after)
    file = hot.folder / "latest.bmp"
    file.write_bytes(encoded(1)[1])
    first = source.read()
    file.write_bytes(encoded(4)[1])
    source._arrivals._watch.take()
    later = []

    for _ in range(4):
        hot.clock.advance_ms(SETTLE_MS)
        later += read_all(source)

    assert first is not None
    assert numbers([first, *later]) == [1, 4]
