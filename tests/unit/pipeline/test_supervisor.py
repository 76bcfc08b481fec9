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
        assert command[:3] == [sys.executable, "-m", "pipeline"]
        assert command[-1] == "--supervised"
        return start([sys.executable, "-c", command[3]], **options)

    monkeypatch.setattr("pipeline.supervisor.subprocess.Popen", run_script)


def until(condition: Callable[[], bool]) -> Callable[[], bool]:
    """Return a stop function that also gives up after a while."""
    end = time.monotonic() + LIMIT_S

    def stop() -> bool:
        assert time.monotonic() < end, "the supervisor did not get there in time"
        return condition()

    return stop


def test_commands_are_in_order_of_start() -> None:
    """Broker (if embedded), gate, scorer, then each camera."""
    cameras = [{"id": f"c{i}", "kind": "synthetic", "interval_ms": 1} for i in (1, 2)]
    embedded = {"embedded": True, "protocol": "3.1.1"}

    commands = line_commands(
        Config.model_validate({"camera": cameras, "mqtt": embedded}), Path("x")
    )

    assert [c.name for c in commands] == ["broker", "gate", "scoring", "ingest c1", "ingest c2"]
    assert line_commands(config(), Path("x"))[0].name == "gate"


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
