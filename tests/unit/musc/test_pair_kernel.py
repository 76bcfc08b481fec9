"""The pair kernel: one product for all degrees, and what it does where that is not enough."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

import musc
from musc import pair_kernel
from musc.box_maxima import compile_now
from musc.lnamd import aggregate
from musc.pair_kernel import Centred, PairKernel, averaged, centre, compare_naive
from musc.worker_threads import WorkerThreads

DEGREES = (1, 3, 5)


def drawn(frames: int, side: int, channels: int = 24, stages: int = 2, seed: int = 0) -> Tensor:
    """Random patch tokens [n, S, P, C]."""
    source = torch.Generator().manual_seed(seed)
    return torch.randn(frames, stages, side * side, channels, generator=source)


def held(tokens: Tensor, degrees: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Centred:
    """Frames in a row, as a window holds them."""
    frames = [centre(frame, degrees, dtype) for frame in tokens]
    return Centred(*(torch.stack(part, dim=1) for part in zip(*frames, strict=True)))


def compared(
    tokens: Tensor,
    degrees: tuple[int, ...] = DEGREES,
    locality: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[Tensor, Tensor]:
    """Maxima of the first frame with all others, both ways."""
    one, many = centre(tokens[0], degrees, dtype), held(tokens[1:], degrees, dtype)
    return PairKernel(degrees, locality).compare(one, many, range(len(tokens) - 1))


def assert_same_squares(ours: tuple[Tensor, Tensor], true: tuple[Tensor, Tensor]) -> None:
    """Squared distances, twice the maxima, differ by 1e-5 at most."""
    for one, other in zip(ours, true, strict=True):
        torch.testing.assert_close(2 * one.double(), 2 * other.double(), atol=1e-5, rtol=0.0)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Torch uses two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("locality", [None, 0, 2])
@pytest.mark.parametrize("degrees", [DEGREES, (1,), (5, 1, 3), (3,), (1, 3, 5, 7, 9)])
@pytest.mark.parametrize("side", [1, 2, 5, 16])
def test_all_degrees_come_from_one_product(
    side: int, degrees: tuple[int, ...], locality: int | None
) -> None:
    """Any grid, degrees in any order, with and without a locality: as averaging first."""
    tokens = drawn(4, side)

    ours = compared(tokens, degrees, locality)

    assert_same_squares(ours, compare_naive(tokens[0], tokens[1:], degrees, locality))


@pytest.mark.parametrize("locality", [None, 3])
def test_the_grid_of_a_large_picture(locality: int | None) -> None:
    """37 x 37 patches, as CLIP ViT-L at 518 px has them."""
    tokens = drawn(2, 37, channels=16, stages=1)

    ours = compared(tokens, DEGREES, locality)

    assert_same_squares(ours, compare_naive(tokens[0], tokens[1:], DEGREES, locality))


@pytest.mark.parametrize("locality", [None, 1])
def test_torch_does_what_is_compiled(locality: int | None) -> None:
    """In float64 torch's operations take the place of the compiled pass, to 1e-12."""
    tokens = drawn(4, 6).double()

    ours = compared(tokens, DEGREES, locality, torch.float64)

    true = compare_naive(tokens[0], tokens[1:], DEGREES, locality)
    for one, other in zip(ours, true, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=0.0)


def test_only_the_peers_asked_for_are_compared() -> None:
    """Gaps between peers stay unset, whatever is left there."""
    tokens = drawn(7, 4)
    one, many = centre(tokens[0], DEGREES, torch.float32), held(tokens[1:], DEGREES)
    many.tokens[:, 2] = torch.nan

    ours = PairKernel(DEGREES).compare(one, many, [0, 1, 3, 5])

    true = compare_naive(tokens[0], tokens[1:], DEGREES)
    kept = [0, 1, 3, 5]
    assert_same_squares((ours[0][:, kept], ours[1][:, kept]), (true[0][:, kept], true[1][:, kept]))


def test_an_outlier_spoils_no_other_patch() -> None:
    """Beside a token 1000 times longer than the others their distances stay exact."""
    tokens = drawn(4, 9)
    tokens[0, :, 40] *= 1e3
    tokens[2, 0, 0] *= 1e3

    ours = compared(tokens)

    assert_same_squares(ours, compare_naive(tokens[0], tokens[1:], DEGREES))


def test_a_constant_frame_has_no_direction() -> None:
    """Zero tokens are at distance 1 from tokens and 0 from zero tokens, and all is finite."""
    tokens = drawn(4, 5)
    tokens[[0, 2]] = 3.0

    of_one, of_many = compared(tokens)

    assert of_one.isfinite().all()
    assert torch.equal(of_one[:, 1], torch.zeros_like(of_one[:, 1]))
    assert_same_squares((of_one, of_many), compare_naive(tokens[0], tokens[1:], DEGREES))


def test_tokens_that_cancel_are_averaged_first() -> None:
    """A chessboard's squares cancel; its distances are those of the averaged tokens."""
    tokens = drawn(3, 6)
    signs = torch.tensor([(-1.0) ** (n // 6 + n % 6) for n in range(36)])
    tokens[1] = signs[:, None] * (tokens[1, :, :1] + 0.01 * tokens[1])

    ours = compared(tokens)

    frames = held(tokens, DEGREES)
    assert frames.cancellation[:, 1, 2].min() > pair_kernel.CANCELLATION_LIMIT
    assert_same_squares(ours, compare_naive(tokens[0], tokens[1:], DEGREES))


@pytest.mark.parametrize("degree", DEGREES)
def test_averaged_tokens_are_those_of_the_method(degree: int) -> None:
    """Averaging what is stored gives what ``aggregate`` gives."""
    tokens = drawn(3, 5)
    stored = held(tokens, DEGREES).tokens

    ours = averaged(stored[1], degree)

    true = aggregate(tokens[:, 1:2], (degree,))[:, 0]
    torch.testing.assert_close(ours, true, atol=1e-6, rtol=0.0)


def test_half_precision_is_compared_as_stored() -> None:
    """Tokens stored as float16 are compared as those numbers, in float32."""
    tokens = drawn(4, 7)
    rounded = held(tokens, (1, 3), torch.float16)

    ours = compared(tokens, (1, 3), dtype=torch.float16)

    for r, degree in enumerate((1, 3)):
        own = averaged(rounded.tokens[:, 0], degree).double()
        others = averaged(rounded.tokens[:, 1:].flatten(0, 1), degree).double()
        gram = own[:, None] @ others.view(2, 3, *others.shape[1:]).mT
        torch.testing.assert_close(
            ours[0][:, :, r].double(), gram.amax(dim=-1) - 0.5, atol=5e-6, rtol=0
        )
        assert ours[0].dtype == torch.float32


@pytest.mark.usefixtures("two_threads")
def test_threads_change_no_bit() -> None:
    """Two threads find what one finds, and the caller keeps its number of threads."""
    tokens = drawn(12, 16, channels=32)
    shared = compared(tokens)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)

    alone = compared(tokens)

    assert threads == 2
    assert all(map(torch.equal, alone, shared))


@pytest.mark.usefixtures("two_threads")
def test_several_threads_may_call_at_once() -> None:
    """Calls from several threads at once are all right."""
    tokens = drawn(6, 8)
    one, many = centre(tokens[0], DEGREES, torch.float32), held(tokens[1:], DEGREES)
    kernel = PairKernel(DEGREES)
    compile_now()

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: kernel.compare(one, many, range(5)), range(12)))

    true = compare_naive(tokens[0], tokens[1:], DEGREES)
    for ours in results:
        assert_same_squares(ours, true)


@pytest.mark.usefixtures("two_threads")
def test_an_error_of_a_worker_is_the_callers() -> None:
    """What a worker raises is raised once all have ended, and the next call works."""
    threads = WorkerThreads()
    done: list[int] = []

    def failing(jobs: Iterator[int]) -> None:
        for job in jobs:
            if job == 3:
                raise MemoryError
            done.append(job)

    with pytest.raises(MemoryError):
        threads.share(range(10), failing)

    assert set(done) == set(range(10)) - {3}
    threads.share([11], failing)
    assert done[-1] == 11


@pytest.mark.usefixtures("two_threads")
def test_a_worker_multiplies_alone() -> None:
    """In a worker torch has one thread; threads started later have the caller's number."""
    seen: list[int] = []
    threads = WorkerThreads()

    threads.share(range(2), lambda _jobs: seen.append(torch.get_num_threads()))

    later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    later.start()
    later.join()
    assert seen == [1, 1, 2]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_threads_are_started_again_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that finds another's threads starts its own."""
    threads, first, second = WorkerThreads(), set[int](), set[int]()
    threads.share(range(2), lambda _jobs: first.add(threading.get_ident()))
    monkeypatch.setattr(os, "getpid", lambda: -1)

    threads.share(range(2), lambda _jobs: second.add(threading.get_ident()))

    assert first
    assert not first & second


def test_it_works_where_no_cache_can_be_written() -> None:
    """Where numba finds no folder for its cache, the pass is compiled for this process alone."""
    script = (
        "import numba.core.caching as c\n"
        "c.CacheImpl._locator_classes = []\n"
        "from musc.box_maxima import _add\n"
        "import numpy as np\n"
        "out = np.ones(3, np.float32)\n"
        "_add(out, out.copy(), 3)\n"
        "print(out.tolist())\n"
    )

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        check=False,
        cwd=Path(musc.__file__).parents[1],
        text=True,
        timeout=100,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == "[2.0, 2.0, 2.0]\n"
