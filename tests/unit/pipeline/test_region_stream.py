"""One region's memory: how the config's settings reach its window."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from factories import config

from musc.lnamd import aggregate
from musc.msm import mutual_scores
from pipeline.config_method import MuscSettings
from pipeline.region_stream import RegionStream
from pipeline.stream_window import FrameId


@pytest.mark.parametrize("locality", [None, 0, 1])
def test_locality_of_the_config_is_that_of_the_window(locality: int | None) -> None:
    """A frame scores as in a batch of its window with the config's locality."""
    tokens = torch.randn(6, 2, 25, 8, generator=torch.Generator().manual_seed(0))
    stream = RegionStream(
        config(
            musc={"locality_patches": locality} if locality is not None else {},
            window={"admission": "all"},
        ),
        torch.device("cpu"),
        image_size=5,
        regions=1,
    )

    for frame in tokens:
        scores = stream.score(frame, frame[0, 0], np.zeros((5, 5), bool), FrameId("b", 1, "p"))
        stream.keep()

    batch = mutual_scores(aggregate(tokens), interpolate=True, locality=locality)[-1]
    assert scores is not None
    np.testing.assert_allclose(scores.patches, batch.reshape(5, 5), atol=1e-5)


@pytest.mark.parametrize("locality", [-1, 65, 1.5])
def test_locality_is_a_number_of_patches(locality: float) -> None:
    """A locality that is negative, beyond any grid or no whole number is refused."""
    with pytest.raises(ValueError, match="locality_patches"):
        MuscSettings.model_validate({"locality_patches": locality})
