"""A live camera: opened for ever, read by a thread, never mistaken for an empty belt.

A thread opens the device, waits for its pictures and hands them over; a camera
that is lost is closed and opened again, with a growing, capped and jittered
wait, until it is there. Which state it is in follows from what came: a camera
that runs by its own clock and falls silent is lost; a triggered one that still
answers has no trigger.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge.sources import CameraEvent, Source, SourceError
from edge.sources.backlog import Backlog
from edge.sources.picker import PicturePicker
from edge.wakeup import Wakeup

if TYPE_CHECKING:
    from edge.clock import Clock
    from edge.frame import CameraState
    from edge.sources import Capture
    from edge.sources.device import Device, Trigger
    from edge.sources.motion import MotionSettings

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
GRAB_S = 0.1
ALIVE_S = 1.0
"""A silent camera is asked so often whether it is there."""
REOPEN_FIRST_S = 0.1
JITTER = 0.25
"""Of each wait, so that the cameras behind one failed switch do not all ask at once."""
HANG_S = 3.0
"""Beyond ``frame_timeout_s``, which a stream may take to say that nothing comes."""
OPENINGS_OF_A_DEVICE = 1_000_000
"""A device that others connect to counts their starts within one opening of its own."""
CLOSE_LIMIT_S = 0.5
"""A driver that does not return in this time ends with the process."""


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """When a camera is lost, and which of its pictures count."""

    trigger: Trigger
    frame_timeout_s: float = 3.0
    """Silence after which a camera that runs by its own clock is lost."""
    idle_s: float = 60.0
    """Time without a picture after which a triggered camera has no trigger; 0 never."""
    latency_s: float = 0.0
    """How long a picture of a camera without a clock of its own is on its way, at least."""
    stale_frames: int = 0
    """Equal pictures in a row that make a camera STALE of whose pictures only some are taken."""
    reopen_limit_s: float = 2.0
    motion: MotionSettings | None = None
    """With trigger ``motion``: what a part is."""
    comes_back: bool = False
    """Whether the device needs no opening after a loss: others connect to it."""


class LiveSource(Source):
    """The pictures of one device; everything but the grabbing thread is ingest's."""

    def __init__(
        self,
        device: Device,
        settings: LiveSettings,
        clock: Clock,
        rng: random.Random | None = None,
    ) -> None:
        """Start the thread, which opens the device; it is LOST until it has shown itself.

        Args:
            device: Closed; it belongs to the thread from now on.
            settings: See there.
            clock: For silences and states.
            rng: For the jitter of reopening.
        """
        self.counts_triggers = settings.trigger in {"hardware", "software"}
        self.every_picture_counts = settings.trigger != "free"
        self._wakeup = self.wakeup = Wakeup()
        self._device = device
        self._settings = settings
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - no secret
        self._picker = PicturePicker(
            on_demand=settings.trigger == "software" and not device.can_trigger,
            motion=settings.motion,
            stale_frames=settings.stale_frames,
            rng=self._rng,
        )
        self._lock = threading.RLock()
        self._backlog = Backlog(freshest_only=not self.every_picture_counts)
        self._events: list[CameraEvent] = []
        self._counts: Counter[str] = Counter()
        self._lost: str | None = ""
        """Why the camera is not there, empty while it was never tried; None while it is."""
        self._lost_ns = self._heard_ns = self._active_ns = clock.monotonic_ns()
        self._beat_ns = self._heard_ns
        """When the driver returned last."""
        self._distrust = ""
        self._opening = 0
        self._tries = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name=device.name, daemon=True)
        self._thread.start()

    def read(self) -> Capture | None:
        """Return the next picture that waits."""
        with self._lock:
            return self._backlog.take()

    def trigger(self) -> None:
        """Ask for one picture now; that the camera does not obey is its loss."""
        if not self._device.can_trigger:
            with self._lock:
                self._picker.want(self._clock.monotonic_ns())
            return
        try:
            self._device.trigger()
        except SourceError as error:
            self.reopen(str(error))
        except Exception as error:  # a driver's own fault must not end ingest
            log.exception("%s: trigger", self._device.name)
            self.reopen(f"{type(error).__name__}: {error}")

    def reopen(self, reason: str) -> None:
        """Let the thread close the device and open it anew, or take its pictures for another's."""
        with self._lock:
            self._distrust = reason

    @property
    def state(self) -> CameraState:
        """LOST, STALE, ONLINE, or NO_TRIGGER where no part has been seen for long."""
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            if now_ns - self._beat_ns > (self._settings.frame_timeout_s + HANG_S) * NS_PER_S:
                self._lose(f"{self._device.name}: its driver does not return")
            if self._lost is not None:
                return "LOST"
            if self._picker.sees_repeats:
                return "STALE"
            idle_ns = now_ns - self._active_ns
        idle_limit_s = self._settings.idle_s if self._settings.trigger != "free" else 0
        return "NO_TRIGGER" if 0 < idle_limit_s * NS_PER_S < idle_ns else "ONLINE"

    @property
    def counts(self) -> Counter[str]:
        """Openings, losses, pictures, failed and skipped ones since the start."""
        with self._lock:
            return Counter(self._counts)

    def take_events(self) -> list[CameraEvent]:
        """Return what happened to the camera since the last call."""
        with self._lock:
            events, self._events = self._events, []
        return events

    def close(self) -> None:
        """End the thread, which closes the device; more calls do nothing."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join(CLOSE_LIMIT_S)
        self._wakeup.close()

    def _work(self) -> None:
        """Open and serve the device until the source is closed."""
        while not self._closing.is_set():
            try:
                self._device.open()
                self._opened()
                while not self._closing.is_set():
                    self._serve()
            except SourceError as error:
                self._lose(str(error))
            except Exception as error:  # a driver's own fault must not end the camera
                log.exception("%s", self._device.name)
                self._lose(f"{type(error).__name__}: {error}")
            self._let_go()
            self._closing.wait(self._pause_s())

    def _serve(self) -> None:
        """Wait for one picture, and look at what its coming or not coming says."""
        self._obey_distrust()
        capture = self._device.grab(GRAB_S)
        now_ns = self._beat_ns = self._clock.monotonic_ns()
        if capture is not None:
            self._take(capture, now_ns)
        silent_s = (now_ns - self._heard_ns) / NS_PER_S
        if self._settings.trigger in {"free", "motion"}:
            if silent_s > self._settings.frame_timeout_s:
                msg = f"{self._device.name}: no picture for {silent_s:.1f} s"
                raise SourceError(msg)
        elif silent_s > ALIVE_S:
            self._ask_whether_alive(now_ns)

    def _obey_distrust(self) -> None:
        """Open anew where that was asked for; what others push must not be cut off by it."""
        with self._lock:
            distrust, self._distrust = self._distrust, ""
            if distrust and self._settings.comes_back:
                self._counts["openings"] += 1
                self._opening = self._counts["openings"]
                return
        if distrust:
            raise SourceError(distrust)

    def _take(self, capture: Capture, now_ns: int) -> None:
        """Date a picture, and see whether it counts."""
        opening = self._opening * OPENINGS_OF_A_DEVICE + capture.opening
        capture = replace(capture, opening=opening)
        if capture.camera_ns is None and capture.arrived_ns is not None:
            latency_ns = round(self._settings.latency_s * NS_PER_S)
            capture = replace(capture, arrived_ns=capture.arrived_ns - latency_ns)
        if capture.pixels is not None:
            # Failed pictures alone are no sign of a camera that works.
            self._heard_ns, self._tries = now_ns, 0
        chosen, events = self._choose(capture, now_ns)
        with self._lock:  # whoever gets the picture finds the camera there, and the counts
            self._sort(capture, chosen, events, now_ns)
            if self._picker.blind:
                self._lose(f"{self._device.name}: {self._picker.blind}")
            elif capture.pixels is not None or self.counts_triggers:
                self._found(now_ns)

    def _ask_whether_alive(self, now_ns: int) -> None:
        self._heard_ns = now_ns
        if self._device.is_alive():
            self._tries = 0
            self._found(now_ns)
            return
        msg = f"{self._device.name}: it does not answer"
        if not self._settings.comes_back:
            raise SourceError(msg)
        self._lose(msg)

    def _choose(self, capture: Capture, now_ns: int) -> tuple[Capture | None, list[CameraEvent]]:
        try:
            return self._picker.choose(capture, now_ns)
        except ValueError as error:
            msg = f"{self._device.name}: {error}"
            raise SourceError(msg) from error

    def _sort(
        self, capture: Capture, chosen: Capture | None, events: list[CameraEvent], now_ns: int
    ) -> None:
        """Keep a picture where it counts; what is not kept is counted. The lock is held."""
        failed = capture.pixels is None
        self._events += events
        self._counts["pictures"] += 1
        self._counts["failed"] += failed
        self._counts["skipped"] += chosen is None and not failed
        if chosen is not None:
            self._keep(chosen, now_ns)

    def _keep(self, capture: Capture, now_ns: int) -> None:
        """Let a picture wait: of a free-running camera the freshest, of others every one."""
        self._active_ns = now_ns
        skipped, unaccounted = self._backlog.put(capture)
        self._counts["skipped"] += skipped
        self._counts["unaccounted"] += unaccounted
        self._wakeup.set()

    def _opened(self) -> None:
        now_ns = self._clock.monotonic_ns()
        self._heard_ns = now_ns
        with self._lock:
            self._opening = self._counts["openings"] + 1
            self._counts["openings"] += 1
            self._active_ns = self._beat_ns = now_ns
            self._picker.begin_again()
            self._distrust = ""
        if self.counts_triggers and not self._settings.comes_back:
            self._found(now_ns)

    def _found(self, now_ns: int) -> None:
        """Take note that the camera is there; a free-running one has to show a picture first."""
        with self._lock:
            if self._lost is None:
                return
            away_s = round((now_ns - self._lost_ns) / NS_PER_S, 3)
            kind = "camera_back" if self._counts["losses"] else "camera_opened"
            name, opening = self._device.name, self._opening
            self._events.append(
                CameraEvent(kind, {"name": name, "opening": opening, "away_s": away_s})
            )
            self._lost = None
        self._wakeup.set()
        log.info("%s: there after %.1f s", self._device.name, away_s)

    def _lose(self, reason: str) -> None:
        """Take note that the camera is not there; one loss is said once."""
        if self._closing.is_set():
            return
        with self._lock:
            known = bool(self._lost)
            if self._lost is None:
                self._lost_ns = self._clock.monotonic_ns()
            self._lost = reason or "lost"
            if not known:
                self._counts["losses"] += 1
                self._events.append(CameraEvent("camera_lost", {"why": reason}))
        if known:
            log.debug("%s", reason)
        else:
            log.warning("%s; tried again until it is there", reason)
        self._wakeup.set()

    def _let_go(self) -> None:
        try:
            self._device.close()
        except Exception:  # what is broken need not close well
            log.exception("%s: closing", self._device.name)

    def _pause_s(self) -> float:
        """Return how long to wait before the next opening: doubled each time, to a limit."""
        doubled_s = REOPEN_FIRST_S * float(2 ** min(self._tries, 16))
        pause_s = min(doubled_s, self._settings.reopen_limit_s)
        self._tries += 1
        return pause_s * self._rng.uniform(1 - JITTER, 1 + JITTER)
