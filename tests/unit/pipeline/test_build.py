"""What cannot work is refused before the first frame, with the figure."""

from __future__ import annotations

from typing import Any

import pytest
from factories import config

import pipeline.build
from musc.pair_store import estimated_bytes
from pipeline.build import BuildError, check_regions, windows_bytes


def cameras(*sections: dict[str, Any]) -> Any:
    """Return a config of cameras c1, c2, ... that look in the given ways."""
    camera = {"kind": "synthetic", "interval_ms": 1}
    return config(
        camera=[camera | {"id": f"c{i + 1}"} | section for i, section in enumerate(sections)]
    )


def test_every_region_has_a_window() -> None:
    """Memory is that of the regions of all cameras together."""
    several = cameras({"columns": 3, "rows": 2}, {})

    needed = windows_bytes(several, 4, 256, 384)

    assert needed == 7 * estimated_bytes(32 + 16 + 4, 4, 256, 384, (1, 3, 5))


def test_too_little_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the figures, and how many regions ask for them."""

    class Small:
        stages, patches, channels, device = (0,), 256, 384, "cpu"

    monkeypatch.setattr(pipeline.build, "free_bytes", lambda _device: 1_000_000)

    with pytest.raises(BuildError) as caught:
        pipeline.build._check_memory(cameras({"columns": 3}, {}), Small())  # type: ignore[arg-type]

    for words in ("size_frames = 32", "2 camera(s) with 4 region(s)", "is 0.00 GB"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        (
            {"rows": 2, "overlap_patches": 4},
            "camera c2: overlap_patches = 4: must be less than 4, "
            "the patches along a side of a region",
        ),
        (
            {"roi_px": [10, 20, 30, 40], "ignore_px": [[[0, 0], [90, 0], [90, 90], [0, 90]]]},
            "camera c2: ignore_px covers all of the 30 x 40 px at 10, 20",
        ),
        (
            {"roi_px": [0, 0, 3, 900], "columns": 16},
            "camera c2: 3 px are too few for 16 regions in a row",
        ),
    ],
)
def test_regions_that_cannot_be_cut_are_refused(section: dict[str, Any], words: str) -> None:
    """The message names the camera, the key and the limit."""
    settings = cameras({}, section)

    with pytest.raises(BuildError) as caught:
        check_regions(settings, 16)

    assert words in str(caught.value)


def test_regions_that_can_be_cut_are_good() -> None:
    """A mask that leaves something to see, and an overlap that moves on, are accepted."""
    part = {"roi_px": [0, 0, 90, 90], "ignore_px": [[[0, 0], [90, 0], [90, 45], [0, 45]]]}

    check_regions(cameras(part, {"columns": 3, "overlap_patches": 3}), 16)
