"""A watched folder: what arrives is read once it is whole, and nothing is read in pieces."""

from __future__ import annotations

import logging
import os
import select
import shutil
from typing import TYPE_CHECKING

import pytest
from ingest_rig import FakeClock
from picture_writers import encoded, number_of, pieces_of

from edge.sources import Capture, SourceError, inotify, whole_file
from edge.sources.arrivals import HELD_NS, LIST_NS, SETTLE_NS
from edge.sources.hot_folder import DONE, HotFolderSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MS = 1_000_000
SETTLE_MS, LIST_MS, HELD_MS = SETTLE_NS // MS, LIST_NS // MS, HELD_NS // MS
POLL_LIMIT_S = 5.0
DATA = encoded(0)[1]


@pytest.fixture
def clock() -> FakeClock:
    """Time that passes when it is told to."""
    return FakeClock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder that may be moved away."""
    path = tmp_path / "hot"
    path.mkdir()
    return path


@pytest.fixture
def watch(folder: Path, clock: FakeClock) -> Iterator[Callable[..., HotFolderSource]]:
    """Watch the folder; the source is closed after the test."""
    sources: list[HotFolderSource] = []

    def start(after: str = "move") -> HotFolderSource:
        sources.append(HotFolderSource(folder, after=after, clock=clock))  # type: ignore[arg-type]
        return sources[-1]

    yield start
    for source in sources:
        source.close()


def put(folder: Path, number: int) -> str:
    """Write a whole picture; return its name."""
    name, data = encoded(number)
    (folder / name).write_bytes(data)
    return name


def read_all(source: HotFolderSource) -> list[Capture]:
    """Everything that can be read now."""
    captures = []
    while (capture := source.read()) is not None:
        captures.append(capture)
    return captures


def numbers(captures: list[Capture]) -> list[int]:
    """The numbers of whole pictures; any other fails."""
    return [number_of(capture.pixels) for capture in captures if capture.pixels is not None]


@pytest.fixture
def no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of somebody else, or on another host: no lease can tell whether they are in use."""
    monkeypatch.setattr(whole_file, "_is_alone", lambda _file: None)


@pytest.fixture
def no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers on another host."""
    monkeypatch.setattr(inotify.FolderWatch, "take", lambda _self: [])


def test_what_is_there_comes_first(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock
) -> None:
    """Files from before the start come first, by name, without a time; then as they arrive."""
    for number in (2, 0, 1):
        put(folder, number)
    source = watch()
    for number in (9, 7, 8):
        put(folder, number)

    captures = read_all(source)

    assert numbers(captures) == [0, 1, 2, 9, 7, 8]
    assert [capture.arrived_ns for capture in captures] == [None] * 3 + [clock.ns] * 3
    assert [capture.part_id for capture in captures[:2]] == ["p0000", "p0001"]


def test_arrival_is_when_the_writer_was_done(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock
) -> None:
    """A picture that waits for its turn keeps the time of its arrival."""
    source = watch()
    put(folder, 1)
    source.clear()
    arrived_ns = clock.ns
    clock.advance_ms(700)

    capture = source.read()

    assert capture is not None
    assert capture.arrived_ns == arrived_ns


def test_open_file_is_not_read(folder: Path, watch: Callable[..., HotFolderSource]) -> None:
    """A file that is whole but open for writing is read after its writer has closed it."""
    source = watch()

    with (folder / "a.png").open("wb", buffering=0) as file:
        file.write(DATA)
        while_open = read_all(source)
    after = read_all(source)

    assert while_open == []
    assert numbers(after) == [0]


def test_open_file_at_the_start_is_not_read(
    folder: Path, watch: Callable[..., HotFolderSource]
) -> None:
    """A file that is being written when the source starts is read after that, the rest before."""
    put(folder, 5)

    with (folder / "a.png").open("wb", buffering=0) as file:
        file.write(DATA)
        source = watch()
        while_open = read_all(source)
    after = read_all(source)

    assert (numbers(while_open), numbers(after)) == ([5], [0])


def test_renamed_into_place(folder: Path, watch: Callable[..., HotFolderSource]) -> None:
    """A temporary name is not looked at; the file is read under the name that it is moved to."""
    source = watch()
    (folder / "a.png.tmp").write_bytes(DATA)
    (folder / ".a.png").write_bytes(DATA)
    before = read_all(source)

    (folder / "a.png.tmp").rename(folder / "a.png")

    assert before == []
    assert [capture.origin for capture in read_all(source)] == ["a.png"]


def test_renamed_before_it_was_read(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock
) -> None:
    """A picture that is renamed inside the folder is one picture, under its last name."""
    source = watch()
    (folder / "a.png").write_bytes(DATA)
    (folder / "a.png").rename(folder / "b.png")

    captures = read_all(source)
    clock.advance_ms(2 * SETTLE_MS)

    assert [capture.origin for capture in captures + read_all(source)] == ["b.png"]


@pytest.mark.parametrize("number", [0, 1, 2], ids=["png", "bmp", "tif"])
def test_appended_in_pieces(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock, number: int
) -> None:
    """A file that is closed after each piece is read after the last, however often it was told."""
    source = watch()
    name, data = encoded(number)
    early = []

    for piece in pieces_of(data):
        early += read_all(source)
        clock.advance_ms(SETTLE_MS - 1)
        with (folder / name).open("ab") as file:
            file.write(piece)

    assert early == []
    assert numbers(read_all(source)) == [number]


def test_damaged_file_is_a_fault(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock
) -> None:
    """A file that stays incomplete is one fault after SETTLE_NS, not before, and put away."""
    source = watch()
    (folder / "a.png").write_bytes(DATA[:-20])
    early = read_all(source)
    clock.advance_ms(SETTLE_MS - 1)
    early += read_all(source)

    clock.advance_ms(1)
    captures = read_all(source)

    assert early == []
    assert [(capture.pixels, capture.part_id) for capture in captures] == [(None, "a")]
    assert captures[0].fault.startswith("a.png: the file is truncated or damaged")
    assert (folder / DONE / "a.png").exists()
    assert source.counts == {"openings": 1, "pictures": 1, "failed": 1}


def test_growing_file_is_not_given_up(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock
) -> None:
    """A file that changes without any event, as another host does it, is waited for."""
    source = watch()
    (folder / "a.png").write_bytes(DATA[:100])
    early = read_all(source)
    for end in (1000, 2000, len(DATA)):
        clock.advance_ms(SETTLE_MS)
        (folder / "a.png").write_bytes(DATA[:end])
        source._arrivals._watch.take()
        early += read_all(source)

    clock.advance_ms(SETTLE_MS)

    assert early == []
    assert numbers(read_all(source)) == [0]


def test_held_file_is_a_fault_in_the_end(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock
) -> None:
    """A file that a program never closes is never read, and a fault after HELD_NS."""
    put(folder, 0)
    name = encoded(0)[0]

    with (folder / name).open("ab"):
        source = watch()
        early = read_all(source)
        for _ in range(HELD_MS // SETTLE_MS - 1):
            clock.advance_ms(SETTLE_MS)
            early += read_all(source)
        clock.advance_ms(SETTLE_MS)
        captures = read_all(source)

    assert early == []
    (capture,) = captures
    assert capture.fault == f"{name}: another program has the file open for writing"


def test_vanished_file_is_a_fault(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock
) -> None:
    """A picture that arrived and is gone before it was read is accounted for."""
    source = watch()
    (folder / put(folder, 0)).unlink()
    early = read_all(source)

    clock.advance_ms(SETTLE_MS)

    assert early == []
    assert [capture.fault for capture in read_all(source)] == [
        "p0000.png: No such file or directory"
    ]


def test_deleted_and_written_anew(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock
) -> None:
    """A writer that deletes its failed try and begins again has written one picture."""
    source = watch()
    name, data = encoded(3)
    (folder / name).write_bytes(data[:50])
    early = read_all(source)
    (folder / name).unlink()
    clock.advance_ms(SETTLE_MS - 1)
    (folder / name).write_bytes(data)

    captures = read_all(source)
    for _ in range(3):
        clock.advance_ms(SETTLE_MS)
        captures += read_all(source)

    assert early == []
    assert [capture.fault for capture in captures] == [""]
    assert numbers(captures) == [3]


def test_put_away_with_the_next_call(folder: Path, watch: Callable[..., HotFolderSource]) -> None:
    """A file lies where it was until the source is called again: its frame is numbered then."""
    source = watch()
    name = put(folder, 0)

    source.read()
    at_first = (folder / name).exists()
    source.clear()

    assert at_first
    assert not (folder / name).exists()
    assert (folder / DONE / name).read_bytes() == DATA


@pytest.mark.parametrize("after", ["move", "delete", "keep"])
def test_same_name_again(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock, after: str
) -> None:
    """A name that comes again is another picture, and none that was moved is overwritten."""
    source = watch(after)
    read = []

    for number in (0, 3, 6):
        (folder / "latest.png").write_bytes(encoded(number)[1])
        clock.advance_ms(LIST_MS)
        read += read_all(source)

    assert numbers(read) == [0, 3, 6]
    source.close()
    moved = ["latest-1.png", "latest-2.png", "latest.png"]
    assert sorted(p.name for p in folder.glob("done/*")) == (moved if after == "move" else [])
    assert (folder / "latest.png").exists() == (after == "keep")


def test_rewritten_before_it_was_put_away(
    folder: Path, watch: Callable[..., HotFolderSource]
) -> None:
    """A file that is written anew right after it was read is not moved unread."""
    source = watch()
    name = put(folder, 0)
    first = source.read()
    (folder / name).write_bytes(encoded(3)[1])

    second = source.read()

    assert first is not None
    assert second is not None
    assert numbers([first, second]) == [0, 3]


def test_kept_file_is_read_once(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock
) -> None:
    """A file that stays is not read again, whether it is listed or opened for nothing."""
    put(folder, 1)
    source = watch("keep")
    first = read_all(source)
    clock.advance_ms(LIST_MS)
    again = read_all(source)
    (folder / put(folder, 2)).open("ab").close()
    again += read_all(source)
    (folder / encoded(2)[0]).open("ab").close()

    again += read_all(source)

    assert (numbers(first), numbers(again)) == ([1], [2])


def test_deleted_file_may_come_again(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock
) -> None:
    """A file that was read and deleted has arrived anew when it is there again, as it was."""
    source = watch("delete")
    file = folder / put(folder, 0)
    (folder / "spare").hardlink_to(file)
    read = read_all(source)

    file.hardlink_to(folder / "spare")
    for _ in range(2):
        clock.advance_ms(SETTLE_MS)
        read += read_all(source)

    assert numbers(read) == [0, 0]


def test_kept_file_may_come_again(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock
) -> None:
    """A file that was read, taken away and is there again, as it was, has arrived anew."""
    source = watch("keep")
    file = folder / put(folder, 0)
    (folder / "spare").hardlink_to(file)
    read = read_all(source)
    file.unlink()
    clock.advance_ms(LIST_MS)
    read += read_all(source)

    file.hardlink_to(folder / "spare")
    for _ in range(2):
        clock.advance_ms(SETTLE_MS)
        read += read_all(source)

    assert numbers(read) == [0, 0]


def test_backlog_is_no_reason_to_give_up(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock
) -> None:
    """A file that arrived long ago is looked at twice before it is a fault."""
    source = watch()
    (folder / "a.png").write_bytes(DATA[:100])
    source.clear()
    clock.advance_ms(10 * SETTLE_MS)
    early = read_all(source)
    (folder / "a.png").write_bytes(DATA)

    captures = read_all(source)

    assert early == []
    assert numbers(captures) == [0]


def test_file_that_cannot_be_moved(
    folder: Path,
    watch: Callable[..., HotFolderSource],
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Where moving fails files stay, are read once all the same, and that is said once."""
    (folder / DONE).write_text("in the way")
    source = watch()

    with caplog.at_level(logging.WARNING):
        for number in (1, 2):
            put(folder, number)
        read = read_all(source)
        clock.advance_ms(2 * SETTLE_MS)
        read += read_all(source)

    assert numbers(read) == [1, 2]
    assert len(list(folder.glob("p*"))) == 2
    assert caplog.text.count("cannot move it") == 1


def test_other_files_are_not_looked_at(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock
) -> None:
    """Sub-folders, hidden files, other types and what was moved to done are no pictures."""
    (folder / "sub.png").mkdir()
    put(folder / "sub.png", 1)
    source = watch()
    (folder / "more.png").mkdir()
    (folder / "notes.txt").write_text("")
    (folder / "more.png").rename(folder / "again.png")
    os.mkfifo(folder / "pipe.png")
    put(folder, 2)

    read = read_all(source)
    clock.advance_ms(2 * SETTLE_MS)

    assert numbers(read + read_all(source)) == [2]


@pytest.mark.usefixtures("no_leases")
def test_without_leases_a_closed_file_is_read(
    folder: Path, watch: Callable[..., HotFolderSource]
) -> None:
    """Where no lease can be had, a file that its writer has closed is read at once."""
    source = watch()

    put(folder, 1)

    assert numbers(read_all(source)) == [1]


@pytest.mark.usefixtures("no_leases")
def test_without_leases_what_is_there_has_to_settle(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock
) -> None:
    """Where no lease can be had, a file from before the start must stay the same for a while."""
    put(folder, 1)
    source = watch()
    early = read_all(source)
    clock.advance_ms(SETTLE_MS - 1)
    early += read_all(source)

    clock.advance_ms(1)

    assert early == []
    assert numbers(read_all(source)) == [1]


@pytest.mark.usefixtures("no_leases", "no_events")
def test_other_hosts_files_have_to_settle(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock
) -> None:
    """A file that makes no event is found by listing, and read once it stays the same."""
    source = watch()
    name, data = encoded(4)
    (folder / name).write_bytes(data[:100])
    clock.advance_ms(LIST_MS)
    early = read_all(source)
    clock.advance_ms(SETTLE_MS)
    (folder / name).write_bytes(data)
    early += read_all(source)
    settled_ns = clock.ns

    clock.advance_ms(SETTLE_MS)
    captures = read_all(source)

    assert early == []
    assert numbers(captures) == [4]
    assert captures[0].arrived_ns == settled_ns, "it is not younger than it is"


def test_lost_events_are_made_up_for(
    folder: Path,
    watch: Callable[..., HotFolderSource],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the kernel's queue was too short the folder is listed, and nothing is missed."""
    source = watch()
    for number in (3, 1, 2):
        put(folder, number)
    lost = [inotify.FolderEvent(inotify.OVERFLOW, 0, "")]
    monkeypatch.setattr(inotify.FolderWatch, "take", lambda _self: lost)

    read = [source.read()]
    monkeypatch.setattr(inotify.FolderWatch, "take", lambda _self: [])
    read += read_all(source)

    assert numbers([capture for capture in read if capture is not None]) == [3, 1, 2]
    assert source.counts["overflows"] == 1


def take_away(folder: Path, how: str) -> None:
    """Let the folder be gone."""
    if how == "moved":
        folder.rename(folder.with_name("elsewhere"))
    elif how == "deleted":
        shutil.rmtree(folder)
    else:
        folder.parent.rename(folder.parent.with_name("other"))


@pytest.mark.parametrize("how", ["moved", "deleted", "parent moved"])
def test_folder_goes_and_comes_back(tmp_path: Path, clock: FakeClock, how: str) -> None:
    """A folder that is gone is LOST until there is one again, whose files are then read."""
    folder = tmp_path / "parent" / "hot"
    folder.mkdir(parents=True)
    source = HotFolderSource(folder, clock=clock)
    take_away(folder, how)
    clock.advance_ms(LIST_MS)

    lost = (source.read(), source.state)
    clock.advance_ms(2500)
    still = (source.read(), source.state)
    folder.mkdir(parents=True, exist_ok=True)
    put(folder, 1)
    clock.advance_ms(LIST_MS)
    back = (numbers(read_all(source)), source.state)
    put(folder, 2)
    later = numbers(read_all(source))
    events = source.take_events()
    source.close()

    assert lost == still == (None, "LOST")
    assert back == ([1], "ONLINE")
    assert later == [2], "the new folder is watched"
    assert [event.kind for event in events] == ["camera_lost", "camera_back"]
    assert str(folder) in str(events[0].detail["why"])
    assert events[1].detail["away_s"] == pytest.approx((2500 + LIST_MS) / 1000)
    assert source.counts == {"openings": 2, "losses": 1, "pictures": 2}


def test_folder_in_the_place_of_another(folder: Path, clock: FakeClock) -> None:
    """Another folder under the same path, as by a mount, is found though no event tells it."""
    link = folder.with_name("link")
    link.symlink_to(folder)
    other = folder.with_name("other")
    other.mkdir()
    put(other, 7)
    source = HotFolderSource(link, clock=clock)

    link.unlink()
    link.symlink_to(other)
    clock.advance_ms(LIST_MS)
    lost = (source.read(), source.state)
    clock.advance_ms(LIST_MS)
    found = numbers(read_all(source))
    source.close()

    assert lost == (None, "LOST")
    assert found == [7]


def test_file_that_waits_survives_the_loss_of_its_folder(
    folder: Path, watch: Callable[..., HotFolderSource], clock: FakeClock
) -> None:
    """A picture that had arrived when the folder went is read once it is back."""
    source = watch()
    put(folder, 1)
    source.clear()
    folder.rename(folder.with_name("elsewhere"))
    lost = source.read()

    folder.with_name("elsewhere").rename(folder)
    clock.advance_ms(LIST_MS)

    assert lost is None
    assert numbers(read_all(source)) == [1]


def test_poller_is_woken(folder: Path, watch: Callable[..., HotFolderSource]) -> None:
    """A poller on the source's descriptor wakes when a file is closed, and sleeps after clear."""
    source = watch()
    assert source.wakeup is not None
    asleep = select.select([source.wakeup], [], [], 0)[0]

    put(folder, 1)
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


def test_closing_twice_does_nothing(folder: Path, watch: Callable[..., HotFolderSource]) -> None:
    """Closing puts away what was read, and once more does nothing."""
    source = watch("delete")
    name = put(folder, 0)
    source.read()

    source.close()
    source.close()

    assert not (folder / name).exists()
