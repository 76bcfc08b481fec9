"""What a Basler camera tells beside the pixels: its number of the picture, its clock, the exposure.

Cameras append this to the pixels as chunks, in three generations of names. A
camera without chunks still numbers the blocks that it sends, and dates them.

A number is worth only what it counts. Where the camera counts the pulses at
its input, a gap is also a pulse that it had to ignore; all others count the
pictures that it took, and a gap is a picture that was lost on its way. The
number of retrieved pictures, which pylon also has, counts nothing that was
lost, and is not used. A buffer that failed has no chunks, and may have lost its
number; it is one picture in any case and takes the next, so that nothing is
missed twice.

Written from Basler's manuals (ace GigE AW000893, aviator GigE AW000976, ace USB
3.0 AW001234) and tried on a stand-in: pylon's emulated cameras have no chunks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.sources import CameraSetupError

if TYPE_CHECKING:
    from edge.sources.basler_library import PylonObject
    from edge.sources.basler_nodes import Nodes
    from edge.sources.device import Trigger

TIMESTAMPS = {"Timestamp": "ChunkTimestamp"}
EXPOSURES = {"ExposureTime": "ChunkExposureTime"}
PULSES = {"Triggerinputcounter": "ChunkTriggerinputcounter"}
PICTURES = {
    "Framecounter": "ChunkFramecounter",
    "FrameID": "ChunkFrameID",
    "CounterValue": "ChunkCounterValue",
}
"""Name of a chunk, and of the node that it is read by; the first that a camera has is used."""

NS_PER_S = 1_000_000_000
BLOCK_INVALID = 2**64 - 1
"""pylon's word for a block without a number."""
GIGE_BLOCKS = 65_535
"""GigE Vision numbers blocks from 1 to this, then from 1 again, unless its ids are extended."""


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of one picture; None where the camera does not tell."""

    counter: int | None
    camera_ns: int | None
    exposure_us: float | None


class Telling:
    """What one opening of a camera tells of its pictures."""

    def __init__(self, nodes: Nodes, trigger: Trigger, *, gige: bool) -> None:
        """Enable the chunks that are wanted, as far as the camera has them."""
        self._gige = gige
        self._tick_hz = _tick_hz(nodes)
        self._last: int | None = None
        self._wraps = 0
        enabled = _enable(nodes, trigger)
        self._counter = enabled.get("counter")
        self._timestamp = enabled.get("timestamp")
        self._exposure = enabled.get("exposure")

    def of(self, result: PylonObject, nodes: Nodes | None) -> Told:
        """Return what is known of a picture.

        Args:
            result: pylon's grab result.
            nodes: Its chunks; None where the buffer failed or has none.
        """
        ticks = _chunk(nodes, self._timestamp)
        if ticks is None and result.GrabSucceeded():
            ticks = result.GetTimeStamp()
        exposure = _chunk(nodes, self._exposure)
        return Told(
            counter=self._number(result, nodes),
            # Cameras without a clock say 0; integers, for a float loses ns after 104 days.
            camera_ns=int(ticks) * NS_PER_S // self._tick_hz if ticks else None,
            exposure_us=None if exposure is None else float(exposure),
        )

    def _number(self, result: PylonObject, nodes: Nodes | None) -> int | None:
        """Return the camera's number of a picture, as if it never began anew."""
        number = self._block(result) if self._counter is None else _chunk(nodes, self._counter)
        if number is None:
            number = None if self._last is None else self._last + 1
        elif self._gige and self._counter is None and self._last is not None:
            self._wraps += number < self._last
        self._last = number
        return None if number is None else int(number) + self._wraps * GIGE_BLOCKS

    def _block(self, result: PylonObject) -> int | None:
        block = int(result.GetBlockID())
        return None if block == BLOCK_INVALID or (self._gige and block == 0) else block


def _tick_hz(nodes: Nodes) -> int:
    """Return how fast the camera's clock ticks; only older GigE cameras do not count ns."""
    node = nodes.find("GevTimestampTickFrequency")
    return int(node.GetValue()) if node is not None else NS_PER_S


def _enable(nodes: Nodes, trigger: Trigger) -> dict[str, str]:
    """Enable what is wanted; return by which node each is read."""
    # The selector is there only in chunk mode; chunk mode without any chunk stops pylon's parser.
    nodes.switch("chunk data", "ChunkModeActive", on=True)
    enabled = {}
    counters = PULSES | PICTURES if trigger == "hardware" else PICTURES
    wanted = {"counter": counters, "timestamp": TIMESTAMPS, "exposure": EXPOSURES}
    for purpose, chunks in wanted.items():
        node = next((chunks[name] for name in chunks if _enable_one(nodes, name)), None)
        if node is not None:
            enabled[purpose] = node
    if not enabled:
        nodes.switch("chunk data", "ChunkModeActive", on=False)
    return enabled


def _enable_one(nodes: Nodes, chunk: str) -> bool:
    """Enable a chunk; tell whether the camera has it."""
    selector = nodes.settable("ChunkSelector")
    if selector is None or chunk not in nodes.offered(selector):
        return False
    try:
        if chunk == "CounterValue":
            # A counter that counts something else, or nothing, would be worse than none.
            nodes.choose("counter", "Counter1", "CounterSelector")
            nodes.choose("counter", "FrameStart", "CounterEventSource")
        nodes.choose("chunk", chunk, "ChunkSelector")
        nodes.switch("chunk", "ChunkEnable", on=True)
    except CameraSetupError:
        return False
    enable = nodes.find("ChunkEnable")
    return enable is not None and bool(enable.GetValue())


def _chunk(nodes: Nodes | None, name: str | None) -> PylonObject | None:
    node = None if nodes is None or name is None else nodes.find(name)
    return None if node is None else node.GetValue()
