"""Files that are not whole, or of which that cannot be known: waited for, then accounted for."""

from __future__ import annotations

import pytest
from hot_folder_rig import HELD_MS, LIST_MS, SETTLE_MS, HotFolder, numbers, read_all
from picture_writers import encoded

from edge.sources import arrivals, inotify, whole_file
from edge.sources.arrivals import LIST_SHARE
from edge.sources.hot_folder import DONE

DATA = encoded(0)[1]


@pytest.fixture
def no_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of somebody else, or on another host: no lease can tell whether they are in use."""
    monkeypatch.setattr(whole_file, "_is_alone", lambda _file: None)


@pytest.fixture
def no_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers on another host."""
    monkeypatch.setattr(inotify.FolderWatch, "take", lambda _self: [])


def test_damaged_file_is_a_fault(hot: HotFolder) -> None:
    """A file that stays incomplete is one fault after SETTLE_NS, not before, and put away."""
    source = hot.watch()
    (hot.folder / "a.png").write_bytes(DATA[:-20])
    early = read_all(source)
    hot.clock.advance_ms(SETTLE_MS - 1)
    early += read_all(source)

    hot.clock.advance_ms(1)
    captures = read_all(source)

    assert early == []
    assert [(capture.pixels, capture.part_id) for capture in captures] == [(None, "a")]
    assert captures[0].fault.startswith("a.png: the file is truncated or damaged")
    assert (hot.folder / DONE / "a.png").exists()
    assert source.counts == {"openings": 1, "pictures": 1, "failed": 1}


def test_growing_file_is_not_given_up(hot: HotFolder) -> None:
    """A file that changes without any event, as another host does it, is waited for."""
    source = hot.watch()
    (hot.folder / "a.png").write_bytes(DATA[:100])
    early = read_all(source)
    for end in (1000, 2000, len(DATA)):
        hot.clock.advance_ms(SETTLE_MS)
        (hot.folder / "a.png").write_bytes(DATA[:end])
        source._arrivals._watch.take()
        early += read_all(source)

    hot.clock.advance_ms(SETTLE_MS)

    assert early == []
    assert numbers(read_all(source)) == [0]


def test_held_file_is_a_fault_in_the_end(hot: HotFolder) -> None:
    """A file that a program never closes is never read, and a fault after HELD_NS."""
    hot.put(0)
    name = encoded(0)[0]

    with (hot.folder / name).open("ab"):
        source = hot.watch()
        early = read_all(source)
        for _ in range(HELD_MS // SETTLE_MS - 1):
            hot.clock.advance_ms(SETTLE_MS)
            early += read_all(source)
        hot.clock.advance_ms(SETTLE_MS)
        captures = read_all(source)

    assert early == []
    (capture,) = captures
    assert capture.fault == f"{name}: another program has the file open for writing"


def test_vanished_file_is_a_fault(hot: HotFolder) -> None:
    """A picture that arrived and is gone before it was read is accounted for."""
    source = hot.watch()
    (hot.folder / hot.put(0)).unlink()
    early = read_all(source)

    hot.clock.advance_ms(SETTLE_MS)

    assert early == []
    assert [capture.fault for capture in read_all(source)] == [
        "p0000.png: No such file or directory"
    ]


def test_vanished_file_of_a_known_name_is_a_fault(hot: HotFolder) -> None:
    """A picture that is gone before it was read is missed, though its name was read before."""
    source = hot.watch("delete")
    hot.put(0)
    read_all(source)
    (hot.folder / hot.put(0)).unlink()
    early = read_all(source)

    hot.clock.advance_ms(SETTLE_MS)

    assert early == []
    assert len(read_all(source)) == 1


@pytest.mark.parametrize("after", ["move", "keep"])
def test_deleted_and_written_anew(hot: HotFolder, after: str) -> None:
    """A writer that deletes its failed try and begins again has written one picture."""
    source = hot.watch(after)
    name, data = encoded(3)
    (hot.folder / name).write_bytes(data[:50])
    early = read_all(source)
    (hot.folder / name).unlink()
    hot.clock.advance_ms(SETTLE_MS - 1)
    (hot.folder / name).write_bytes(data)

    captures = read_all(source)
    for _ in range(3):
        hot.clock.advance_ms(SETTLE_MS)
        captures += read_all(source)

    assert early == []
    assert [capture.fault for capture in captures] == [""]
    assert numbers(captures) == [3]


def test_backlog_is_no_reason_to_give_up(hot: HotFolder) -> None:
    """A file that arrived long ago is looked at twice before it is a fault."""
    source = hot.watch()
    (hot.folder / "a.png").write_bytes(DATA[:100])
    source.clear()
    hot.clock.advance_ms(10 * SETTLE_MS)
    early = read_all(source)
    (hot.folder / "a.png").write_bytes(DATA)

    captures = read_all(source)

    assert early == []
    assert numbers(captures) == [0]


@pytest.mark.usefixtures("no_leases")
def test_without_leases_a_closed_file_is_read(hot: HotFolder) -> None:
    """Where no lease can be had, a file that its writer has closed is read at once."""
    source = hot.watch()

    hot.put(1)

    assert numbers(read_all(source)) == [1]


@pytest.mark.usefixtures("no_leases")
def test_without_leases_what_is_there_has_to_settle(hot: HotFolder) -> None:
    """Where no lease can be had, a file from before the start must stay the same for a while."""
    hot.put(1)
    source = hot.watch()
    early = read_all(source)
    hot.clock.advance_ms(SETTLE_MS - 1)
    early += read_all(source)

    hot.clock.advance_ms(1)

    assert early == []
    assert numbers(read_all(source)) == [1]


@pytest.mark.usefixtures("no_leases", "no_events")
def test_other_hosts_files_have_to_settle(hot: HotFolder) -> None:
    """A file that makes no event is found by listing, and read once it stays the same."""
    source = hot.watch()
    name, data = encoded(4)
    (hot.folder / name).write_bytes(data[:100])
    hot.clock.advance_ms(LIST_MS)
    early = read_all(source)
    hot.clock.advance_ms(SETTLE_MS)
    (hot.folder / name).write_bytes(data)
    early += read_all(source)
    settled_ns = hot.clock.ns

    hot.clock.advance_ms(SETTLE_MS)
    captures = read_all(source)

    assert early == []
    assert numbers(captures) == [4]
    assert captures[0].arrived_ns == settled_ns, "it is not younger than it is"


@pytest.mark.usefixtures("no_events")
def test_listing_takes_a_small_part_of_the_time(
    hot: HotFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that takes long to list is listed less often."""
    source = hot.watch()
    listings: list[int] = []
    monkeypatch.setattr(arrivals, "_images_in", lambda _folder: listings.append(hot.clock.ns) or {})
    hot.clock.advance_ms(LIST_MS)
    hot.clock.tick_ms = LIST_MS  # each look at the clock takes so long, and a listing looks twice
    source.read()
    hot.clock.tick_ms = 0
    hot.clock.advance_ms((LIST_SHARE - 3) * LIST_MS)
    source.read()
    before = len(listings)

    hot.clock.advance_ms(3 * LIST_MS)
    source.read()

    assert (before, len(listings)) == (1, 2)
