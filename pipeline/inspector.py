"""The heart: frames in, one inspection each out.

``Inspector.inspect`` is synchronous and deterministic and has no sockets, no
database and no clock that could change a result; live line, replay and tests
call this one function. ``inspect_batch`` says the same of several frames, with
one call of the backbone for all their regions.

It keeps one memory for each camera, region and recipe (``RegionStream``). A
frame is cut into its camera's regions, each region is scored against its own
window, and the worst region decides (``worst_region``). A frame joins the
windows of all its regions or of none.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch

from musc.backbone import Features
from pipeline.camera_intake import CameraIntake, FrameRefusedError
from pipeline.config_geometry import GeometrySettings
from pipeline.heatmap import strongest_box
from pipeline.inspection import Inspection
from pipeline.region_stream import NotFiniteError, RegionStream
from pipeline.worst_region import decide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from edge.contract import Why
    from edge.frame import Frame
    from musc.backbone import Backbone
    from musc.pair_memory import PairMemory
    from pipeline.config import Config
    from pipeline.inspection import Box, PatchScores
    from pipeline.regions import View
    from pipeline.worst_region import Outcome, RegionScores

BATCH_FRAMES_CUDA = 8
"""Frames in one call where the config says nothing: a GPU is not filled by one small picture."""

_T = TypeVar("_T")


class StreamKey(NamedTuple):
    """What has a window of its own."""

    camera: str
    region: int
    recipe: str


@dataclass(slots=True)
class _Camera:
    intake: CameraIntake
    streams: list[tuple[StreamKey, RegionStream]] = field(default_factory=list)
    """In the order of the view's regions; none before the first usable frame."""
    ready: bool = False
    """Whether at the last scored frame every region had enough peers and a threshold."""


class Inspector:
    """Scores and judges the frames of all cameras, one after the other."""

    def __init__(
        self,
        config: Config,
        backbone: Backbone,
        model: str,
        timer: Callable[[], float] = time.perf_counter,
        memory: PairMemory | None = None,
    ) -> None:
        """Start with empty windows.

        Args:
            config: The line's settings.
            backbone: Frames to patch tokens.
            model: Digest of backbone and weights, kept with each result.
            timer: Seconds; only for the reported compute time.
            memory: Pairs that were compared before, for lines that see the same frames.
        """
        self._config = config
        self._backbone = backbone
        self._model = model
        self._timer = timer
        self._memory = memory
        self._recipe = config.line.recipe
        self._geometry: dict[str, GeometrySettings] = {one.id: one for one in config.camera}
        self._cameras: dict[str, _Camera] = {}

    @property
    def recipe(self) -> str:
        """The recipe that frames are inspected under now, at first the config's."""
        return self._recipe

    @property
    def batch_frames(self) -> int:
        """Most frames that should be inspected in one call: one on a CPU unless the config says so.

        A CPU gains nothing by more, and its sums may differ in the last bit with
        the size of a batch: a recorded line must replay to the same results.
        """
        chosen = self._config.musc.batch_frames
        return chosen or (BATCH_FRAMES_CUDA if self._backbone.device.type == "cuda" else 1)

    @property
    def streams(self) -> tuple[StreamKey, ...]:
        """What has a window now."""
        return tuple(key for camera in self._cameras.values() for key, _ in camera.streams)

    def change_recipe(self, recipe: str) -> None:
        """Inspect the frames from now on under ``recipe``, beginning with empty windows.

        The windows and judges of the recipe before are let go, so that memory
        does not grow with the number of recipes. The recipe in use stays as it is.
        """
        if recipe != self._recipe:
            self._recipe = recipe
            self._cameras.clear()

    def reset(self, camera: str | None = None) -> None:
        """Empty the windows and judges of one camera, or of all."""
        kept = {name: one for name, one in self._cameras.items() if camera not in {None, name}}
        self._cameras = kept

    def inspect(self, frame: Frame) -> Inspection:
        """Score ``frame`` against its windows and judge it; it then joins them.

        Never raises for what a frame contains: unusable pixels, scores that are
        not finite and exhausted memory become NO_RESULT with their reason.
        """
        return self.inspect_batch([frame])[0]

    def inspect_batch(self, frames: Sequence[Frame]) -> list[Inspection]:
        """Inspect frames, of one camera or of several, in their order, with one extraction.

        Says what ``inspect`` would say of one after the other; only the compute
        time of the extraction is shared out evenly. Where memory does not
        suffice for all, they are extracted one by one.
        """
        if not frames:
            return []
        begin = self._timer()
        batches = [self._attempt(self._batch, frame) for frame in frames]
        features = self._extract(batches)
        share_s = (self._timer() - begin) / len(frames)
        return [
            self._inspect(frame, one, share_s) for frame, one in zip(frames, features, strict=True)
        ]

    def _inspect(
        self, frame: Frame, features: Features | FrameRefusedError, before_s: float
    ) -> Inspection:
        begin = self._timer()
        inspection = self._attempt(self._scored, frame, features)
        if isinstance(inspection, FrameRefusedError):
            inspection = self._inspection(frame, inspection.why, str(inspection), {})
        spent_s = before_s + self._timer() - begin
        return inspection.model_copy(update={"compute_ms": 1000 * spent_s})

    def _attempt(self, work: Callable[..., _T], *arguments: object) -> _T | FrameRefusedError:
        """Return what came of it, or why the frame is refused."""
        try:
            return work(*arguments)
        except FrameRefusedError as refused:
            return refused
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            return FrameRefusedError(f"out of memory: {error}"[:200], "overload")

    def _camera(self, name: str) -> _Camera:
        if name not in self._cameras:
            geometry = self._geometry.get(name, GeometrySettings())
            self._cameras[name] = _Camera(CameraIntake(geometry, self._backbone))
        return self._cameras[name]

    def _batch(self, frame: Frame) -> Tensor:
        """Return the regions of a frame as the backbone's input [regions, 3, side, side]."""
        return self._camera(frame.key.camera).intake.batch(frame)

    def _streams_of(self, camera: _Camera, frame: Frame, view: View) -> list[RegionStream]:
        if not camera.streams:
            backbone, count = self._backbone, len(view.regions)
            camera.streams = [
                (
                    StreamKey(frame.key.camera, region.number, self._recipe),
                    RegionStream(
                        self._config, backbone.device, backbone.image_size, count, self._memory
                    ),
                )
                for region in view.regions
            ]
        return [stream for _, stream in camera.streams]

    def _extract(
        self, batches: Sequence[Tensor | FrameRefusedError]
    ) -> list[Features | FrameRefusedError]:
        """Return the features of each frame's regions; refusals are handed through."""
        usable = [one for one in batches if not isinstance(one, FrameRefusedError)]
        whole = self._attempt(self._extract_all, usable) if len(usable) > 1 else None
        if isinstance(whole, list):
            parts = iter(whole)
            return [one if isinstance(one, FrameRefusedError) else next(parts) for one in batches]
        return [
            one
            if isinstance(one, FrameRefusedError)
            else self._attempt(self._backbone.extract, one)
            for one in batches
        ]

    def _extract_all(self, batches: Sequence[Tensor]) -> list[Features]:
        features = self._backbone.extract(torch.cat(list(batches)))
        counts = [len(one) for one in batches]
        tokens = torch.split(features.tokens, counts)
        images = torch.split(features.image_features, counts)
        return [Features(*parts) for parts in zip(tokens, images, strict=True)]

    def _scored(self, frame: Frame, features: Features | FrameRefusedError) -> Inspection:
        """Score and judge one frame.

        Raises:
            FrameRefusedError: It gets no result, and no window has it.
        """
        if isinstance(features, FrameRefusedError):
            raise features
        if not (features.tokens.isfinite().all() and features.image_features.isfinite().all()):
            detail = "the backbone's tokens are not finite"
            raise FrameRefusedError(detail, "not_finite")
        camera = self._camera(frame.key.camera)
        view = camera.intake.view(frame)
        streams = self._streams_of(camera, frame, view)
        try:
            inspection = self._judged(frame, view, _score_all(streams, view, features))
        except BaseException as error:
            for stream in streams:
                stream.withdraw()
            if isinstance(error, NotFiniteError):
                raise FrameRefusedError(str(error), "not_finite") from error
            raise
        for stream in streams:
            stream.keep()
        camera.ready = inspection.state == "READY"
        return inspection

    def _judged(self, frame: Frame, view: View, scores: Sequence[RegionScores]) -> Inspection:
        if not scores:
            return self._inspection(frame, "warming", "first of its window", {"admission": "peer"})
        outcome = decide(scores, self._config.window.min_peers)
        worst = scores[outcome.worst]
        whole = view.stitch(outcome.patches)
        keep = self._config.evidence.keep
        failed, judged = outcome.verdict == "FAIL", outcome.verdict != "NO_RESULT"
        known: dict[str, Any] = {
            "verdict": outcome.verdict,
            "state": "READY" if outcome.ready else "WARMING",
            "score": worst.raw,
            "rescored": worst.rescored,
            "threshold": worst.threshold,
            "map_level": outcome.map_level,
            "window_n": worst.peers,
            "admission": "peer",
            "region": view.regions[outcome.worst].number,
            "box": _box(view, whole, outcome) if failed else None,
            "affine": view.affine,
            "patch_scores": whole,
            "evidence": (keep == "all" and judged) or (keep == "fail" and failed),
        }
        return self._inspection(frame, "score" if judged else "warming", outcome.detail, known)

    def _inspection(self, frame: Frame, why: Why, detail: str, known: dict[str, Any]) -> Inspection:
        """Return a checked inspection: NO_RESULT unless ``known`` says more."""
        return Inspection.model_validate(
            {
                "announcement": frame.announcement,
                "verdict": "NO_RESULT",
                "why": why,
                "detail": detail,
                "state": "READY" if self._camera(frame.key.camera).ready else "WARMING",
                "window_size": self._config.window.size_frames,
                "recipe": self._recipe,
                "model": self._model,
                "compute_ms": 0.0,
                "offset_px": frame.offset_px,
                **known,
            }
        )


def _score_all(
    streams: Sequence[RegionStream], view: View, features: Features
) -> list[RegionScores]:
    """Score each region of a frame; empty where there is nobody to compare it with."""
    scores = [
        stream.score(tokens, feature, region.ignored)
        for stream, tokens, feature, region in zip(
            streams, features.tokens, features.image_features, view.regions, strict=True
        )
    ]
    return [one for one in scores if one is not None]


def _box(view: View, whole: PatchScores, outcome: Outcome) -> Box:
    """Return the box around the strongest patch of the worst region, across its neighbours."""
    region, patches = view.regions[outcome.worst], outcome.patches[outcome.worst]
    row, column = divmod(int(patches.argmax()), patches.shape[1])
    peak = (region.top + row, region.left + column)
    level = outcome.map_level or 0.0
    return strongest_box(whole, level, view.affine, view.frame, peak)


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Tell exhausted memory from other errors; torch on the CPU says it in words only."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "DefaultCPUAllocator" in str(error)
