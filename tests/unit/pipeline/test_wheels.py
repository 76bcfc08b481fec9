"""Fetching pinned wheels: what is kept is what was asked for, or nothing is."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from pipeline.wheels import PinnedWheel, WheelError, cached_wheel, fetch_wheel, verify_wheel

FILE = "tiny_parts-1.2-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """A folder that stands for the package index, with one wheel in it."""
    folder = tmp_path / "index"
    folder.mkdir()
    info = "tiny_parts-1.2.dist-info"
    with zipfile.ZipFile(folder / FILE, "w") as archive:
        archive.writestr("tiny_parts/data.txt", "seventeen")
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-parts\nVersion: 1.2\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return folder


@pytest.fixture
def wheel(index: Path) -> PinnedWheel:
    """The pin of the wheel in the index."""
    sha256 = hashlib.sha256((index / FILE).read_bytes()).hexdigest()
    return PinnedWheel("tiny-parts==1.2", sha256)


def test_fetched_once(index: Path, wheel: PinnedWheel, tmp_path: Path) -> None:
    """The second fetch is served from the cache, without the index."""
    cache = tmp_path / "cache"

    first = fetch_wheel(wheel, cache, find_links=index)
    second = fetch_wheel(wheel, cache, find_links=tmp_path / "nowhere")

    assert first == second == cache / FILE
    assert first.read_bytes() == (index / FILE).read_bytes()
    assert list(cache.iterdir()) == [first]


def test_other_bytes_are_refused(index: Path, tmp_path: Path) -> None:
    """A download with another hash is refused with both hashes, and not kept."""
    found = hashlib.sha256((index / FILE).read_bytes()).hexdigest()
    wanted = PinnedWheel("tiny-parts==1.2", "0" * 64)
    cache = tmp_path / "cache"

    with pytest.raises(WheelError) as caught:
        fetch_wheel(wanted, cache, find_links=index)

    assert found in str(caught.value)
    assert "0" * 64 in str(caught.value)
    assert list(cache.iterdir()) == []


def test_pip_failure_is_one_line(index: Path, tmp_path: Path) -> None:
    """When pip fails, the error is its last line and names the requirement."""
    absent = PinnedWheel("tiny-parts==9.9", "0" * 64)

    with pytest.raises(WheelError, match=r"tiny-parts==9\.9 failed \(1\): .*No matching") as caught:
        fetch_wheel(absent, tmp_path / "cache", find_links=index)

    assert "\n" not in str(caught.value)


def test_slow_pip_is_given_up(index: Path, wheel: PinnedWheel, tmp_path: Path) -> None:
    """A download past its limit is an error that says the limit."""
    with pytest.raises(WheelError, match=r"not finished after 0\.001 s"):
        fetch_wheel(wheel, tmp_path / "cache", find_links=index, limit_s=0.001)


def test_unwritable_cache_is_named(index: Path, wheel: PinnedWheel, tmp_path: Path) -> None:
    """A cache that cannot be made is an error that names it."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")

    with pytest.raises(WheelError, match=r"cannot keep tiny-parts==1\.2 in .*file"):
        fetch_wheel(wheel, blocked / "cache", find_links=index)


def test_damaged_cache_is_refused(wheel: PinnedWheel, tmp_path: Path) -> None:
    """A cached file whose hash is another is refused with the remedy."""
    (tmp_path / FILE).write_bytes(b"half a wheel")

    with pytest.raises(WheelError, match="delete the file and fetch it again"):
        cached_wheel(wheel, tmp_path)


def test_missing_file_is_named(wheel: PinnedWheel, tmp_path: Path) -> None:
    """A wheel that is not there is an error with its path."""
    with pytest.raises(WheelError, match=r"gone\.whl.*No such file"):
        verify_wheel(tmp_path / "gone.whl", wheel)
