"""A live camera is opened for ever, and its silence is never mistaken for an empty belt."""

from __future__ import annotations

import queue
import random
import select
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge.clock import SystemClock
from edge.sources import CameraMissingError, Capture, SourceError
from edge.sources.backlog import PICTURES
from edge.sources.live import HANG_S, LiveSettings, LiveSource
from edge.sources.motion import MotionSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.sources.device import Trigger

LIMIT_S = 10.0


class StandInDevice:
    """A camera that does what the test says, through the interface of every device."""

    name = "stand-in 7"

    def __init__(self, *, can_trigger: bool = True) -> None:
        """Be there, alive, and silent."""
        self.can_trigger = can_trigger
        self.there = self.alive = True
        self.openings = self.closings = self.triggers = 0
        self.pictures: queue.Queue[Capture | Exception] = queue.Queue()
        self.opened = threading.Event()
        self.hangs, self.hanging = threading.Event(), threading.Event()

    def open(self) -> None:
        """Open, where the test lets it be there."""
        if not self.there:
            msg = f"{self.name}: no such camera"
            raise CameraMissingError(msg)
        self.openings += 1
        self.opened.set()

    def grab(self, timeout_s: float) -> Capture | None:
        """Return the test's next picture, or raise its next error; hang while the test says so."""
        while self.hangs.is_set():
            self.hanging.set()
            time.sleep(0.001)
        try:
            one = self.pictures.get(timeout=min(timeout_s, 0.01))
        except queue.Empty:
            return None
        if isinstance(one, Exception):
            raise one
        return one

    def trigger(self) -> None:
        """Expose: the picture comes at once."""
        self.triggers += 1
        self.pictures.put(shot(self.triggers))

    def is_alive(self) -> bool:
        """Tell what the test says."""
        return self.alive

    def close(self) -> None:
        """Count."""
        self.closings += 1


def shot(number: int = 0, **fields: Any) -> Capture:
    """Return a picture of one value that has just arrived."""
    pixels: Any = np.full((8, 8), number, np.uint8)
    return Capture(
        **({"pixels": pixels, "counter": number, "arrived_ns": time.monotonic_ns()} | fields)
    )


class SteppedClock(SystemClock):
    """The monotonic clock, with steps that the test takes."""

    def __init__(self) -> None:
        """Begin without any."""
        self._steps_ns = 0

    def monotonic_ns(self) -> int:
        """Return the time and all steps."""
        return super().monotonic_ns() + self._steps_ns

    def advance_ms(self, ms: int) -> None:
        """Let time pass at once."""
        self._steps_ns += ms * 1_000_000


class Rig:
    """A live source and its device."""

    def __init__(
        self,
        device: StandInDevice,
        trigger: Trigger = "free",
        clock: SystemClock | None = None,
        **settings: Any,
    ) -> None:
        """Start the source's thread."""
        self.device = device
        limits = {"reopen_limit_s": 0.02, "frame_timeout_s": 60.0} | settings
        self.source = LiveSource(
            device,
            LiveSettings(trigger, **limits),
            clock or SystemClock(),
            random.Random(0),  # noqa: S311 - jitter
        )
        self.events: list[str] = []

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until something holds."""
        end = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < end, f"no {what} within {LIMIT_S} s"
            self.events += [event.kind for event in self.source.take_events()]
            time.sleep(0.001)
        self.events += [event.kind for event in self.source.take_events()]

    def next(self) -> Capture:
        """Return the next picture."""
        found: list[Capture] = []

        def has_one() -> bool:
            capture = self.source.read()
            found.extend([capture] if capture is not None else [])
            return bool(found)

        self.until(has_one, "picture")
        return found[0]


@pytest.fixture
def start() -> Iterator[Callable[..., Rig]]:
    """Start live sources; they are closed after the test."""
    rigs: list[Rig] = []

    def make(*arguments: Any, **settings: Any) -> Rig:
        rigs.append(Rig(*arguments, **settings))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.source.close()


def test_free_camera_is_there_with_its_first_picture(start: Callable[..., Rig]) -> None:
    """That a free-running camera could be opened proves nothing; its picture does."""
    rig = start(StandInDevice())
    assert rig.device.opened.wait(LIMIT_S)
    opened = rig.source.state

    rig.device.pictures.put(shot(5))
    picture = rig.next()

    assert opened == "LOST"
    assert (picture.counter, rig.source.state) == (5, "ONLINE")
    assert rig.events == ["camera_opened"]


def test_triggered_camera_is_there_once_opened(start: Callable[..., Rig]) -> None:
    """A triggered camera sends nothing before the first part; that it answers is enough."""
    rig = start(StandInDevice(), "hardware")

    rig.until(lambda: rig.source.state == "ONLINE", "ONLINE")

    assert rig.source.counts_triggers


def test_absent_camera_is_tried_for_ever(start: Callable[..., Rig]) -> None:
    """A camera that is not there is no error: it is LOST, said once, until it comes."""
    device = StandInDevice()
    device.there = False
    rig = start(device, "hardware")
    rig.until(lambda: device.closings > 5, "tries")
    absent = rig.source.state

    device.there = True
    rig.until(lambda: rig.source.state == "ONLINE", "ONLINE")

    assert absent == "LOST"
    assert rig.events == ["camera_lost", "camera_back"]
    assert rig.source.counts["losses"] == rig.source.counts["openings"] == 1


def test_who_gets_a_picture_finds_the_camera_there(
    start: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture that can be read is counted, and of a camera that is ONLINE."""
    rig = start(StandInDevice())
    found: list[tuple[Capture | None, str, int]] = []
    wakeup = rig.source._wakeup
    wake = wakeup.set

    def read() -> None:
        picture = rig.source.read()
        found.append((picture, rig.source.state, rig.source.counts["pictures"]))

    def read_at_once() -> None:
        wake()
        reader = threading.Thread(target=read)
        reader.start()
        reader.join(0.05)  # it may have to wait until the picture is accounted for

    monkeypatch.setattr(wakeup, "set", read_at_once)
    rig.device.pictures.put(shot())
    rig.until(lambda: len(found) > 0 and found[0][0] is not None, "picture")

    assert found[0][1:] == ("ONLINE", 1)


@pytest.mark.parametrize(
    "error", [SourceError("pulled out"), RuntimeError("the driver is confused")]
)
def test_lost_camera_comes_back(start: Callable[..., Rig], error: Exception) -> None:
    """Whatever a driver raises, the camera is LOST, opened again, and ONLINE with a picture."""
    rig = start(StandInDevice())
    rig.device.pictures.put(shot(1))
    first = rig.next()

    rig.device.pictures.put(error)
    rig.until(lambda: rig.source.state == "LOST", "LOST")
    rig.device.pictures.put(shot(2))
    second = rig.next()

    assert rig.source.state == "ONLINE"
    assert rig.events == ["camera_opened", "camera_lost", "camera_back"]
    assert first.opening != second.opening
    assert rig.device.closings == 1


def test_silent_free_camera_is_lost(start: Callable[..., Rig]) -> None:
    """A camera that should run by its own clock and sends nothing is opened anew."""
    rig = start(StandInDevice(), frame_timeout_s=0.05)
    rig.device.pictures.put(shot())
    rig.next()

    rig.until(lambda: rig.device.openings > 1, "second opening")

    assert "camera_lost" in rig.events


def test_triggered_camera_without_trigger_is_no_dead_one(start: Callable[..., Rig]) -> None:
    """Without a trigger for idle_s a camera that answers is NO_TRIGGER, and not opened anew."""
    clock = SteppedClock()
    rig = start(StandInDevice(), "hardware", clock=clock, idle_s=30.0)
    rig.until(lambda: rig.source.state == "ONLINE", "ONLINE")
    clock.advance_ms(31_000)
    rig.until(lambda: rig.source.state == "NO_TRIGGER", "NO_TRIGGER")

    rig.device.pictures.put(shot())
    rig.until(lambda: rig.source.state == "ONLINE", "ONLINE with the next picture")
    clock.advance_ms(31_000)
    rig.until(lambda: rig.source.state == "NO_TRIGGER", "NO_TRIGGER again")

    assert rig.device.openings == 1


def test_triggered_camera_that_does_not_answer_is_lost(start: Callable[..., Rig]) -> None:
    """A triggered camera that is silent is asked whether it is there."""
    rig = start(StandInDevice(), "hardware")
    rig.until(lambda: rig.source.state == "ONLINE", "ONLINE")
    rig.device.there = rig.device.alive = False

    rig.until(lambda: rig.source.state == "LOST", "LOST")

    assert "camera_lost" in rig.events


def test_device_that_others_connect_to_is_not_opened_anew(start: Callable[..., Rig]) -> None:
    """Where the peers went and come back by themselves, what is on its way must not be cut off."""
    rig = start(StandInDevice(), "hardware", comes_back=True)
    rig.device.alive = False
    rig.until(lambda: "camera_lost" in rig.events, "loss")

    rig.device.pictures.put(shot(3))
    rig.next()

    assert rig.source.state == "ONLINE"
    assert (rig.device.openings, rig.device.closings) == (1, 0)


def test_free_camera_keeps_the_freshest(start: Callable[..., Rig]) -> None:
    """What nobody asked for in time is skipped and counted."""
    rig = start(StandInDevice())
    for number in range(5):
        rig.device.pictures.put(shot(number))

    rig.until(lambda: rig.source.counts["pictures"] == 5, "five pictures")

    assert rig.next().counter == 4
    assert rig.source.counts["skipped"] == 4


def test_triggered_camera_keeps_every_account(start: Callable[..., Rig]) -> None:
    """Each picture of a trigger is a part: where too many wait, pixels go, accounts stay."""
    rig = start(StandInDevice(), "hardware")
    count = PICTURES + 3
    for number in range(count):
        rig.device.pictures.put(shot(number))
    rig.until(lambda: rig.source.counts["pictures"] == count, "all pictures")

    pictures = [rig.next() for _ in range(count)]

    assert [picture.counter for picture in pictures] == list(range(count))
    without = [picture for picture in pictures if picture.pixels is None]
    assert [picture.counter for picture in without] == [0, 1, 2]
    assert {(p.loss, p.fault) for p in without} == {("dropped", "16 pictures waited for ingest")}


def test_failed_buffers_are_handed_over(start: Callable[..., Rig]) -> None:
    """A buffer that failed is a picture without pixels, counted as such."""
    rig = start(StandInDevice(), "hardware")
    rig.device.pictures.put(shot(1, pixels=None, fault="buffer failed: underrun"))

    picture = rig.next()

    assert picture.fault == "buffer failed: underrun"
    assert rig.source.counts["failed"] == 1


def test_software_trigger_reaches_the_camera(start: Callable[..., Rig]) -> None:
    """A camera that can be triggered exposes when it is asked."""
    rig = start(StandInDevice(), "software")
    rig.until(lambda: rig.source.state == "ONLINE", "ONLINE")

    rig.source.trigger()

    assert rig.next().counter == 1


def test_trigger_of_a_free_camera_picks_a_picture(start: Callable[..., Rig]) -> None:
    """A camera that cannot be triggered yields the first picture after each trigger."""
    device = StandInDevice(can_trigger=False)
    rig = start(device, "software")
    rig.until(lambda: rig.source.state == "ONLINE", "ONLINE")
    before = shot(1)

    rig.source.trigger()
    for picture in (before, shot(2), shot(3)):
        device.pictures.put(picture)
    rig.until(lambda: rig.source.counts["pictures"] == 3, "three pictures")

    assert rig.next().counter == 2
    assert rig.source.read() is None
    assert rig.source.counts["skipped"] == 2


def test_parts_are_picked_by_motion(start: Callable[..., Rig]) -> None:
    """With ``motion`` the camera is LOST until the belt is known; then each part is handed over."""
    clock = SteppedClock()
    rig = start(StandInDevice(), "motion", motion=MotionSettings(), clock=clock)
    rng = np.random.default_rng(0)

    def show(value: int) -> None:
        seen = rig.source.counts["pictures"]
        clock.advance_ms(100)
        pixels = np.clip(rng.normal(value, 2, (32, 32)), 0, 255).astype(np.uint8)
        rig.device.pictures.put(shot(value, pixels=pixels))
        rig.until(lambda: rig.source.counts["pictures"] > seen, "the picture")

    while rig.source.state == "LOST":
        show(50)
    for value in (50, 200, 200, 200, 200, 50, 50):
        show(value)

    assert rig.next().counter == 200
    assert rig.source.read() is None
    assert "camera_lost" in rig.events


def test_frozen_camera_shows_in_the_pictures_that_do_not_count(start: Callable[..., Rig]) -> None:
    """A camera that repeats one picture is STALE, though none of its pictures is of a part."""
    device = StandInDevice(can_trigger=False)
    rig = start(device, "software", stale_frames=3)
    for _ in range(3):
        device.pictures.put(shot(7))
    rig.until(lambda: rig.source.state == "STALE", "STALE")

    device.pictures.put(shot(8))
    rig.until(lambda: "camera_fresh" in rig.events, "word that it shows what is new")

    assert rig.source.state == "ONLINE"
    assert rig.events[-2:] == ["camera_stale", "camera_fresh"]


def test_failed_pictures_alone_are_no_camera(start: Callable[..., Rig]) -> None:
    """A free-running camera of which every buffer fails is lost like a silent one."""
    rig = start(StandInDevice(), frame_timeout_s=0.2)
    rig.device.pictures.put(shot())
    rig.next()

    def fails() -> bool:
        rig.device.pictures.put(shot(1, pixels=None, fault="underrun"))
        return rig.source.state == "LOST"

    rig.until(fails, "LOST")


def test_driver_that_does_not_return_is_a_lost_camera(start: Callable[..., Rig]) -> None:
    """A driver that hangs cannot keep a camera ONLINE; once it returns, the camera is back."""
    clock = SteppedClock()
    rig = start(StandInDevice(), "hardware", clock=clock, frame_timeout_s=1.0)
    rig.until(lambda: rig.source.state == "ONLINE", "ONLINE")
    rig.device.hangs.set()
    rig.device.hanging.wait(LIMIT_S)

    clock.advance_ms(round(1000 * (1.0 + HANG_S)) + 1)
    hung = rig.source.state
    rig.device.hangs.clear()
    rig.device.pictures.put(shot())
    rig.until(lambda: rig.source.state == "ONLINE", "ONLINE again")

    assert hung == "LOST"
    assert rig.events == ["camera_opened", "camera_lost", "camera_back"]


def test_latency_is_taken_off(start: Callable[..., Rig]) -> None:
    """A picture without a camera's clock was taken ``latency_s`` before it arrived."""
    rig = start(StandInDevice(), "hardware", latency_s=0.5)
    arrived = time.monotonic_ns()
    rig.device.pictures.put(shot(arrived_ns=arrived))
    rig.device.pictures.put(shot(arrived_ns=arrived, camera_ns=77))

    without, with_clock = rig.next(), rig.next()

    assert without.arrived_ns == arrived - 500_000_000
    assert with_clock.arrived_ns == arrived


def test_distrust_opens_anew(start: Callable[..., Rig]) -> None:
    """A camera that shows nonsense is closed and opened again, with the reason in the ledger."""
    rig = start(StandInDevice(), "hardware")
    rig.until(lambda: rig.source.state == "ONLINE", "ONLINE")

    rig.source.reopen("red and blue are exchanged")
    rig.until(lambda: rig.device.openings == 2, "second opening")

    assert "camera_lost" in rig.events


def test_distrusted_pushers_are_not_cut_off(start: Callable[..., Rig]) -> None:
    """Where others push, a new opening is a new number, and nothing on its way is lost."""
    rig = start(StandInDevice(), "hardware", comes_back=True)
    rig.device.pictures.put(shot(1))
    first = rig.next()

    rig.source.reopen("red and blue are exchanged")
    rig.until(lambda: rig.source.counts["openings"] == 2, "second opening")
    rig.device.pictures.put(shot(2))

    assert rig.next().opening > first.opening
    assert (rig.device.openings, rig.device.closings) == (1, 0)


def test_waiting_picture_wakes_a_poller(start: Callable[..., Rig]) -> None:
    """Ingest need not ask: the descriptor is readable once a picture waits."""
    rig = start(StandInDevice(), "hardware")
    wakeup = rig.source.wakeup
    assert wakeup is not None
    opened, _, _ = select.select([wakeup.fileno()], [], [], LIMIT_S)
    wakeup.clear()

    rig.device.pictures.put(shot())
    readable, _, _ = select.select([wakeup.fileno()], [], [], LIMIT_S)

    assert opened
    assert readable
    assert rig.source.read() is not None


def test_close_ends_the_thread(start: Callable[..., Rig]) -> None:
    """After close the device is let go, the thread has ended, and no loss is told."""
    rig = start(StandInDevice())
    assert rig.device.opened.wait(LIMIT_S)

    rig.source.close()
    rig.source.close()
    rig.source._thread.join(LIMIT_S)

    assert rig.device.closings == 1
    assert not rig.source._thread.is_alive()
    assert rig.source.take_events() == []


def test_pauses_grow_to_the_limit_with_jitter() -> None:
    """Each try waits twice as long as the one before, to a limit, a quarter more or less."""
    device = StandInDevice()
    rig = Rig(device, "hardware", reopen_limit_s=2.0)
    rig.source.close()
    rig.source._thread.join(LIMIT_S)
    rig.source._tries = 0

    pauses = [rig.source._pause_s() for _ in range(8)]

    exact = [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    assert all(
        0.75 * limit <= pause <= 1.25 * limit for pause, limit in zip(pauses, exact, strict=True)
    )
    assert len(set(pauses)) == len(pauses)
