"""The two lines that see every stream: plain mutual scoring on a belt, and the guarded line.

Both are the line's own ``Inspector`` and are shown the same frames in turn. They
share one backbone and one memory of pairs, which changes no number: what both would
compute is computed once. What is read off an inspection stands in ``Reading``, and
the two configs differ in ``side_config`` only.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, get_args

from edge.frame import EPOCH, Announcement, Frame
from pipeline.config import Config
from pipeline.inspector import Inspector

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edge.contract import State, Verdict, Why
    from edge.sources import Capture
    from musc.backbone import Backbone
    from musc.pair_memory import PairMemory
    from pipeline.inspection import Inspection

Side = Literal["plain", "guarded"]
SIDES: tuple[Side, ...] = get_args(Side)
CAMERA = "c1"
NS_A_PART = 1_000_000_000

_ADMISSION: dict[Side, str] = {"plain": "all", "guarded": "guarded"}


@dataclass(frozen=True, slots=True)
class Reading:
    """What one line said of one part."""

    verdict: Verdict
    why: Why
    state: State
    score: float | None
    """On arrival, from mutual scoring alone."""
    voted: bool
    """Whether the part scores later ones."""
    events: tuple[str, ...]
    """Kinds of what it has shown of the stream."""
    refined: Mapping[int, float]
    """Second looks at earlier parts: score by the number of the part."""

    def reaches(self, threshold: float) -> bool:
        """Whether the score is at or above a threshold."""
        return self.score is not None and self.score >= threshold


def read(inspection: Inspection) -> Reading:
    """Read off an inspection what the measures need."""
    return Reading(
        verdict=inspection.verdict,
        why=inspection.why,
        state=inspection.state,
        score=inspection.score,
        voted=inspection.admitted,
        events=tuple(event.kind for event in inspection.events),
        refined={one.seq: one.score for one in inspection.refined},
    )


def side_config(side: Side, window: int) -> Config:
    """Return the config of one line; everything but the admission is the same.

    Raises:
        ValidationError: A window that no line could have.
    """
    chosen = {"size_frames": window, "admission": _ADMISSION[side]}
    camera = {"id": CAMERA, "kind": "synthetic", "interval_ms": 1}
    return Config.model_validate({"camera": [camera], "window": chosen})


@dataclass(frozen=True, slots=True)
class Rig:
    """What lines are made of; one for all streams."""

    backbone: Backbone
    model: str
    pairs: PairMemory
    configs: Mapping[Side, Config]
    tick: Callable[[], None]
    """Called after each part that both lines have seen."""

    def lines(self, seed: int) -> Lines:
        """Return both lines with empty windows."""
        inspectors = {
            side: Inspector(config, self.backbone, self.model, memory=self.pairs)
            for side, config in self.configs.items()
        }
        shared = (self.backbone, self.pairs, *self.configs.values())
        return Lines(inspectors, f"{seed:016x}", self.tick, shared)


class Lines:
    """Both lines, shown the same parts one after the other."""

    def __init__(
        self,
        inspectors: Mapping[Side, Inspector],
        boot: str,
        tick: Callable[[], None],
        shared: Sequence[object] = (),
    ) -> None:
        """Begin with the first part.

        Args:
            inspectors: The lines.
            boot: Of the camera.
            tick: Called after each part.
            shared: What the inspectors share with those of other streams.
        """
        self._inspectors = inspectors
        self._boot = boot
        self._tick = tick
        self._shared = shared
        self.shown = 0
        """Parts so far; the number of the latest one."""

    def copy(self) -> Lines:
        """Return lines that have seen the same parts and go on by themselves."""
        inspectors = deepcopy(self._inspectors, {id(one): one for one in self._shared})
        other = Lines(inspectors, self._boot, self._tick, self._shared)
        other.shown = self.shown
        return other

    def show(self, capture: Capture) -> dict[Side, Reading]:
        """Show a part to both lines; return what each says of it.

        Raises:
            ValueError: The capture has no pixels.
        """
        self.shown += 1
        frame = _frame(capture, self.shown, self._boot)
        readings = {side: read(one.inspect(frame)) for side, one in self._inspectors.items()}
        self._tick()
        return readings

    def release(self, side: Side) -> bool:
        """Give the vote to what a line keeps aside, as an operator would; whether it kept any."""
        return bool(self._inspectors[side].release(CAMERA))


def _frame(capture: Capture, number: int, boot: str) -> Frame:
    """Return a part as its camera would send it, one a second."""
    if capture.pixels is None:
        msg = f"part {number} has no pixels: {capture.fault}"
        raise ValueError(msg)
    announcement = Announcement(
        camera=CAMERA,
        boot=boot,
        seq=number,
        part_id=f"S{number:06d}",
        captured_at=EPOCH + timedelta(seconds=number),
        captured_ns=number * NS_A_PART,
        origin=capture.origin,
    )
    return Frame(announcement, capture.pixels, capture.pixel_format, capture.bit_depth)
