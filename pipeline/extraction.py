"""From frames to patch tokens, and one turn of frames made ready while another is scored.

:meth:`Extraction.prepare` is a hint that never changes a result. Frames that are like
those before them are made ready by a thread: their pixels become the backbone's input,
and on CUDA the backbone runs on a stream of its own beside the scoring. Everything that
keeps a state stays in the order of the inspections: the first frame of a camera, a frame
unlike it and one whose preparing failed are not made ready but looked at in their turn,
and what was made ready for windows that were emptied since is thrown away.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch

from musc.backbone import Features
from pipeline.camera_intake import FrameRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from edge.frame import Frame
    from musc.backbone import Backbone
    from pipeline.camera_intake import CameraIntake
    from pipeline.regions import View

_T = TypeVar("_T")


class Looked(NamedTuple):
    """A frame and the intake of its camera."""

    frame: Frame
    intake: CameraIntake


class _Ready(NamedTuple):
    """What the thread has made of a turn."""

    batches: list[Tensor]
    features: list[Features] | None
    """None where the backbone is not run ahead."""
    spent_s: float


class _Ahead(NamedTuple):
    turn: list[tuple[Frame, View]]
    work: Future[_Ready]

    def is_of(self, looked: Sequence[Looked]) -> bool:
        """Tell whether it was made of these very frames, seen as they are seen now."""
        now = [(one.frame, one.intake.known_view(one.frame)) for one in looked]
        return len(now) == len(self.turn) and all(
            frame is before[0] and view is before[1]
            for (frame, view), before in zip(now, self.turn, strict=True)
        )


class Extraction:
    """Runs the backbone on frames, in their turn or ahead of it."""

    def __init__(self, backbone: Backbone, timer: Callable[[], float]) -> None:
        """Start nothing yet.

        Args:
            backbone: Frames to patch tokens.
            timer: Seconds; only for the reported compute time.
        """
        self._backbone = backbone
        self._timer = timer
        self._runs_ahead = backbone.device.type == "cuda"
        self._stream: torch.cuda.Stream | None = None
        if self._runs_ahead:
            self._stream = torch.cuda.Stream(backbone.device)  # type: ignore[no-untyped-call]  # torch leaves it without annotations
        self._thread: ThreadPoolExecutor | None = None
        # Two turns: the next is made ready while this one may not have been taken up yet.
        self._ahead: deque[_Ahead] = deque(maxlen=2)

    def prepare(self, looked: Sequence[Looked]) -> None:
        """Make frames ready that are the next turn, all of them or none.

        The first call starts the thread; it should come before the first frame.
        """
        if self._thread is None:
            self._thread = _single_thread()
        views = [(one, one.intake.known_view(one.frame)) for one in looked]
        turn = [(one.frame, view) for one, view in views if view is not None]
        if not turn or len(turn) < len(looked):
            return
        jobs = [(one.intake, one.frame, view) for one, view in views if view is not None]
        self._ahead.append(_Ahead(turn, self._thread.submit(self._make_ready, jobs)))

    def features(
        self, looked: Sequence[Looked]
    ) -> tuple[list[Features | FrameRefusedError], float]:
        """Return the features of each frame's regions, or why it has none; and the seconds.

        With one call of the backbone; where memory does not suffice for that, with one a
        frame.
        """
        ready = self._taken(looked)
        begin = self._timer()
        if ready is None:
            batches = [attempt(one.intake.batch, one.frame) for one in looked]
            found, before_s = self._extracted(batches), 0.0
        elif ready.features is None:
            found, before_s = self._extracted(ready.batches), ready.spent_s
        else:
            found, before_s = list(ready.features), ready.spent_s
        return found, before_s + self._timer() - begin

    def _taken(self, looked: Sequence[Looked]) -> _Ready | None:
        """Wait for what is made ready, and return it where it is of this turn and was possible."""
        ahead = next((one for one in tuple(self._ahead) if one.is_of(looked)), None)
        # Whatever went wrong goes wrong again in its turn, where it has its consequences.
        if ahead is None or ahead.work.exception() is not None:
            return None
        ready = ahead.work.result()
        if self._stream is not None:
            for one in ready.features or ():
                for tensor in (one.tokens, one.image_features):
                    # Its memory was taken on the other stream, and is free when this one is done.
                    tensor.record_stream(torch.cuda.current_stream(self._backbone.device))
        return ready

    def _make_ready(self, jobs: Sequence[tuple[CameraIntake, Frame, View]]) -> _Ready:
        """Run in the thread: pure, for a view never changes."""
        begin = self._timer()
        with torch.cuda.stream(self._stream):
            batches = [intake.cut(frame, view) for intake, frame, view in jobs]
            features = self._extract_all(batches) if self._runs_ahead else None
        if self._stream is not None:
            self._stream.synchronize()
        return _Ready(batches, features, self._timer() - begin)

    def _extracted(
        self, batches: Sequence[Tensor | FrameRefusedError]
    ) -> list[Features | FrameRefusedError]:
        """Return the features of each batch; refusals are handed through."""
        usable = [one for one in batches if not isinstance(one, FrameRefusedError)]
        whole = attempt(self._extract_all, usable) if len(usable) > 1 else None
        if isinstance(whole, list):
            parts = iter(whole)
            return [one if isinstance(one, FrameRefusedError) else next(parts) for one in batches]
        return [
            one if isinstance(one, FrameRefusedError) else attempt(self._backbone.extract, one)
            for one in batches
        ]

    def _extract_all(self, batches: Sequence[Tensor]) -> list[Features]:
        if len(batches) == 1:
            return [self._backbone.extract(batches[0])]
        features = self._backbone.extract(torch.cat(list(batches)))
        counts = [len(one) for one in batches]
        tokens = torch.split(features.tokens, counts)
        images = torch.split(features.image_features, counts)
        return [Features(*parts) for parts in zip(tokens, images, strict=True)]


def attempt(work: Callable[..., _T], *arguments: object) -> _T | FrameRefusedError:
    """Return what came of it, or why the frame is refused."""
    try:
        return work(*arguments)
    except FrameRefusedError as refused:
        return refused
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return FrameRefusedError(f"out of memory: {error}"[:200], "overload")


def is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Tell exhausted memory from other errors; torch on the CPU says it in words only."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return "DefaultCPUAllocator" in str(error)


def _single_thread() -> ThreadPoolExecutor:
    """Return a thread that leaves the other cores to the scorer.

    Torch's number of threads is each thread's own, and what threads that are started later
    begin with: it is put back before anybody else multiplies.
    """
    threads, made = torch.get_num_threads(), Event()

    def start() -> None:
        # A thread takes over the process's number at the first call, so it is made first.
        torch.get_num_threads()
        torch.set_num_threads(1)
        made.set()

    thread = ThreadPoolExecutor(1, "ahead", initializer=start)
    thread.submit(int)
    made.wait()
    torch.set_num_threads(threads)
    return thread
