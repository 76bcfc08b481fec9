"""Threads that share jobs, and operations that are not shared."""

from __future__ import annotations

import pytest
import torch

from musc.worker_threads import WorkerThreads, alone


def test_alone_gives_the_threads_back() -> None:
    """Inside there is one thread; afterwards there are as many as before, after an error too."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with alone():
            inside = torch.get_num_threads()
        after = torch.get_num_threads()
        with pytest.raises(KeyError), alone():
            raise KeyError
        after_error = torch.get_num_threads()
    finally:
        torch.set_num_threads(before)

    assert (inside, after, after_error) == (1, 3, 3)


def test_jobs_are_done_once_each_alone_too() -> None:
    """One thread draws them all where there is one; nothing waits for another."""
    done: list[int] = []
    with alone():
        WorkerThreads().share(range(20), done.extend)

    assert sorted(done) == list(range(20))
