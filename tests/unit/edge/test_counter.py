"""The durable counter: a number is on disk before it is used, and is never used twice."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from edge.counter import CounterError, DurableCounter, FreshCounter, read_count
from edge.frame import SEQ_LIMIT

if TYPE_CHECKING:
    from pathlib import Path


def test_counter_goes_on(tmp_path: Path) -> None:
    """The number goes on where the last process stopped, and every number was synced to disk."""
    path = tmp_path / "state" / "c1.count"
    counts = []

    for _ in range(3):
        counter = DurableCounter(path)
        counts += [counter.next(), counter.next()]
        counter.close()
        counts.append(read_count(path))

    assert counts == [1, 2, 2, 3, 4, 4, 5, 6, 6]


def test_fresh_counter_begins_at_1() -> None:
    """Numbers that nothing goes on with count as the durable ones do."""
    counter = FreshCounter()

    given = [counter.next(), *counter.take(3), *counter.take(0), *counter.take(-2), counter.next()]

    assert given == [1, 2, 3, 4, 5]
    assert counter.value == 5


def test_counter_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number is in the file when it is synced, and it is synced before it is used."""
    path = tmp_path / "c1.count"
    counter = DurableCounter(path)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda _file: synced.append(read_count(path)))

    used = [counter.next() for _ in range(3)]
    counter.close()

    assert synced == used == [1, 2, 3]


@pytest.mark.parametrize(
    "content", ["seven", "-5", "1_000", "1.5", "12 34", str(SEQ_LIMIT + 1), "9" * 5000, "\u0663"]
)
def test_damaged_counter_is_named(tmp_path: Path, content: str) -> None:
    """A counter that holds no number is refused with its path: numbers are never used twice."""
    path = tmp_path / "c1.count"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(CounterError, match=f"counter {path}: .* is not a number from 0 to"):
        DurableCounter(path)
    assert path.read_text(encoding="utf-8") == content


def test_counter_that_is_a_folder_is_named(tmp_path: Path) -> None:
    """A counter that cannot be opened is refused with its path and the reason."""
    with pytest.raises(CounterError, match=f"counter {tmp_path}: Is a directory"):
        DurableCounter(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(CounterError, match=f"counter {tmp_path}/file/c1: File exists"):
        DurableCounter(tmp_path / "file" / "c1")


@pytest.mark.parametrize(("content", "count"), [(None, 0), ("", 0), ("0007\n", 7)])
def test_count_of_a_camera(tmp_path: Path, content: str | None, count: int) -> None:
    """A camera that never ran has counted nothing."""
    path = tmp_path / "c1.count"
    if content is not None:
        path.write_text(content)

    assert read_count(path) == count
