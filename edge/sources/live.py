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
from collections import Counter, deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edge.sources import CameraEvent, Source, SourceError
from edge.sources.motion import MotionSettings, PartDetector
from edge.wakeup import Wakeup

if TYPE_CHECKING:
    from edge.clock import Clock
    from edge.frame import CameraState
    from edge.sources import Capture
    from edge.sources.device import Device, Trigger

log = logging.getLogger(__name__)

NS_PER_S = 1_000_000_000
GRAB_S = 0.1
ALIVE_NS = NS_PER_S
"""A silent camera is asked so often whether it is there."""
REOPEN_FIRST_S = 0.1
JITTER = 0.25
"""Of each wait, so that the cameras behind one failed switch do not all ask at once."""
WAITING_LIMIT = 16
"""Pictures of triggered parts that wait for ingest; at 12 megapixels 200 MB."""
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
        self._detector = PartDetector(settings.motion) if settings.motion is not None else None
        self._lock = threading.Lock()
        self._waiting: deque[Capture] = deque()
        self._events: list[CameraEvent] = []
        self._counts: Counter[str] = Counter()
        self._lost: str | None = ""
        """Why the camera is not there, empty while it was never tried; None while it is."""
        self._lost_ns = self._heard_ns = self._active_ns = clock.monotonic_ns()
        self._wanted_ns: int | None = None
        """Since when a picture is asked of a device that cannot be triggered."""
        self._distrust = ""
        self._opening = 0
        self._tries = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name=device.name, daemon=True)
        self._thread.start()

    def read(self) -> Capture | None:
        """Return the next picture that waits."""
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def trigger(self) -> None:
        """Ask for one picture now; that the camera does not obey is its loss."""
        if not self._device.can_trigger:
            with self._lock:
                self._wanted_ns = self._clock.monotonic_ns()
            return
        try:
            self._device.trigger()
        except SourceError as error:
            self.reopen(str(error))
        except Exception as error:  # a driver's own fault must not end ingest
            log.exception("%s: trigger", self._device.name)
            self.reopen(f"{type(error).__name__}: {error}")

    def reopen(self, reason: str) -> None:
        """Let the thread close the device and open it anew."""
        with self._lock:
            self._distrust = reason

    @property
    def state(self) -> CameraState:
        """LOST, or ONLINE, or NO_TRIGGER where no part has been seen for long."""
        with self._lock:
            if self._lost is not None:
                return "LOST"
            idle_ns = self._clock.monotonic_ns() - self._active_ns
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
        capture = self._device.grab(GRAB_S)
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            distrust, self._distrust = self._distrust, ""
        if distrust:
            raise SourceError(distrust)
        if capture is not None:
            self._heard_ns, self._tries = now_ns, 0
            self._found(now_ns)
            opening = self._opening * OPENINGS_OF_A_DEVICE + capture.opening
            self._sort(replace(capture, opening=opening), now_ns)
        elif self._settings.trigger in {"free", "motion"}:
            silent_s = (now_ns - self._heard_ns) / NS_PER_S
            if silent_s > self._settings.frame_timeout_s:
                msg = f"{self._device.name}: no picture for {silent_s:.1f} s"
                raise SourceError(msg)
        elif now_ns - self._heard_ns > ALIVE_NS:
            self._ask_whether_alive(now_ns)

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

    def _sort(self, capture: Capture, now_ns: int) -> None:
        """Keep a picture where it counts; what is not kept is counted."""
        failed = capture.pixels is None
        with self._lock:
            self._counts["pictures"] += 1
            self._counts["failed"] += failed
        chosen: Capture | None = capture
        if self._detector is not None:
            chosen = None if failed else self._part_in(self._detector, capture, now_ns)
        elif self._settings.trigger == "software" and not self._device.can_trigger:
            chosen = capture if self._is_wanted(capture) else None
        if chosen is not None:
            self._keep(chosen, now_ns)
        elif not failed:
            with self._lock:
                self._counts["skipped"] += 1

    def _part_in(self, detector: PartDetector, capture: Capture, now_ns: int) -> Capture | None:
        relearned = detector.relearned
        try:
            chosen = detector.see(capture, now_ns)
        except ValueError as error:
            msg = f"{self._device.name}: {error}"
            raise SourceError(msg) from error
        if detector.relearned > relearned:
            with self._lock:
                self._events.append(CameraEvent("belt_relearned", {"times": detector.relearned}))
        return chosen

    def _is_wanted(self, capture: Capture) -> bool:
        """Tell whether a picture is the first after a trigger, and answer the trigger with it."""
        with self._lock:
            wanted = self._wanted_ns is not None and (capture.arrived_ns or 0) >= self._wanted_ns
            if wanted:
                self._wanted_ns = None
        return wanted

    def _keep(self, capture: Capture, now_ns: int) -> None:
        """Let a picture wait: of a free-running camera the freshest, of others every one."""
        with self._lock:
            self._active_ns = now_ns
            if not self.every_picture_counts and self._waiting:
                self._waiting.clear()
                self._counts["skipped"] += 1
            self._waiting.append(capture)
            self._make_room()
        self._wakeup.set()

    def _make_room(self) -> None:
        """Take the pixels, not the account, of the oldest picture where too many wait."""
        heavy = [i for i, one in enumerate(self._waiting) if one.pixels is not None]
        if len(heavy) > WAITING_LIMIT:
            detail = f"{WAITING_LIMIT} pictures waited for ingest"
            oldest = self._waiting[heavy[0]]
            self._waiting[heavy[0]] = replace(oldest, pixels=None, fault=detail, loss="dropped")

    def _opened(self) -> None:
        now_ns = self._clock.monotonic_ns()
        self._heard_ns = now_ns
        with self._lock:
            self._opening = self._counts["openings"] + 1
            self._counts["openings"] += 1
            self._active_ns = now_ns
            self._wanted_ns = None
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
