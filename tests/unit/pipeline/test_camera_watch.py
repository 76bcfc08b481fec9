"""A camera that is silent is lost; one that said goodbye is no fault."""

from __future__ import annotations

from factories import BOOT

from edge.contract import CameraCounts
from edge.wire import CameraHere, CameraLeft
from pipeline.camera_watch import SILENCE_NS, CameraWatch

GRACE_NS = 60_000_000_000
HERE = CameraHere(camera="c1", boot=BOOT, state="ONLINE")


def test_unknown_camera_has_time_to_come() -> None:
    """Before its grace is over a camera has no state; afterwards it is LOST."""
    watch = CameraWatch(["c1"], 0, GRACE_NS)

    assert watch.states(GRACE_NS) == {}
    assert watch.states(GRACE_NS + 1) == {"c1": "LOST"}
    assert watch.lost(GRACE_NS + 1) == {"c1"}


def test_silence_is_loss() -> None:
    """A camera is what it said, until it is silent for too long."""
    watch = CameraWatch(["c1", "c2"], 0, GRACE_NS)
    watch.heard(HERE, 0)

    assert watch.states(SILENCE_NS) == {"c1": "ONLINE"}
    assert watch.states(SILENCE_NS + 1) == {"c1": "LOST"}
    watch.heard(HERE.model_copy(update={"state": "NO_TRIGGER"}), SILENCE_NS + 2)
    assert watch.states(SILENCE_NS + 3) == {"c1": "NO_TRIGGER"}
    assert watch.lost(SILENCE_NS + 3) == set()


def test_goodbye_is_no_fault() -> None:
    """A camera that stopped as it was asked to is LOST for screens, and missed by nobody."""
    watch = CameraWatch(["c1"], 0, GRACE_NS)
    watch.heard(HERE, 0)
    watch.left(CameraLeft(camera="c1", boot=BOOT), 1)

    assert watch.states(2) == {"c1": "LOST"}
    assert watch.lost(10 * SILENCE_NS) == set()


def test_stranger_is_no_camera_of_this_line() -> None:
    """Only the cameras of the config have a state."""
    watch = CameraWatch(["c1"], 0, GRACE_NS)
    watch.heard(CameraHere(camera="other", boot=BOOT, state="ONLINE"), 0)

    assert watch.states(1) == {}


def test_frozen_camera_is_missed() -> None:
    """A camera that repeats its picture is there, and of no use."""
    watch = CameraWatch(["c1"], 0, GRACE_NS)
    watch.heard(HERE.model_copy(update={"state": "STALE"}), 0)

    assert watch.states(1) == {"c1": "STALE"}
    assert watch.lost(1) == {"c1"}


def test_lost_camera_can_be_told() -> None:
    """Deaf is who does not speak: a lost camera's ingest still takes the parts that pass it."""
    watch = CameraWatch(["c1", "c2"], 0, GRACE_NS)
    watch.heard(HERE.model_copy(update={"state": "LOST"}), 0)

    assert not watch.deaf("c1", SILENCE_NS)
    assert watch.deaf("c1", SILENCE_NS + 1)
    assert watch.deaf("c2", 0)
    watch.left(CameraLeft(camera="c1", boot=BOOT), 1)
    assert watch.deaf("c1", 2)


def test_counts_outlive_the_goodbye() -> None:
    """What a camera has counted is known until its process is heard of again."""
    watch = CameraWatch(["c1"], 0, GRACE_NS)
    counts = CameraCounts(frames=3)
    watch.heard(HERE.model_copy(update={"counts": counts}), 0)
    watch.left(CameraLeft(camera="c1", boot=BOOT), 1)

    assert watch.counts() == {"c1": counts}
