"""The scorer's device, weights, memory and speed are measured before the line needs them."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from doctor_rig import DrivenClock, found, verdicts
from factories import config

from pipeline import doctor_method
from pipeline.build import windows_bytes
from pipeline.doctor_method import method_checks
from pipeline.line_lock import line_lock
from pipeline.weights import weights_cache
from pipeline.weights_registry import REGISTRY
from pipeline.wheels import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

    from edge.frame import Frame
    from pipeline.config import Config
    from pipeline.doctor import Finding

GB = 10**9


class SlowInspector:
    """Takes the same time for each frame but the first, which is always slow."""

    def __init__(self, compute_ms: float) -> None:
        """Be as slow as that."""
        self.cameras: set[str] = set()
        self._compute_ms = compute_ms
        self._first_ms = 5000.0

    def inspect(self, frame: Frame) -> SimpleNamespace:
        """Return what the doctor looks at."""
        self.cameras.add(frame.announcement.camera)
        took_ms, self._first_ms = max(self._first_ms, self._compute_ms), 0.0
        return SimpleNamespace(compute_ms=took_ms)


def looked_at(settings: Config, free: int | None = 100 * GB, **options: Any) -> dict[str, Finding]:
    """Return what was found, by check."""
    given = {"quick": True} | options
    checks = method_checks(settings, lambda _device: free, DrivenClock(), **given)
    return {one.check: one for one in found(checks)}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of weights."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return weights_cache()


def test_channels_of_the_table_are_those_of_the_networks() -> None:
    """Width in the table, from which memory is estimated, is the token's length."""
    widths = {name: entry.channels for name, entry in REGISTRY.items()}

    assert widths["dinov2-vits14"] == FITTING["dinov2-vits14"]
    assert {name: widths[name] for name in FITTING} == FITTING


FITTING = {
    "dinov2-vits14": 384, "dinov2-vitb14": 768, "dinov2-vitl14": 1024, "dino-vitb8": 768,
    "clip-vit-b-16-plus-240": 896, "clip-vit-l-14-336": 1024,
}  # fmt: skip
"""Widths of the published networks."""


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_that_is_not_there() -> None:
    """CUDA asked for and absent fails, and what needs a device is skipped."""
    findings = looked_at(config(musc={"device": "cuda"}))

    assert findings["method.device"].verdict == "fail"
    assert 'musc.device = "cpu"' in findings["method.device"].remedy
    assert findings["method.memory"].verdict == "skipped"


def test_threads_beyond_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """More threads than cores are warned of, with what to set."""
    monkeypatch.setattr(doctor_method.os, "sched_getaffinity", lambda _pid: {0, 1})
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)

    finding = looked_at(config())["method.threads"]

    assert finding.verdict == "warn"
    assert finding.figure == "8 threads on 2 cores"
    assert "OMP_NUM_THREADS=2" in finding.remedy


def test_weights_that_are_not_there(cache: Path, tmp_path: Path) -> None:
    """Missing weights fail with the command that fetches them; nothing is fetched."""
    of_cache = looked_at(config())
    given = looked_at(config(musc={"weights": str(tmp_path / "gone.safetensors")}))

    for findings in (of_cache, given):
        assert findings["method.weights"].verdict == "fail"
        assert "musc-edge weights fetch dinov2-vits14" in findings["method.weights"].remedy
        assert findings["method.weights_hash"].verdict == "skipped"
    assert "musc.weights" in given["method.weights"].remedy
    assert not cache.exists()


@pytest.mark.weights
def test_weights_of_another_hash(cache: Path, weights_file: Path) -> None:
    """One flipped byte in the cache, or in a file beside its note, fails."""
    entry = cache / "dinov2-vits14"
    shutil.copytree(weights_file.parent, entry)
    good = looked_at(config())
    with (entry / weights_file.name).open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes((last[0] ^ 1,)))

    of_cache = looked_at(config())["method.weights_hash"]
    given = looked_at(config(musc={"weights": str(entry / weights_file.name)}))

    assert good["method.weights_hash"].figure == f"SHA-256 {sha256_of(weights_file)[:16]}"
    assert (of_cache.verdict, given["method.weights_hash"].verdict) == ("fail", "fail")
    assert "which replaces them" in of_cache.remedy


def test_file_that_is_no_weights(tmp_path: Path) -> None:
    """A given file of another network, or of none, fails as that."""
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"no tensors")

    finding = looked_at(config(musc={"weights": str(file)}))["method.weights_hash"]

    assert finding.verdict == "fail"
    assert str(file) in finding.remedy


def test_note_that_cannot_be_read(cache: Path) -> None:
    """Weights whose note is damaged cannot be verified, and fail."""
    entry = cache / "dinov2-vits14"
    entry.mkdir(parents=True)
    (entry / "model.safetensors").write_bytes(b"tensors")
    (entry / "source.json").write_text(json.dumps({"sha256": "?"}))

    assert looked_at(config())["method.weights_hash"].verdict == "fail"


@pytest.mark.parametrize("free", [None, 100 * GB, 10 * GB, 10**6])
def test_memory_is_held_to_what_is_free(free: int | None) -> None:
    """Windows that take more than their share fail, with a size that fits, where one does."""
    settings = config(window={"size_frames": 512}, musc={"image_size_px": 518})

    finding = looked_at(settings, free)["method.memory"]

    assert finding.verdict == {None: "skipped", 100 * GB: "ok"}.get(free, "fail")
    if free == 10 * GB:
        frames = int(finding.remedy.split("size_frames to ")[1].split()[0])
        fits, one_more = (
            windows_bytes(
                config(window={"size_frames": size}), stages=4, patches=37 * 37, channels=384
            )
            for size in (frames, frames + 1)
        )
        assert fits <= 0.8 * free < one_more
    if free == 10**6:
        assert "image_size_px" in finding.remedy


def test_regions_that_cannot_be_cut() -> None:
    """Regions that overlap wholly fail before anything is loaded."""
    camera = {
        "id": "c1", "kind": "synthetic", "interval_ms": 1, "columns": 2, "overlap_patches": 4,
    }  # fmt: skip

    finding = looked_at(config(camera=[camera], musc={"image_size_px": 56}))["method.regions"]

    assert finding.verdict == "fail"
    assert "overlap_patches" in finding.remedy


@pytest.mark.parametrize(
    ("compute_ms", "part", "verdict", "limit"),
    [
        (200.0, {"deadline_ms": 500}, "ok", "500 ms"),
        (300.0, {"deadline_ms": 500}, "fail", "500 ms"),
        (100.0, {"deadline_ms": 500, "rate_per_minute": 400}, "fail", "150 ms"),
        (200.0, {"deadline_ms": 500, "rate_per_minute": 100}, "ok", "500 ms"),
    ],
)
def test_speed_is_held_to_deadline_and_rate(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    compute_ms: float,
    part: dict[str, float],
    verdict: str,
    limit: str,
) -> None:
    """A part must be scored before its deadline, and before the next part comes."""
    (tmp_path / "model.pth").write_bytes(b"")
    monkeypatch.setattr(doctor_method, "resolve", lambda *_, **__: None)
    inspector = SlowInspector(compute_ms)
    monkeypatch.setattr(doctor_method, "build_inspector", lambda _config: (inspector, "m"))
    camera = {"kind": "synthetic", "interval_ms": 1}
    settings = config(
        camera=[camera | {"id": "c1"}, camera | {"id": "c2", "columns": 2}],
        part=part,
        window={"size_frames": 9},
        musc={"weights": str(tmp_path / "model.pth")},
    )

    finding = looked_at(settings, quick=False)["method.speed"]

    assert finding.verdict == verdict
    assert finding.figure == f"{2 * compute_ms:.0f} ms a part of 2 view(s), limit {limit}"
    assert finding.detail == "with 9 of 9 frames in the window"
    assert inspector.cameras == {"c2"}, "the camera with the most regions is the slowest"


def test_running_line_is_not_slowed(tmp_path: Path) -> None:
    """While the line runs neither its memory is counted again nor a model loaded."""
    settings = config(line={"state_path": str(tmp_path / "state")})

    with line_lock(settings.line.state_path):
        findings = looked_at(settings, free=0, quick=False)

    assert verdicts(findings.values()).items() >= {
        "method.memory": "skipped", "method.speed": "skipped",
    }.items()  # fmt: skip
