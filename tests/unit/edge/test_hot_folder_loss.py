"""A watched folder that goes, comes back, or of which events were lost."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from hot_folder_rig import LIST_MS, HotFolder, numbers, put, read_all

from edge.sources import inotify
from edge.sources.hot_folder import HotFolderSource

if TYPE_CHECKING:
    from pathlib import Path


def take_away(folder: Path, how: str) -> None:
    """Let the folder be gone."""
    if how == "moved":
        folder.rename(folder.with_name("elsewhere"))
    elif how == "deleted":
        shutil.rmtree(folder)
    else:
        folder.parent.rename(folder.parent.with_name("other"))


def test_lost_events_are_made_up_for(hot: HotFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the kernel's queue was too short the folder is listed, and nothing is missed."""
    source = hot.watch()
    for number in (3, 1, 2):
        hot.put(number)
    lost = [inotify.FolderEvent(inotify.OVERFLOW, 0, "")]
    monkeypatch.setattr(inotify.FolderWatch, "take", lambda _self: lost)

    read = [source.read()]
    monkeypatch.setattr(inotify.FolderWatch, "take", lambda _self: [])
    read += read_all(source)

    assert numbers([capture for capture in read if capture is not None]) == [3, 1, 2]
    assert source.counts["overflows"] == 1


@pytest.mark.parametrize("how", ["moved", "deleted", "parent moved"])
def test_folder_goes_and_comes_back(hot: HotFolder, how: str) -> None:
    """A folder that is gone is LOST until there is one again, whose files are then read."""
    source = hot.watch()
    take_away(hot.folder, how)
    hot.clock.advance_ms(LIST_MS)

    lost = (source.read(), source.state)
    hot.clock.advance_ms(2500)
    still = (source.read(), source.state)
    hot.folder.mkdir(parents=True, exist_ok=True)
    hot.put(1)
    hot.clock.advance_ms(LIST_MS)
    back = (numbers(read_all(source)), source.state)
    hot.put(2)
    later = numbers(read_all(source))
    events = source.take_events()
    source.close()

    assert lost == still == (None, "LOST")
    assert back == ([1], "ONLINE")
    assert later == [2], "the new folder is watched"
    assert [event.kind for event in events] == ["camera_lost", "camera_back"]
    assert str(hot.folder) in str(events[0].detail["why"])
    assert events[1].detail["away_s"] == pytest.approx((2500 + LIST_MS) / 1000)
    assert source.counts == {"openings": 2, "losses": 1, "pictures": 2}


def test_folder_in_the_place_of_another(hot: HotFolder) -> None:
    """Another folder under the same path, as by a mount, is found though no event tells it."""
    link = hot.folder.with_name("link")
    link.symlink_to(hot.folder)
    other = hot.folder.with_name("other")
    other.mkdir()
    put(other, 7)
    source = HotFolderSource(link, clock=hot.clock)

    link.unlink()
    link.symlink_to(other)
    hot.clock.advance_ms(LIST_MS)
    lost = (source.read(), source.state)
    hot.clock.advance_ms(LIST_MS)
    found = numbers(read_all(source))
    source.close()

    assert lost == (None, "LOST")
    assert found == [7]


def test_file_that_waits_survives_the_loss_of_its_folder(hot: HotFolder) -> None:
    """A picture that had arrived when the folder went is read once it is back."""
    source = hot.watch()
    hot.put(1)
    source.clear()
    hot.folder.rename(hot.folder.with_name("elsewhere"))
    lost = source.read()

    hot.folder.with_name("elsewhere").rename(hot.folder)
    hot.clock.advance_ms(LIST_MS)

    assert lost is None
    assert numbers(read_all(source)) == [1]
