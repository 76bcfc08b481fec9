"""How fast pictures go from ingest to scorer, as a share of copying them in memory.

The way is the line's own: ingest's queue with its credit, the wire, DEALER to ROUTER,
and the scorer's loop in another process, once over ipc and once over tcp on the
loopback address. Arrived is a frame when the inspector has its pixels, a view on what
ZeroMQ received; a frame settled is one the scorer has said so of. Each frame of a
round lies in memory of its own, as the pictures of a camera do, and the copy beside
it reads the same arrays in the same order.

Before the rounds that count every byte is read once at the other end and its sum
compared; of every frame of every round exactly one inspection must come back.
"""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import zmq

from edge.endpoints import free_port
from pipeline.bench_receiver import READ_ALL, checksum
from pipeline.bench_rounds import race, ratio_of, shown
from pipeline.bench_way import TransportBenchError, Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from edge.frame import Pixels
    from edge.sockets import Context

SHAPE = (1080, 1920, 3)
MEMCPY, IPC, TCP = "memcpy", "ipc", "tcp"


@dataclass(frozen=True, slots=True)
class TransportBench:
    """What is measured."""

    frames: int = 16
    """Frames in a round, 1 to MOST_FRAMES."""
    repeats: int = 15
    """Counted rounds."""
    shape: tuple[int, int, int] = SHAPE
    """Height, width and 3 channels of uint8."""


@dataclass(frozen=True, slots=True)
class TransportReport:
    """What came of it."""

    bench: TransportBench
    times_ms: Mapping[str, Sequence[float]]
    """By name, one for each counted round."""

    def table(self) -> list[list[str]]:
        """Return a row for each way: rate, bytes a second, share of the copy."""
        rows = []
        for name, times in self.times_ms.items():
            each = [self.bench.frames * 1000 / ms for ms in (max(times), min(times))]
            figures = [f"{self.frames_per_s(name):.0f}", *(f"{rate:.0f}" for rate in each)]
            share = f"{self.fraction(name):.3f}"
            rows.append([name, *figures, f"{self.gbps(name):.2f}", share])
        return rows

    def summary(self) -> dict[str, Any]:
        """Return the figures under the names of the last line; ``gbps`` is 1e9 bytes a second."""
        height, width, _ = self.bench.shape
        return {
            "width_px": width,
            "height_px": height,
            "frames": self.bench.frames,
            "repeats": self.bench.repeats,
            "ipc_fraction": round(self.fraction(IPC), 4),
            "tcp_fraction": round(self.fraction(TCP), 4),
            "memcpy_gbps": round(self.gbps(MEMCPY), 3),
            "ipc_gbps": round(self.gbps(IPC), 3),
            "tcp_gbps": round(self.gbps(TCP), 3),
            "frames_per_s_ipc": round(self.frames_per_s(IPC), 1),
            "frames_per_s_tcp": round(self.frames_per_s(TCP), 1),
        }

    def fraction(self, name: str) -> float:
        """Return the share of the copy's rate."""
        return ratio_of(self.times_ms[MEMCPY], self.times_ms[name])

    def frames_per_s(self, name: str) -> float:
        """Return the median rate."""
        return 1000 * self.bench.frames / statistics.median(self.times_ms[name])

    def gbps(self, name: str) -> float:
        """Return the median rate in 1e9 bytes a second."""
        return self.frames_per_s(name) * int(np.prod(self.bench.shape)) / 1e9


def run_transport_bench(console: Console, bench: TransportBench, folder: Path) -> TransportReport:
    """Measure, with the sockets in an empty folder.

    Raises:
        EndpointError: The folder's path is too long for a socket.
        TransportBenchError: Not every frame came once and as it was sent.
    """
    pictures = make_pictures(bench)
    context: Context = zmq.Context()
    try:
        with ExitStack() as stack:
            ways = {
                name: stack.enter_context(Way(folder / name, context, endpoint))
                for name, endpoint in ((IPC, ""), (TCP, f"tcp://127.0.0.1:{free_port()}"))
            }
            for way in ways.values():
                check_content(way, pictures)
            rounds = shown(console, "rounds", range(1 + bench.repeats), 1 + bench.repeats)
            times_ms = race(_runners(ways, pictures), _collected(rounds, ways))
    finally:
        context.destroy(linger=0)
    return TransportReport(bench, times_ms)


def make_pictures(bench: TransportBench, seed: int = 0) -> list[Pixels]:
    """Return the pictures of a round, random and each in memory of its own."""
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, bench.shape, np.uint8) for _ in range(bench.frames)]


def check_content(way: Way, pictures: Sequence[Pixels]) -> None:
    """Let the other end read every byte, and compare.

    Raises:
        TransportBenchError: A picture is not there as it was sent; with its number.
    """
    way.carry(pictures, READ_ALL)
    for number, (pixels, said) in enumerate(zip(pictures, way.collect(), strict=True)):
        if said != checksum(pixels):
            msg = f"picture {number} came as {said or 'nothing'}, sent was {checksum(pixels)}"
            raise TransportBenchError(msg)


def _runners(
    ways: Mapping[str, Way], pictures: Sequence[Pixels]
) -> dict[str, Callable[[int], object]]:
    room = np.empty_like(pictures[0])

    def copy_all(_number: int) -> None:
        for pixels in pictures:
            np.copyto(room, pixels)

    def carry(way: Way, _number: int) -> None:
        way.carry(pictures)

    runners: dict[str, Callable[[int], object]] = {MEMCPY: copy_all}
    return runners | {name: partial(carry, way) for name, way in ways.items()}


def _collected(rounds: Iterator[int], ways: Mapping[str, Way]) -> Iterator[int]:
    """Pass rounds on, and between two of them, untimed, collect what was said of the frames."""
    for number in rounds:
        yield number
        for way in ways.values():
            way.collect()
