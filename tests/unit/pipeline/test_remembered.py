"""A backbone that remembers says the same, and asks the network once."""

from __future__ import annotations

import pytest
import torch
from factories import CountingBackbone, FakeBackbone

from pipeline.remembered import RememberedBackbone


def batch(seed: int, count: int = 1) -> torch.Tensor:
    """An input of so many frames."""
    return torch.rand(count, 3, 28, 28, generator=torch.Generator().manual_seed(seed))


def test_same_input_is_asked_once() -> None:
    """Equal numbers in another tensor get the first answer, bit by bit."""
    network = CountingBackbone()
    remembered = RememberedBackbone(network, 1_000_000)

    first = remembered.extract(batch(0))
    again = remembered.extract(batch(0).clone())

    assert network.asked == 1
    expected = FakeBackbone().extract(batch(0))
    assert torch.equal(again.tokens, expected.tokens)
    assert torch.equal(again.image_features, expected.image_features)
    assert again.tokens is first.tokens


@pytest.mark.parametrize("other", [batch(1), batch(0) + 1e-7, batch(0, 2), batch(0).double()])
def test_other_input_is_asked_for_itself(other: torch.Tensor) -> None:
    """A number, a frame or a type that differs makes another input."""
    network = CountingBackbone()
    remembered = RememberedBackbone(network, 1_000_000)

    remembered.extract(batch(0))
    remembered.extract(other)

    assert network.asked == 2


def test_order_of_memory_in_the_tensor_does_not_matter() -> None:
    """A view with other strides and the same numbers is the same input."""
    network = CountingBackbone()
    remembered = RememberedBackbone(network, 1_000_000)

    remembered.extract(batch(0))
    remembered.extract(batch(0).to(memory_format=torch.channels_last))

    assert network.asked == 1


def test_too_little_memory_only_takes_longer() -> None:
    """What does not fit is asked again, and the answers stay right."""
    network = CountingBackbone()
    remembered = RememberedBackbone(network, 1)

    answers = [remembered.extract(batch(0)) for _ in range(3)]

    assert network.asked == 3
    assert all(torch.equal(one.tokens, answers[0].tokens) for one in answers)
    assert remembered.memory.nbytes == 0


def test_shape_and_colours_are_those_of_the_network() -> None:
    """Whoever prepares pictures for the network can ask the one before it."""
    network = FakeBackbone()
    remembered = RememberedBackbone(network, 1)

    names = ("image_size", "patches", "channels", "stages", "mean", "std", "device")
    assert all(getattr(remembered, name) == getattr(network, name) for name in names)
