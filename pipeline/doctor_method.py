"""Checks of the method: device, threads, weights, memory, and how long a frame takes."""

from __future__ import annotations

import os
import statistics
from typing import TYPE_CHECKING

import numpy as np
import torch

from edge.frame import Announcement, Frame
from musc.architectures import find_architecture
from pipeline.backbones import BackboneChoiceError, choose_device
from pipeline.build import (
    MEMORY_SHARE,
    BuildError,
    build_inspector,
    check_regions,
    windows_bytes,
)
from pipeline.doctor import Check, Finding, fail, ok, skipped, warn
from pipeline.doctor_disk import size
from pipeline.doctor_running import what_runs
from pipeline.weights import SOURCE_FILE, WEIGHTS_FILE, WeightsSource, resolve, weights_cache
from pipeline.weights_registry import WeightsError, find_entry
from pipeline.wheels import sha256_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.clock import Clock
    from pipeline.config import Config

    FreeBytes = Callable[[torch.device], int | None]

DEVICE, THREADS, WEIGHTS, HASH, REGIONS, MEMORY, SPEED = (
    "method.device", "method.threads", "method.weights", "method.weights_hash", "method.regions",
    "method.memory", "method.speed",
)  # fmt: skip
LOAD_S = 120.0
"""The largest weights from a slow disk."""
SCORE_S = 20.0
"""For the frames that fill the window and are measured."""
MEASURED_FRAMES = 5
SIDE_PX = 1024
"""Side of the frames where the config does not say how large they are."""


def method_checks(
    config: Config, free_bytes: FreeBytes, clock: Clock, *, quick: bool
) -> list[Check]:
    """Return the checks of the scorer, in the order in which they build upon each other."""
    checks = [
        Check(DEVICE, lambda: _device(config)),
        Check(THREADS, _threads),
        Check(WEIGHTS, lambda: _weights(config)),
        Check(HASH, lambda: _hash(config), limit_s=LOAD_S, needs=(WEIGHTS,)),
        Check(REGIONS, lambda: _regions(config)),
        Check(MEMORY, lambda: _memory(config, free_bytes), needs=(DEVICE,)),
    ]
    if quick:
        return [*checks, Check(SPEED, lambda: [skipped(SPEED, "not measured with --quick")])]
    return [
        *checks,
        Check(
            SPEED, lambda: _speed(config, clock), limit_s=LOAD_S + SCORE_S,
            needs=(DEVICE, HASH, REGIONS, MEMORY), if_silent="Run the doctor with --quick.",
        ),
    ]  # fmt: skip


def _device(config: Config) -> Iterator[Finding]:
    figure = f"torch {torch.__version__}"
    try:
        device = choose_device(config.musc.device)
    except BackboneChoiceError as error:
        yield fail(
            DEVICE, figure, str(error),
            'Set musc.device = "cpu" or "auto", or install the GPU driver and a torch for CUDA.',
        )  # fmt: skip
        return
    name = torch.cuda.get_device_name() if device == "cuda" else "the processor"
    yield ok(DEVICE, f"{figure} on {name}")


def _threads() -> Iterator[Finding]:
    threads, cores = torch.get_num_threads(), len(os.sched_getaffinity(0))
    figure = f"{threads} threads on {cores} cores"
    if threads > cores:
        yield warn(
            THREADS, figure, "threads wait for each other",
            f"Set OMP_NUM_THREADS={cores} for the line.",
        )  # fmt: skip
        return
    yield ok(THREADS, figure)


def _file(config: Config) -> Path:
    return config.musc.weights or weights_cache() / config.musc.backbone / WEIGHTS_FILE


def _weights(config: Config) -> Iterator[Finding]:
    name, file = config.musc.backbone, _file(config)
    if file.is_file():
        yield ok(WEIGHTS, f"{file}, {file.stat().st_size / 1e6:.1f} MB")
        return
    remedy = f"Run `musc-edge weights fetch {name}` as the user that runs the line."
    if config.musc.weights is not None:
        remedy = (
            f"Put the file there, or remove musc.weights and run `musc-edge weights fetch {name}`."
        )
    yield fail(WEIGHTS, str(file), f"no weights of {name}: no such file", remedy)


def _hash(config: Config) -> Iterator[Finding]:
    name, file = config.musc.backbone, _file(config)
    remedy = f"Run `musc-edge weights fetch {name}`, which replaces them."
    if config.musc.weights is not None:
        remedy = f"Replace {file}, or remove musc.weights and run `musc-edge weights fetch {name}`."
    try:
        resolve(name, cache=weights_cache(), path=config.musc.weights, offline=True)
        found = sha256_of(file)
        _compare(file, found)
    except (WeightsError, OSError, ValueError) as error:
        yield fail(HASH, str(file), str(error), remedy)
        return
    yield ok(HASH, f"SHA-256 {found[:16]}")


def _compare(file: Path, found: str) -> None:
    """Hold a file to the note beside it, where it lies in a cache of ours.

    Raises:
        WeightsError: Another hash.
        ValueError: The note cannot be read.
    """
    note = file.with_name(SOURCE_FILE)
    if not note.is_file():
        return
    expected = WeightsSource.model_validate_json(note.read_bytes()).sha256
    if found != expected:
        msg = f"SHA-256 is {found}, {note} says {expected}"
        raise WeightsError(msg)


def _regions(config: Config) -> Iterator[Finding]:
    try:
        check_regions(config, _patches(config))
    except BuildError as error:
        remedy = "Correct columns, rows, overlap_patches, roi_px or ignore_px of this camera."
        yield fail(REGIONS, "", str(error), remedy)
        return
    count = sum(camera.regions for camera in config.camera)
    yield ok(REGIONS, f"{count} of {_patches(config)} patches each")


def _memory(config: Config, free_bytes: FreeBytes) -> Iterator[Finding]:
    running = what_runs(config)
    if running.anything:
        yield skipped(MEMORY, f"{running.who} and holds its windows")
        return
    device = torch.device(choose_device(config.musc.device))
    free = free_bytes(device)
    needed = _needed(config, config.window.size_frames)
    if free is None:
        yield skipped(MEMORY, f"{size(needed)} are needed; the system does not tell what is free")
        return
    limit = MEMORY_SHARE * free
    figure = f"windows {size(needed)}, limit {size(limit)} ({MEMORY_SHARE:.0%} of what is free)"
    if needed <= limit:
        yield ok(MEMORY, figure)
        return
    fits = [
        frames for frames in range(2, config.window.size_frames) if _needed(config, frames) <= limit
    ]
    remedy = "Give fewer columns and rows to the cameras, or a smaller musc.image_size_px."
    if fits and fits[-1] > config.window.min_peers:
        remedy = f"Set window.size_frames to {fits[-1]} or less, or musc.image_size_px lower."
    frames = config.window.size_frames
    yield fail(MEMORY, figure, f"window.size_frames = {frames} does not fit into {device}", remedy)


def _needed(config: Config, frames: int) -> int:
    """Return what full windows take, from the tables alone: no weights are loaded."""
    settings = config.musc
    entry = find_entry(settings.backbone)
    stages = len(settings.stages) or len(find_architecture(entry.architecture).stages)
    window = config.window.model_copy(update={"size_frames": frames})
    sized = config.model_copy(update={"window": window})
    return windows_bytes(sized, stages, _patches(config), entry.channels)


def _patches(config: Config) -> int:
    """Return the patches of one region."""
    entry = find_entry(config.musc.backbone)
    side: int = (config.musc.image_size_px or entry.image_size_px) // entry.patch_px
    return side * side


def _speed(config: Config, clock: Clock) -> Iterator[Finding]:
    """Fill a window with noise and time the last frames, all views of a part together."""
    running = what_runs(config)
    if running.anything:
        yield skipped(SPEED, f"{running.who} and needs the {config.musc.device} device")
        return
    try:
        times_ms = _times_ms(config, clock)
    except (BuildError, BackboneChoiceError) as error:  # stages that the backbone lacks
        yield fail(SPEED, "", str(error), "Correct in the config what this message names.")
        return
    views = len(config.views)
    part_ms = statistics.median(times_ms[-MEASURED_FRAMES:]) * views
    deadline_ms, rate = config.part.deadline_ms, config.part.rate_per_minute
    limit_ms = min(deadline_ms, 60_000 / rate) if rate else deadline_ms
    figure = f"{part_ms:.0f} ms a part of {views} view(s), limit {limit_ms:.0f} ms"
    filled = min(len(times_ms) - 1, config.window.size_frames)
    detail = f"with {filled} of {config.window.size_frames} frames in the window"
    if part_ms <= limit_ms:
        yield ok(SPEED, figure, detail)
        return
    keys = "part.deadline_ms" if limit_ms == deadline_ms else "part.rate_per_minute"
    remedy = f"Lower musc.image_size_px or window.size_frames, compute on CUDA, or relax {keys}."
    yield fail(SPEED, figure, detail, remedy)


def _times_ms(config: Config, clock: Clock) -> list[float]:
    inspector, _ = build_inspector(config)
    camera = max(config.camera, key=lambda one: one.regions)
    x, y, width, height = camera.roi_px or (0, 0, SIDE_PX, SIDE_PX)
    rng = np.random.default_rng(0)
    times_ms: list[float] = []
    begin_ns = clock.monotonic_ns()
    for seq in range(1, config.window.size_frames + MEASURED_FRAMES + 1):
        announcement = Announcement(
            camera=camera.id, boot="0" * 16, seq=seq, part_id=f"doctor-{seq}",
            captured_at=clock.now(), captured_ns=clock.monotonic_ns(),
        )  # fmt: skip
        noise = rng.integers(0, 256, (height, width), np.uint8)
        frame = Frame(announcement, noise, "mono", 8, (x, y))
        times_ms.append(inspector.inspect(frame).compute_ms)
        if clock.monotonic_ns() - begin_ns > SCORE_S * 1e9:
            break
    return times_ms
