"""The heart: one frame in, one inspection out.

``Inspector.inspect`` is synchronous and deterministic and has no sockets, no
database and no clock that could change a result; live line, replay and tests
call this one function. It keeps one state for each camera, region and recipe:
the window of recent frames, RsCIN's scores, and the judge.

Mutual scoring compares a frame with the voters of its window (METHOD: Li et
al., MuSc, ICLR 2024); RsCIN smooths its score over the last scored frames;
the judge sets the threshold from the scores before this one.
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from musc.anomaly_map import frame_scores
from musc.preprocess import to_batch
from musc.rscin import rescore
from musc.sliding import SlidingMuSc
from pipeline.heatmap import grid_to_sensor, strongest_box
from pipeline.inspection import Inspection
from pipeline.judge import Judge, make_judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.contract import Why
    from edge.frame import Frame
    from musc.backbone import Backbone, Features
    from pipeline.config import Config
    from pipeline.inspection import PatchScores

WHOLE_FRAME = 0
"""The region that is the whole frame."""


class StreamKey(NamedTuple):
    """What has a window of its own."""

    camera: str
    region: int
    recipe: str


@dataclass(slots=True)
class _Stream:
    window: SlidingMuSc
    judge: Judge
    scored: deque[tuple[float, torch.Tensor]]
    """On-arrival score and image feature of the last scored frames, for RsCIN."""
    layout: tuple[tuple[int, ...], str, int] | None = None
    """Shape, pixel format and bit depth of this camera's frames."""
    ready: bool = False
    """Whether the last scored frame had enough peers and a threshold."""


class _Scores(NamedTuple):
    raw: float
    rescored: float
    peers: int
    patches: PatchScores


class _Refused(Exception):  # noqa: N818 - not an error of the program, an outcome for one frame
    """The frame gets no result."""

    def __init__(self, detail: str, why: Why) -> None:
        super().__init__(detail)
        self.why: Why = why


class Inspector:
    """Scores and judges the frames of all cameras, one after the other."""

    def __init__(
        self,
        config: Config,
        backbone: Backbone,
        model: str,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Start with empty windows.

        Args:
            config: The line's settings.
            backbone: Frames to patch tokens.
            model: Digest of backbone and weights, kept with each result.
            timer: Seconds; only for the reported compute time.
        """
        self._config = config
        self._backbone = backbone
        self._model = model
        self._timer = timer
        self._recipe = config.line.recipe
        self._streams: dict[StreamKey, _Stream] = {}

    @property
    def recipe(self) -> str:
        """The recipe that frames are inspected under now, at first the config's."""
        return self._recipe

    def change_recipe(self, recipe: str) -> None:
        """Inspect the frames from now on under ``recipe``, beginning with empty windows.

        The windows and judges of the recipe before are let go, so that memory
        does not grow with the number of recipes. The recipe in use stays as it is.
        """
        if recipe != self._recipe:
            self._recipe = recipe
            self._streams.clear()

    def reset(self, camera: str | None = None) -> None:
        """Empty the windows and judges of one camera, or of all."""
        kept = {key: s for key, s in self._streams.items() if camera not in {None, key.camera}}
        self._streams = kept

    def inspect(self, frame: Frame) -> Inspection:
        """Score ``frame`` against its window and judge it; it then joins the window.

        Never raises for what a frame contains: unusable pixels, scores that are
        not finite and exhausted memory become NO_RESULT with their reason.
        """
        begin = self._timer()
        stream = self._stream(frame)
        try:
            self._check_layout(stream, frame)
            scores = self._score(stream, self._extract(frame))
            inspection = (
                self._inspection(frame, "warming", "first of its window", {"admitted": True})
                if scores is None
                else self._judge(stream, frame, scores)
            )
        except _Refused as refused:
            inspection = self._inspection(frame, refused.why, str(refused), {})
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            detail = f"out of memory: {error}"[:200]
            inspection = self._inspection(frame, "overload", detail, {})
        return inspection.model_copy(update={"compute_ms": 1000 * (self._timer() - begin)})

    def _stream(self, frame: Frame) -> _Stream:
        key = StreamKey(frame.announcement.camera, WHOLE_FRAME, self._recipe)
        if key not in self._streams:
            size = self._config.window.size_frames
            musc = self._config.musc
            window = SlidingMuSc(
                size,
                tuple(musc.degrees),
                musc.keep_lowest,
                interpolate=True,
                device=self._backbone.device,
            )
            self._streams[key] = _Stream(window, make_judge(self._config.judge), deque(maxlen=size))
        return self._streams[key]

    def _check_layout(self, stream: _Stream, frame: Frame) -> None:
        layout = (frame.pixels.shape, frame.pixel_format, frame.bit_depth)
        if stream.layout is None:
            stream.layout = layout
        elif stream.layout != layout:
            shape, pixel_format, bit_depth = stream.layout
            detail = (
                f"{frame.announcement.origin or 'frame'}: {frame.pixels.shape} "
                f"{frame.pixel_format} {frame.bit_depth} bit, "
                f"this camera sends {shape} {pixel_format} {bit_depth} bit"
            )
            raise _Refused(detail, "corrupt")

    def _extract(self, frame: Frame) -> Features:
        try:
            batch = to_batch(
                [frame.pixels],
                image_size=self._backbone.image_size,
                mean=self._backbone.mean,
                std=self._backbone.std,
                bit_depth=frame.bit_depth,
                pixel_format=frame.pixel_format,
                device=self._backbone.device,
            )
        except ValueError as error:
            detail = f"{frame.announcement.origin or 'frame'}: {error}"
            raise _Refused(detail, "corrupt") from error
        features = self._backbone.extract(batch)
        if not (features.tokens.isfinite().all() and features.image_features.isfinite().all()):
            detail = "the backbone's tokens are not finite"
            raise _Refused(detail, "not_finite")
        return features

    def _score(self, stream: _Stream, features: Features) -> _Scores | None:
        """Push the frame and score it; None where there is nobody to compare it with."""
        window = stream.window
        slot = window.push(features.tokens[0], features.image_features[0])
        peers = len(window.voters) - 1
        if peers == 0:
            return None
        patches = window.patch_scores(slot)
        score = float(frame_scores(patches[None], self._backbone.image_size)[0])
        if not math.isfinite(score):
            window.evict(slot)
            detail = f"the score is {score}"
            raise _Refused(detail, "not_finite")
        stream.scored.append((score, features.image_features[0]))
        latest = torch.tensor([value for value, _ in stream.scored])
        image_features = torch.stack([feature for _, feature in stream.scored]).to(latest)
        rescored = float(rescore(latest, image_features, tuple(self._config.musc.neighbours))[-1])
        side = math.isqrt(patches.numel())
        grid = patches.reshape(side, side).float().cpu().numpy()
        return _Scores(score, rescored, peers, grid)

    def _judge(self, stream: _Stream, frame: Frame, scores: _Scores) -> Inspection:
        deciding = scores.raw if self._config.judge.score == "raw" else scores.rescored
        threshold = stream.judge.threshold()
        stream.judge.learn(deciding, scores.peers)
        affine = grid_to_sensor(scores.patches.shape, *frame.pixels.shape[:2])
        known: dict[str, Any] = {
            "score": scores.raw,
            "rescored": scores.rescored,
            "threshold": threshold,
            "window_n": scores.peers,
            "admitted": True,
            "affine": affine,
            "patch_scores": scores.patches,
        }
        missing = self._config.window.min_peers - scores.peers
        stream.ready = missing <= 0 and threshold is not None
        if missing > 0:
            return self._inspection(frame, "warming", f"{missing} more peers needed", known)
        if threshold is None:
            return self._inspection(frame, "warming", "the judge needs more scores", known)
        # RsCIN moves the score of the frame, not its map: the level moves instead.
        level = threshold * scores.raw / deciding if deciding else threshold
        failed = deciding >= threshold
        keep = self._config.evidence.keep
        known |= {
            "verdict": "FAIL" if failed else "PASS",
            "map_level": level,
            "box": strongest_box(scores.patches, level, affine) if failed else None,
            "evidence": keep == "all" or (keep == "fail" and failed),
        }
        return self._inspection(frame, "score", "", known)

    def _inspection(self, frame: Frame, why: Why, detail: str, known: dict[str, Any]) -> Inspection:
        """Return a checked inspection: NO_RESULT unless ``known`` says more."""
        return Inspection.model_validate(
            {
                "announcement": frame.announcement,
                "verdict": "NO_RESULT",
                "why": why,
                "detail": detail,
                "state": "READY" if self._stream(frame).ready else "WARMING",
                "window_size": self._config.window.size_frames,
                "recipe": self._recipe,
                "model": self._model,
                "compute_ms": 0.0,
                **known,
            }
        )


def _is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Tell exhausted memory from other errors; torch on the CPU says it in words only."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "DefaultCPUAllocator" in str(error)
