"""A compiled network is ready before its first frame, and says the same."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

from musc.compiled import compiled_forward, largest_distance

SIDE = 4
WEIGHT = torch.randn(3 * SIDE * SIDE, 10, generator=torch.Generator().manual_seed(0))


def network(batch: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens [N, 1, 2, 5] and image features [N, 10] of a batch."""
    out = batch.flatten(1) @ WEIGHT
    return out.reshape(-1, 1, 2, 5), out.tanh()


def frames(n: int) -> Tensor:
    """A batch, made outside inference mode."""
    return torch.randn(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(n))


def test_nothing_is_compiled_after_the_start() -> None:
    """Batches of any number, made in inference mode or not, find their code ready."""
    counter = CompileCounter()
    outside = {n: frames(n) for n in (1, 2, 5, 9)}
    with torch.inference_mode():
        run = compiled_forward(network, SIDE, torch.device("cpu"), backend=counter)
        before = counter.frame_count
        assert run is not None

        got = {n: run(batch) for n, batch in outside.items()}
        inside = run(frames(4))

    assert counter.frame_count == before == 2
    for n, batch in outside.items():
        assert largest_distance(got[n], network(batch)) < 1e-6
    assert largest_distance(inside, network(frames(4))) < 1e-6


def test_a_compiler_that_changes_tokens_is_not_believed(caplog: pytest.LogCaptureFixture) -> None:
    """A compiled network that is off by more than the limit is left out, with the figure."""

    def backend(graph: Callable[..., Any], _inputs: object) -> object:
        return lambda *inputs: [value + 0.5 for value in graph(*inputs)]

    with torch.inference_mode():
        run = compiled_forward(network, SIDE, torch.device("cpu"), backend=backend)

    assert run is None
    assert "off by a cosine distance of" in caplog.text


def test_a_compiler_that_fails_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """An error of the compiler leaves the plain network, and the log has its first line."""

    def backend(_graph: object, _inputs: object) -> object:
        msg = "no compiler here\nand much more"
        raise RuntimeError(msg)

    with torch.inference_mode():
        run = compiled_forward(network, SIDE, torch.device("cpu"), backend=backend)

    assert run is None
    assert "no compiler here" in caplog.text
    assert "much more" not in caplog.text


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.timeout(600)
def test_torchs_own_compiler_says_the_same() -> None:
    """What torch compiles for this CPU is the network."""
    # In a process of its own: what other tests did to torch's compiler must not matter.
    program = (
        "import torch\n"
        "from musc.compiled import compiled_forward, largest_distance\n"
        "def network(batch):\n"
        "    out = batch.flatten(1) @ torch.ones(48, 10)\n"
        "    return out.reshape(-1, 1, 2, 5), out.tanh()\n"
        "with torch.inference_mode():\n"
        "    run = compiled_forward(network, 4, torch.device('cpu'))\n"
        "    batch = torch.randn(3, 3, 4, 4)\n"
        "    assert run is not None\n"
        "    assert largest_distance(run(batch), network(batch)) < 1e-5\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_the_largest_distance_is_of_the_worst_vector() -> None:
    """One vector that is turned round among equal ones is at a distance of 2."""
    one, other = torch.eye(3), torch.eye(3)
    other[1] *= -1

    assert largest_distance([one, one], [one, other]) == pytest.approx(2.0)
    assert largest_distance([one], [2 * one]) == pytest.approx(0.0)
