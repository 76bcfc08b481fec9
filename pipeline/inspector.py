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
from typing import TYPE_CHECKING, Any

from musc.worker_threads import alone
from pipeline.camera_intake import FrameRefusedError
from pipeline.camera_windows import LineWindows
from pipeline.extraction import Extraction, Looked, attempt
from pipeline.heatmap import strongest_box
from pipeline.inspection import Inspection
from pipeline.region_stream import NotFiniteError
from pipeline.stream_window import FrameId
from pipeline.worst_region import decide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.contract import Why
    from edge.frame import Frame
    from musc.backbone import Backbone, Features
    from musc.pair_memory import PairMemory
    from pipeline.camera_windows import StreamKey
    from pipeline.config import Config
    from pipeline.inspection import Admission, Box, PatchScores, Pinning, RefinedScore
    from pipeline.region_stream import RegionStream
    from pipeline.regions import View
    from pipeline.snapshots import Snapshots
    from pipeline.worst_region import Outcome, RegionScores

BATCH_FRAMES_CUDA = 8
"""Frames in one call where the config says nothing: a GPU is not filled by one small picture."""


class Inspector:
    """Scores and judges the frames of all cameras, one after the other."""

    def __init__(
        self,
        config: Config,
        backbone: Backbone,
        model: str,
        timer: Callable[[], float] = time.perf_counter,
        memory: PairMemory | None = None,
        snapshots: Snapshots | None = None,
    ) -> None:
        """Start with empty windows, or with those that were kept.

        Args:
            config: The line's settings.
            backbone: Frames to patch tokens.
            model: Digest of backbone and weights, kept with each result.
            timer: Seconds; only for the reported compute time.
            memory: Pairs that were compared before, for lines that see the same frames.
            snapshots: Where windows are kept, for a line that is restarted.
        """
        self._config = config
        self._backbone = backbone
        self._model = model
        self._timer = timer
        self.windows = LineWindows(config, backbone, model, memory, snapshots)
        """The memory of all cameras, and when it should be written down."""
        self._extraction = Extraction(backbone, timer)

    @property
    def recipe(self) -> str:
        """The recipe that frames are inspected under now, at first the config's."""
        return self.windows.recipe

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
        return self.windows.keys

    def change_recipe(self, recipe: str) -> None:
        """Inspect the frames from now on under ``recipe``, with the windows that were kept of it.

        Without any they begin empty. The windows and judges of the recipe before are kept
        where there are snapshots, and let go, so that memory does not grow with the number
        of recipes. The recipe in use stays as it is.
        """
        self.windows.change_recipe(recipe)

    def reset(self, camera: str | None = None) -> None:
        """Empty the windows and judges of one camera, or of all, kept ones included."""
        self.windows.reset(camera)

    def pin(self, camera: str, boot: str, seq: int) -> Pinning:
        """Keep a frame as a good one, in each region's window that holds it, until it is let go."""
        answers = [stream.pin(boot, seq) for stream in self.windows.streams(camera)]
        self.windows.told(camera)
        told: tuple[Pinning, ...] = ("done", "pins_full")
        return next((one for one in told if one in answers), "unknown_frame")

    def unpin(self, camera: str | None = None) -> int:
        """Let the pinned frames of one camera, or of all, go; return how many."""
        self.windows.told(camera)
        return sum(stream.unpin() for stream in self.windows.streams(camera))

    def release(self, camera: str | None = None) -> list[str]:
        """Give the vote to what was kept apart, of one camera or of all.

        Returns:
            The parts, without repetition.
        """
        streams = self.windows.streams(camera)
        parts = [part for stream in streams for part in stream.release()]
        self.windows.told(camera)
        return list(dict.fromkeys(parts))

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
        features, spent_s = self._extraction.features(self._looked(frames))
        share_s = spent_s / len(frames)
        return [
            self._inspect(frame, one, share_s) for frame, one in zip(frames, features, strict=True)
        ]

    def prepare(self, frames: Sequence[Frame]) -> None:
        """Make frames ready that will be inspected next; no result depends on it.

        May be called while another thread inspects; by one thread at a time, and not
        together with what changes recipe or windows. The first call, best without
        frames, starts a thread.
        """
        known = [frame for frame in frames if frame.key.camera in self.windows]
        self._extraction.prepare(self._looked(known) if len(known) == len(frames) else [])

    def _looked(self, frames: Sequence[Frame]) -> list[Looked]:
        return [Looked(frame, self.windows.camera(frame.key.camera).intake) for frame in frames]

    def _inspect(
        self, frame: Frame, features: Features | FrameRefusedError, before_s: float
    ) -> Inspection:
        begin = self._timer()
        inspection = attempt(self._scored, frame, features)
        if isinstance(inspection, FrameRefusedError):
            inspection = self._inspection(frame, inspection.why, str(inspection), {})
        spent_s = before_s + self._timer() - begin
        return inspection.model_copy(update={"compute_ms": 1000 * spent_s})

    def _scored(self, frame: Frame, features: Features | FrameRefusedError) -> Inspection:
        """Score and judge one frame.

        Raises:
            FrameRefusedError: It gets no result, and no window has it.
        """
        if isinstance(features, FrameRefusedError):
            raise features
        numbers = (features.tokens, features.image_features)
        with alone():
            finite = all(bool(one.isfinite().all()) for one in numbers)
        if not finite:
            detail = "the backbone's tokens are not finite"
            raise FrameRefusedError(detail, "not_finite")
        camera = self.windows.camera(frame.key.camera)
        view = camera.intake.view(frame)
        streams = self.windows.streams_of(frame, view)
        try:
            scores = _score_all(streams, view, features, _name(frame))
            inspection = self._judged(frame, view, scores)
        except BaseException as error:
            for stream in streams:
                stream.withdraw()
            if isinstance(error, NotFiniteError):
                raise FrameRefusedError(str(error), "not_finite") from error
            raise
        for stream in streams:
            stream.keep()
        self.windows.inspected(frame.key.camera, inspection.state)
        if news := self.windows.news(frame.key.camera):
            return inspection.model_copy(update={"events": (*news, *inspection.events)})
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
            "state": outcome.state,
            "score": worst.raw,
            "rescored": worst.rescored,
            "threshold": worst.threshold,
            "map_level": outcome.map_level,
            "window_n": worst.peers,
            "p_value": worst.p_value,
            "warn": outcome.verdict == "PASS" and any(one.stream.warns for one in scores),
            "admission": _admission(scores),
            "events": [event for one in scores for event in one.stream.events],
            "refined": _refined(scores),
            "region": view.regions[outcome.worst].number,
            "box": _box(view, whole, outcome) if failed else None,
            "affine": view.affine,
            "patch_scores": whole,
            "evidence": (keep == "all" and judged) or (keep == "fail" and failed),
        }
        return self._inspection(frame, outcome.why, outcome.detail, known)

    def _inspection(self, frame: Frame, why: Why, detail: str, known: dict[str, Any]) -> Inspection:
        """Return a checked inspection: NO_RESULT unless ``known`` says more."""
        return Inspection.model_validate(
            {
                "announcement": frame.announcement,
                "verdict": "NO_RESULT",
                "why": why,
                "detail": detail,
                "state": self.windows.camera(frame.key.camera).state,
                "window_size": self._config.window.size_frames,
                "recipe": self.recipe,
                "model": self._model,
                "compute_ms": 0.0,
                "offset_px": frame.offset_px,
                **known,
            }
        )


def _score_all(
    streams: Sequence[RegionStream], view: View, features: Features, frame: FrameId
) -> list[RegionScores]:
    """Score each region of a frame; empty where there is nobody to compare it with."""
    scores = [
        stream.score(tokens, feature, region.ignored, frame)
        for stream, tokens, feature, region in zip(
            streams, features.tokens, features.image_features, view.regions, strict=True
        )
    ]
    # One region may have no peer left where others have some: frames begin all windows together.
    known = [one for one in scores if one is not None]
    return known if len(known) == len(scores) else []


def _box(view: View, whole: PatchScores, outcome: Outcome) -> Box:
    """Return the box around the strongest patch of the worst region, across its neighbours."""
    region, patches = view.regions[outcome.worst], outcome.patches[outcome.worst]
    row, column = divmod(int(patches.argmax()), patches.shape[1])
    peak = (region.top + row, region.left + column)
    level = outcome.map_level or 0.0
    return strongest_box(whole, level, view.affine, view.frame, peak)


def _name(frame: Frame) -> FrameId:
    key = frame.key
    return FrameId(key.boot, key.seq, frame.announcement.part_id)


ADMISSIONS_WORST_FIRST: tuple[Admission, ...] = ("quarantine", "doubtful", "duplicate", "peer")


def _admission(scores: Sequence[RegionScores]) -> Admission:
    """Return the least trusted place that the frame has in its regions' windows.

    A frame is a duplicate where it is one in all of them: a light table never changes.
    """
    places = [one.stream.admission for one in scores]
    told = [one for one in places if one != "duplicate"] or places
    return next(one for one in ADMISSIONS_WORST_FIRST if one in told)


def _refined(scores: Sequence[RegionScores]) -> list[RefinedScore]:
    """Return second looks of all regions, of each frame the highest score."""
    best: dict[tuple[str, int], RefinedScore] = {}
    for one in (refined for region in scores for refined in region.stream.refined):
        key = (one.boot, one.seq)
        if key not in best or best[key].score < one.score:
            best[key] = one
    return list(best.values())
