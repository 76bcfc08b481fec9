"""Stages start upstream, restart with back-off, and stop downstream."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from factories import config

from pipeline.config import Config
from pipeline.supervisor import (
    GOOD_TIME_S,
    STOP_LIMITS_S,
    Stage,
    StageCommand,
    StageError,
    Supervisor,
    line_commands,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_S = 20.0
READY = "import sys, time; sys.stdout.write('ready\\n'); sys.stdout.flush()\n"
WAIT_FOR_TERM = READY + "time.sleep(60)\n"


@pytest.fixture(autouse=True)
def stages_are_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a stage's argument be a Python script that runs instead of the product."""
    start = subprocess.Popen

    def run_script(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
        assert command[:2] == [sys.executable, "-m"]
        assert command[4:] == ["--supervised"]
        if command[2] != "pipeline":
            return start(command, **options)
        return start([sys.executable, "-c", command[3]], **options)

    monkeypatch.setattr("pipeline.supervisor.subprocess.Popen", run_script)


def until(condition: Callable[[], bool]) -> Callable[[], bool]:
    """Return a stop function that also gives up after a while."""
    end = time.monotonic() + LIMIT_S

    def stop() -> bool:
        assert time.monotonic() < end, "the supervisor did not get there in time"
        return condition()

    return stop


def get_ready(stage: Stage, now: float) -> None:
    """Let the stage start and become ready at the time ``now``."""
    end = time.monotonic() + LIMIT_S
    while not stage.ready:
        assert time.monotonic() < end, "the stage did not become ready"
        stage.check(now)


def die(stage: Stage, now: float) -> float:
    """Kill the stage at the time ``now``; return how long it stays away."""
    assert stage._process is not None
    stage._process.kill()
    stage._process.wait(LIMIT_S)
    stage.check(now)
    assert stage.pid is None
    return stage._restart_at - now


def test_commands_are_in_order_of_start() -> None:
    """Broker (if embedded), gate, scorer, then each camera."""
    cameras = [{"id": f"c{i}", "kind": "synthetic", "interval_ms": 1} for i in (1, 2)]
    embedded = {"embedded": True, "protocol": "3.1.1"}

    commands = line_commands(
        Config.model_validate({"camera": cameras, "mqtt": embedded}), Path("x")
    )

    assert [c.name for c in commands] == ["broker", "gate", "scoring", "ingest c1", "ingest c2"]
    assert line_commands(config(), Path("x"))[0].name == "gate"


def test_gate_and_cameras_are_told_where_to_record() -> None:
    """With a recording, the stages that write it get its folder, and only they."""
    commands = line_commands(config(), Path("x"), Path("/rec"))

    recording = {c.kind for c in commands if c.arguments[3:5] == ("--record", "/rec")}
    assert recording == {"gate", "ingest"}


def test_each_stage_waits_for_the_one_before() -> None:
    """A camera starts only when gate and scorer are ready; the run ends with the source."""
    gate = StageCommand("gate", "gate", (WAIT_FOR_TERM,))
    camera = StageCommand("ingest", "ingest c1", (READY,))
    supervisor = Supervisor([gate, camera])
    seen: list[tuple[bool, bool]] = []

    supervisor.run(
        until(lambda: False),
        lambda: seen.append((supervisor.stages[0].was_ready, supervisor.stages[1].pid is not None)),
    )

    assert all(ready for ready, camera_started in seen if camera_started)
    assert supervisor.stages[1].finished
    assert supervisor.stages[0].pid is None


def test_killed_stage_comes_back() -> None:
    """A stage that dies after it was ready is started again."""
    supervisor = Supervisor(
        [
            StageCommand("scoring", "scoring", (WAIT_FOR_TERM,)),
            StageCommand("ingest", "ingest c1", (WAIT_FOR_TERM,)),
        ]
    )
    stage = supervisor.stages[0]
    pids: list[int] = []

    def kill_once() -> None:
        if stage.ready and stage.pid is not None and stage.pid not in pids:
            pids.append(stage.pid)
            if len(pids) == 1:
                os.kill(stage.pid, signal.SIGKILL)

    supervisor.run(until(lambda: len(pids) == 2), kill_once)

    assert pids[0] != pids[1]


def test_others_go_on_while_one_is_restarted() -> None:
    """A gate that is killed comes back, and the processes of the others stay the same."""
    names = ("gate", "scoring", "ingest")
    supervisor = Supervisor([StageCommand(name, name, (WAIT_FOR_TERM,)) for name in names])
    seen: list[list[int | None]] = []

    def kill_gate_once() -> None:
        pids = [stage.pid for stage in supervisor.stages]
        if all(stage.ready for stage in supervisor.stages) and pids not in seen:
            seen.append(pids)
            if len(seen) == 1 and pids[0] is not None:
                os.kill(pids[0], signal.SIGKILL)

    supervisor.run(until(lambda: len(seen) == 2), kill_gate_once)

    assert seen[0][0] != seen[1][0]
    assert seen[0][1:] == seen[1][1:]


def test_back_off_doubles_until_a_good_time() -> None:
    """A stage that dies soon after it was ready stays away longer each time, at most 10 s."""
    stage = Stage(StageCommand("gate", "gate", (WAIT_FOR_TERM,)), None)
    now = 0.0
    away = []

    for good_s in [*[GOOD_TIME_S - 0.1] * 8, GOOD_TIME_S, 0.0]:
        get_ready(stage, now)
        now += good_s
        away.append(round(die(stage, now), 3))
        stage.check(now + away[-1] - 0.01)
        assert stage.pid is None, "it came back too early"
        now += away[-1]

    assert away == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0, 0.2, 0.4]


def test_stage_that_cannot_be_started_again_is_tried_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without memory for a process delays the restart, and does not end the line."""
    stage = Stage(StageCommand("gate", "gate", (WAIT_FOR_TERM,)), None)
    get_ready(stage, 0.0)
    back_at = GOOD_TIME_S + die(stage, GOOD_TIME_S)

    def full(*_args: object, **_options: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.supervisor.subprocess.Popen", full)
        stage.check(back_at)
        failed = stage.pid
    stage.check(back_at + 0.39)
    early = stage.pid
    get_ready(stage, back_at + 0.41)
    pid = stage.pid
    stage.wait(0.0)

    assert (failed, early) == (None, None)
    assert pid is not None


def test_first_start_that_fails_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that cannot be started at all ends the run with the reason."""

    def full(*_args: object, **_options: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr("pipeline.supervisor.subprocess.Popen", full)
    stage = Stage(StageCommand("gate", "gate", (READY,)), None)

    with pytest.raises(StageError, match="gate failed at start: cannot be started, Cannot"):
        stage.check(0.0)


def test_talkative_stage_is_not_held_up() -> None:
    """What a stage prints after it was ready is read away, so that its pipe never fills."""
    talk = READY + "sys.stdout.write('x' * 300_000)\nsys.stdout.flush()\n"
    stage = Stage(StageCommand("ingest", "ingest c1", (talk,)), None)
    end = time.monotonic() + LIMIT_S

    while not stage.finished and time.monotonic() < end:
        stage.check(0.0)

    assert stage.finished


def test_stopped_process_is_killed_at_the_end() -> None:
    """A stage that somebody stopped with SIGSTOP is left alone, and killed when the line stops."""
    stage = Stage(StageCommand("gate", "gate", (WAIT_FOR_TERM,)), None)
    get_ready(stage, 0.0)
    pid = stage.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)

    stage.check(100.0)
    still_there = stage.pid
    stage.terminate()
    stage.wait(0.1)

    assert (still_there, stage.pid) == (pid, None)
    assert not Path(f"/proc/{pid}").exists()


def test_stage_of_another_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage runs ``python -m MODULE args --supervised``, by default the product."""
    said = tmp_path / "said"
    (tmp_path / "stand_in_stage.py").write_text(
        f"import sys, pathlib\npathlib.Path({str(said)!r}).write_text(' '.join(sys.argv[1:]))\n"
        + READY
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    stage = Stage(StageCommand("ingest", "ingest c1", ("x",), module="stand_in_stage"), None)
    end = time.monotonic() + LIMIT_S

    while not stage.finished and time.monotonic() < end:
        stage.check(0.0)

    assert stage.was_ready
    assert said.read_text() == "x --supervised"
    assert StageCommand("gate", "gate", ()).module == "pipeline"


class EndsWhileLookedAt:
    """A process that says that it is ready, and ends, after the first look at it."""

    def __init__(self) -> None:
        """Begin running, with nothing said."""
        self._looks = 0
        self.stdin = None
        self.stdout = self

    def poll(self) -> int | None:
        """Return the exit code once it has ended."""
        self._looks += 1
        return 1 if self._looks > 1 else None

    def read(self) -> bytes:
        """Return what it has said."""
        self._looks += 1
        return b"ready\n" if self._looks > 1 else b""

    def close(self) -> None:
        """Close the pipe."""


def test_last_words_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that was ready and ended at once is no stage that failed at its start."""
    stage = Stage(StageCommand("gate", "gate", ()), None)
    monkeypatch.setattr(stage, "_process", EndsWhileLookedAt())

    stage.check(0.0)
    stage.check(0.0)

    assert stage.was_ready
    assert stage.pid is None


@pytest.mark.parametrize(("code", "expected"), [(1, 1), (2, 2), (7, 1)])
def test_failure_before_ready_ends_the_run(code: int, expected: int) -> None:
    """A stage that never became ready is not restarted; its exit code is kept."""
    supervisor = Supervisor(
        [
            StageCommand("gate", "gate", (f"raise SystemExit({code})",)),
            StageCommand("ingest", "ingest c1", (WAIT_FOR_TERM,)),
        ]
    )

    with pytest.raises(StageError, match="gate failed at start") as caught:
        supervisor.run(until(lambda: False))

    assert caught.value.exit_code == expected
    assert supervisor.stages[1].pid is None


def test_stage_that_ignores_the_stop_is_killed() -> None:
    """After its limit a stage is killed, so that a line always stops."""
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAIT_FOR_TERM
    stage = Stage(StageCommand("gate", "gate", (deaf,)), None)
    stage.start()
    end = time.monotonic() + LIMIT_S
    while not stage.ready and time.monotonic() < end:
        stage.check(time.monotonic())

    stage.terminate()
    stage.wait(0.1)

    assert stage.pid is None


def test_limits_add_up_to_five_seconds() -> None:
    """However its stages behave, a line stops within 5 s."""
    assert sum(STOP_LIMITS_S.values()) <= 5.0
