"""``musc.channels``: it reaches the window and the estimate of memory, within its limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from factories import config

from musc.sliding import SlidingMuSc
from pipeline import region_stream
from pipeline.build import windows_bytes
from pipeline.config_method import MuscSettings
from pipeline.region_stream import RegionStream


@pytest.mark.parametrize("channels", [None, 16])
def test_channels_of_the_config_are_those_of_the_window(
    channels: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A region's window keeps as many channels as the config says, or all."""
    asked: list[dict[str, Any]] = []

    def window(*args: Any, **more: Any) -> SlidingMuSc:
        asked.append(more)
        return SlidingMuSc(*args, **more)

    monkeypatch.setattr(region_stream, "SlidingMuSc", window)
    musc = {} if channels is None else {"channels": channels}

    RegionStream(config(musc=musc), torch.device("cpu"), image_size=5, regions=1)

    assert [more["channels"] for more in asked] == [channels]


def test_fewer_channels_need_less_memory() -> None:
    """What is estimated before the start follows the channels kept, up to all of them."""
    shape = (4, 256, 384)

    needed = [
        windows_bytes(config(musc=musc), *shape)
        for musc in ({"channels": 96}, {"channels": 192}, {}, {"channels": 384})
    ]

    assert needed[0] < needed[1] < needed[2] == needed[3]


@pytest.mark.parametrize("channels", [0, 7, 1025, 96.5])
def test_channels_out_of_range_are_refused(channels: float) -> None:
    """Too few to tell anything apart, more than any backbone has, or no whole number."""
    with pytest.raises(ValueError, match="channels"):
        MuscSettings.model_validate({"channels": channels})
