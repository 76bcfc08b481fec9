"""The look of a camera that was opened again is held against what it showed before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge.self_check import PATIENCE, Finding, SelfCheck
from edge.sources import Capture

if TYPE_CHECKING:
    from edge.frame import PixelFormat


def picture(
    blue: int = 40,
    green: int = 90,
    red: int = 160,
    *,
    opening: int = 1,
    pixel_format: PixelFormat = "bgr",
    deep: bool = False,
) -> Capture:
    """Return a coloured picture with a little texture."""
    rng = np.random.default_rng(opening)
    colours = [blue, green, red] if pixel_format == "bgr" else [red, green, blue]
    pixels = np.clip(np.array(colours) + rng.integers(-5, 6, (48, 64, 3)), 0, 255)
    if deep:
        return Capture((pixels * 16).astype(np.uint16), pixel_format, 12, opening=opening)
    return Capture(pixels.astype(np.uint8), pixel_format, 8, opening=opening)


def grey(value: int, opening: int = 1) -> Capture:
    """Return a grey picture."""
    return Capture(np.full((48, 64), value, np.uint8), opening=opening)


@pytest.mark.parametrize("deep", [False, True])
def test_exchanged_colours_are_a_fault_of_the_whole_opening(*, deep: bool) -> None:
    """Red and blue exchanged on a reconnect: no picture of that opening may be judged."""
    check = SelfCheck()
    for _ in range(5):
        assert check.see(picture(deep=deep)) == Finding()

    first = check.see(picture(160, 90, 40, opening=2, deep=deep))
    second = check.see(picture(160, 90, 40, opening=2, deep=deep))
    healed = check.see(picture(opening=3, deep=deep))

    assert first.kind == "colours_swapped"
    assert first.fault == second.fault == "red and blue are exchanged since it was opened"
    assert second.kind == "", "one event an opening"
    assert healed == Finding()


def test_format_is_not_the_order() -> None:
    """The same scene as rgb instead of bgr, declared as such, is the same scene."""
    check = SelfCheck()
    check.see(picture())

    assert check.see(picture(opening=2, pixel_format="rgb")) == Finding()


def test_grey_scene_has_no_order() -> None:
    """Colours that hardly differ cannot be exchanged."""
    check = SelfCheck()
    check.see(picture(100, 101, 102))

    assert check.see(picture(102, 101, 100, opening=2)) == Finding()


def test_what_persists_is_the_scene() -> None:
    """What several openings in a row show is another product, told once and then taken for true."""
    check = SelfCheck()
    check.see(picture())

    findings = [check.see(picture(160, 90, 40, opening=2 + n)) for n in range(PATIENCE)]
    after = check.see(picture(160, 90, 40, opening=9))

    assert [bool(finding.fault) for finding in findings] == [True] * (PATIENCE - 1) + [False]
    assert findings[-1].kind == "colours_changed"
    assert after == Finding()


@pytest.mark.parametrize(("before", "after"), [(100, 220), (100, 40), (60, 2)])
def test_other_exposure_is_an_event(before: int, after: int) -> None:
    """A picture more than twice as bright or dark after a reopening is told, and judged."""
    check = SelfCheck()
    check.see(grey(before))

    finding = check.see(grey(after, opening=2))

    assert (finding.kind, finding.fault) == ("exposure_changed", "")
    assert finding.before == pytest.approx(before / 255, abs=1e-4)
    assert finding.after == pytest.approx(after / 255, abs=1e-4)
    assert check.see(grey(after, opening=3)) == Finding(), "known from now on"


def test_same_light_is_nothing() -> None:
    """Small differences of light are no event, and neither is a change within an opening."""
    check = SelfCheck()
    check.see(grey(100))

    assert check.see(grey(240)) == Finding()
    assert check.see(grey(120, opening=2)) == Finding()


def test_other_shape_is_no_matter_of_colours() -> None:
    """A mono picture after coloured ones begins a new look."""
    check = SelfCheck()
    check.see(picture())

    assert check.see(grey(80, opening=2)) == Finding()
    assert check.see(grey(80, opening=3)) == Finding()
