"""The scorer's loop over real sockets: orders of the gate, frames of a camera, no network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tomli_w
import zmq
from factories import BOOT, config, frame, moment
from ingest_rig import FakeClock
from stand_in_scorer import StandInInspector

from edge.sockets import Context, Socket, bind_router, connect_dealer
from edge.wire import (
    Hello,
    Note,
    Order,
    Ordered,
    ScorerLeft,
    ScorerUp,
    decode_note,
    encode_frame,
    encode_note,
)
from pipeline.gate import Gate
from pipeline.inspection import decode_inspection
from pipeline.scoring import PRESENCE_NS, Scoring

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.inspection import Inspection

LIMIT_MS = 20_000
ROOT = Path(__file__).parents[3]


class Plant:
    """A gate and a camera at the two ends of a scorer."""

    def __init__(self, context: Context, settings: Config) -> None:
        """Bind for the scorer and connect to it as camera c1."""
        self.settings = settings
        self.gate: Socket = bind_router(context, settings.endpoint("inspections"))
        self.camera: Socket = connect_dealer(context, settings.endpoint("frames"), "c1")
        self.scorer = b""
        self.heard: list[Note] = []
        self.inspections: list[Inspection] = []

    def send_frames(self, *seqs: int, value: int | None = None) -> None:
        """Send frames as the camera."""
        assert self.camera.poll(LIMIT_MS, zmq.POLLOUT), "the scorer takes nothing"
        for seq in seqs:
            pixels = None if value is None else np.full((28, 28), value, np.uint8)
            self.camera.send_multipart(list(encode_frame(frame(seq, pixels))))

    def send_order(self, number: int, verb: Any, recipe: str = "default") -> None:
        """Send an order as the gate."""
        self.send_gate(encode_note(Order(order=f"{number:016x}", verb=verb, recipe=recipe)))

    def send_gate(self, body: bytes) -> None:
        """Send anything as the gate."""
        self.gate.send_multipart([self.scorer, body])

    def listen(self, limit_ms: int = 50) -> None:
        """Take what the scorer has said, once there is silence."""
        while self.gate.poll(limit_ms):
            self.scorer, *parts = self.gate.recv_multipart()
            if len(parts) == 1:
                self.heard.append(decode_note(parts[0]))
            elif parts[0] == b"inspection":
                self.inspections.append(decode_inspection(parts[1:]))

    def expect(self, *, notes: int = 0, inspections: int = 0) -> None:
        """Listen until the scorer has said this much in all."""
        while len(self.heard) < notes or len(self.inspections) < inspections:
            assert self.gate.poll(LIMIT_MS), "the scorer says nothing"
            self.listen(0)


class Rig(Plant):
    """The plant around a scorer that works step by step."""

    def __init__(self, context: Context, folder: Path, batch_frames: int = 1) -> None:
        """Start everything, and wait until the scorer has said that it is there."""
        settings = config(
            line={"state_path": str(folder)}, window={"size_frames": 10, "min_peers": 2}
        )
        super().__init__(context, settings)
        self.clock = FakeClock()
        self.box = StandInInspector(settings, sleep=lambda _s: None, batch_frames=batch_frames)
        self.scoring = Scoring(settings, self.box, "0badcafe", self.clock, context)
        assert self.scoring._gate.poll(LIMIT_MS, zmq.POLLOUT), "no gate"
        self.scoring.step()
        self.expect(notes=1)
        assert self.heard == [ScorerUp(scorer=self.boot, model="0badcafe", recipe="default")]
        self.heard.clear()

    @property
    def boot(self) -> str:
        """The scorer's boot."""
        return self.scoring._boot

    def step(self, *, notes: int = 0, inspections: int = 0) -> None:
        """Let the scorer work once, and hear at least so much in all."""
        self.scoring.step()
        self.expect(notes=notes, inspections=inspections)
        self.listen()

    def hold(self, *seqs: int) -> None:
        """Send frames, let the scorer take all of them, and inspect none yet."""
        self.send_frames(*seqs)
        while len(self.scoring._held) < len(seqs):
            self.arrive(self.scoring._cameras)
            self.scoring._take_messages()

    def order(self, number: int, verb: Any, recipe: str = "default") -> None:
        """Send an order, and wait until it has arrived."""
        self.send_order(number, verb, recipe)
        self.arrive(self.scoring._gate)

    def arrive(self, socket: Socket) -> None:
        """Wait until something has arrived at a socket of the scorer."""
        assert socket.poll(LIMIT_MS), "nothing arrived"


@pytest.fixture
def rig(zmq_context: Context, ipc_folder: Path) -> Rig:
    """A scorer between a gate and a camera."""
    return Rig(zmq_context, ipc_folder)


def test_recipe_order_counts_from_when_it_is_read(rig: Rig) -> None:
    """Frames that are held when the order is read are inspected under the new recipe, WARMING."""
    rig.hold(1, 2, 3, 4, 5)
    for inspected in (1, 2, 3):
        rig.step(inspections=inspected)

    rig.order(1, "recipe", "lid")
    for inspected in (4, 5):
        rig.step(inspections=inspected)

    assert [one.recipe for one in rig.inspections] == ["default"] * 3 + ["lid"] * 2
    assert [one.verdict for one in rig.inspections] == [
        "NO_RESULT", "NO_RESULT", "PASS", "NO_RESULT", "NO_RESULT",
    ]  # fmt: skip
    assert {one.why for one in rig.inspections[3:]} == {"warming"}


def test_fast_camera_does_not_starve_a_slow_one(rig: Rig, zmq_context: Context) -> None:
    """A frame of a slow camera is inspected after one frame of the fast one, not after all."""
    slow: Socket = connect_dealer(zmq_context, rig.settings.endpoint("frames"), "c2")
    rig.hold(*range(1, 21))
    rig.step(inspections=1)
    assert slow.poll(LIMIT_MS, zmq.POLLOUT), "the scorer takes nothing"
    slow.send_multipart(list(encode_frame(frame(1, camera="c2"))))
    rig.arrive(rig.scoring._cameras)

    for inspected in (2, 3):
        rig.step(inspections=inspected)

    seen = [(one.announcement.camera, one.announcement.seq) for one in rig.inspections]
    assert seen == [("c1", 1), ("c1", 2), ("c2", 1)]


def test_frames_that_wait_share_a_batch(zmq_context: Context, ipc_folder: Path) -> None:
    """As many frames as the inspector likes are inspected at once, and each one is answered."""
    rig = Rig(zmq_context, ipc_folder, batch_frames=3)
    rig.hold(1, 2, 3, 4)

    rig.step(inspections=3)
    rig.step(inspections=4)

    assert rig.box.batches == [3]
    assert [one.announcement.seq for one in rig.inspections] == [1, 2, 3, 4]
    assert rig.scoring._links[b"c1"].settled == 4


def test_order_holds_for_the_whole_batch_after_it(zmq_context: Context, ipc_folder: Path) -> None:
    """No frame of a batch that begins after an order was read is inspected under the old recipe."""
    rig = Rig(zmq_context, ipc_folder, batch_frames=2)
    rig.hold(1, 2, 3, 4)
    rig.step(inspections=2)

    rig.order(1, "recipe", "lid")
    rig.step(inspections=4)

    assert [one.recipe for one in rig.inspections] == ["default", "default", "lid", "lid"]


def test_change_is_told_at_once(rig: Rig) -> None:
    """Answer and new recipe leave in the step that read the order, not at the next beat."""
    rig.clock.advance_ms(10)
    rig.order(1, "recipe", "lid")

    rig.step(notes=2)

    answer, up = rig.heard
    assert isinstance(answer, Ordered)
    assert (answer.ok, answer.code) == (True, "done")
    assert up == ScorerUp(scorer=rig.boot, model="0badcafe", recipe="lid")


def test_repeated_order_is_answered_again(rig: Rig) -> None:
    """An order that the gate repeats is answered each time, and its windows stay as they are."""
    rig.order(1, "reset")
    rig.step(notes=2)
    rig.hold(1, 2)
    for inspected in (1, 2):
        rig.step(inspections=inspected)

    rig.order(1, "reset")
    rig.hold(3)
    rig.step(notes=4, inspections=3)

    answers = [note for note in rig.heard if isinstance(note, Ordered)]
    assert len(answers) == 2
    assert answers[0] == answers[1]
    assert rig.inspections[-1].verdict == "PASS"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"rubbish", "the scorer refused a message from the gate: not a note"),
        (b'{"kind":"order","order":"0000000000000001","verb":"explode","recipe":"r"}', "verb"),
        (b"x" * 9000, "9000 bytes, the limit is"),
        (encode_note(Hello(camera="c1", boot=BOOT, sent=0)), "takes no hello from the gate"),
    ],
)
def test_what_is_no_order_is_refused(
    rig: Rig, caplog: pytest.LogCaptureFixture, body: bytes, complaint: str
) -> None:
    """What is no order is logged and changes nothing; the scorer goes on."""
    rig.send_gate(body)
    rig.arrive(rig.scoring._gate)

    rig.hold(1)
    rig.step(inspections=1)

    assert complaint in caplog.text
    assert [one.recipe for one in rig.inspections] == ["default"]
    assert not [note for note in rig.heard if isinstance(note, Ordered)]


def test_presence_has_its_beat(rig: Rig) -> None:
    """The gate hears five times a second that the scorer is there, and with which recipe."""
    rig.clock.advance_ms(PRESENCE_NS // 1_000_000 - 1)
    rig.step()
    early = list(rig.heard)

    rig.clock.advance_ms(1)
    rig.step(notes=1)

    assert early == []
    assert rig.heard == [ScorerUp(scorer=rig.boot, model="0badcafe", recipe="default")]


def test_order_wakes_a_waiting_scorer(rig: Rig) -> None:
    """A scorer without frames answers an order in its run, and says farewell at the end."""
    rig.order(1, "reset")
    rounds = 0

    def stop() -> bool:
        nonlocal rounds
        rounds += 1
        return rounds > 2

    rig.scoring.run(stop)
    rig.expect(notes=3)

    kinds = [type(note) for note in rig.heard]
    assert kinds[0] is Ordered
    assert kinds[-1] is ScorerLeft


def test_a_pass_without_a_number_never_passes(zmq_context: Context, ipc_folder: Path) -> None:
    """A PASS whose score is NaN arrives without a score, and the gate makes it NO_RESULT."""
    settings = config(
        line={"state_path": str(ipc_folder)}, window={"size_frames": 10, "min_peers": 1}
    )
    log = ipc_folder / "log"
    box = StandInInspector(settings, nan_every=2, log=log)
    plant = Plant(zmq_context, settings)
    scoring = Scoring(settings, box, "0badcafe", FakeClock(), zmq_context)
    assert scoring._gate.poll(LIMIT_MS, zmq.POLLOUT), "no gate"
    plant.send_frames(1, 2, 3)
    while len(plant.inspections) < 3:
        scoring.step()
        plant.listen(10)
    gate = Gate(500)
    gate.scorer_up()

    verdicts = []
    for one in plant.inspections:
        gate.announce(one.announcement, moment())
        result = gate.inspected(one, moment(1))
        assert result is not None
        verdicts.append((result.verdict, result.why))

    assert [one.score for one in plant.inspections] == [0.2, None, 0.2]
    assert verdicts == [("NO_RESULT", "warming"), ("NO_RESULT", "not_finite"), ("PASS", "score")]
    assert log.read_text().splitlines() == [
        f"c1,{BOOT},1,NO_RESULT", f"c1,{BOOT},2,NAN", f"c1,{BOOT},3,PASS",
    ]  # fmt: skip


def test_loop_needs_no_torch() -> None:
    """The loop and the stand-in around it are imported without torch."""
    code = "import sys, pipeline.scoring, stand_in_scorer; print('torch' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": f"{ROOT}/tests/support:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stdout, done.stderr) == ("False\n", "")


def test_stand_in_runs_as_a_stage(zmq_context: Context, ipc_folder: Path) -> None:
    """As a process it says ready, inspects what a camera sends, notes it, and stops when asked."""
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1}
    window = {"size_frames": 10, "min_peers": 2}
    sections = {"camera": [camera], "line": {"state_path": str(ipc_folder)}, "window": window}
    path = ipc_folder / "config.toml"
    path.write_text(tomli_w.dumps(sections))
    log = ipc_folder / "log"
    plant = Plant(zmq_context, config(line={"state_path": str(ipc_folder)}))
    stage = subprocess.Popen(
        [sys.executable, "-m", "stand_in_scorer", "inspect", "--config", str(path), "--supervised"],
        env=os.environ
        | {"PYTHONPATH": f"{ROOT}/tests/support:{ROOT}", "STAND_IN_LOG": str(log)}
        | {"STAND_IN_DELAY_MS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert stage.stdin is not None
    assert stage.stdout is not None
    try:
        ready = stage.stdout.readline()
        assert ready == b"ready\n"
        plant.send_frames(1, 2, 3)
        plant.send_frames(4, value=255)
        while len(plant.inspections) < 4:
            assert plant.gate.poll(LIMIT_MS), "the stand-in says nothing"
            plant.listen(0)
        stage.stdin.close()
        code = stage.wait(LIMIT_MS / 1000)
    finally:
        stage.kill()
        stage.wait()
        stage.stdout.close()

    assert code == 0
    assert [one.verdict for one in plant.inspections] == ["NO_RESULT", "NO_RESULT", "PASS", "FAIL"]
    assert [line.split(",")[2:] for line in log.read_text().splitlines()] == [
        ["1", "NO_RESULT"], ["2", "NO_RESULT"], ["3", "PASS"], ["4", "FAIL"],
    ]  # fmt: skip
