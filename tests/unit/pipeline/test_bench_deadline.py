"""The deadline bench: what it calls a fault, what it calls late, and what it runs."""

from __future__ import annotations

import io
import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from brokers import open_sessions, wait_until
from factories import MS, START
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.main import get_command
from typer.testing import CliRunner

from edge.contract import Topics, plc_line
from pipeline.bench_deadline import (
    BenchError,
    DeadlineBench,
    ProgressView,
    Subscriber,
    write_config,
)
from pipeline.bench_punctuality import Heard, find_faults, measure, spread
from pipeline.bench_timer import INTERVAL_NS, ControlTimer, TimerError, TimerRecord, keep_time
from pipeline.cli_bench import bench_app
from pipeline.config_file import load_config
from pipeline.results import timestamp

if TYPE_CHECKING:
    from pathlib import Path

DEADLINE_MS = 200
BOOT = "0123456789abcdef"


def row(seq: int, **fields: Any) -> dict[str, Any]:
    """Return the ledger row of a frame captured each 20 ms and decided 1 ms too late."""
    decided = START + timedelta(milliseconds=DEADLINE_MS + 1)
    values = {
        "seq": seq,
        "part_id": f"P{seq}",
        "captured_ns": seq * 20 * MS,
        "captured_at": timestamp(START),
        "decided_at": timestamp(decided),
        "verdict": "NO_RESULT",
        "reason": "scorer_down",
    }
    return values | fields


def heard(rows: list[dict[str, Any]], over_ms: float = 5.0, plc_ms: float = 4.0) -> Heard:
    """Return one message a frame on each topic, so long after its deadline."""

    def came(row: dict[str, Any], after_ms: float) -> list[int]:
        return [row["captured_ns"] + round((DEADLINE_MS + after_ms) * MS)]

    return Heard(
        {row["seq"]: came(row, over_ms) for row in rows},
        {row["part_id"]: came(row, plc_ms) for row in rows},
    )


class StepClock:
    """A clock that moves only while somebody sleeps, and wakes up late where it is told to."""

    def __init__(self, late_ns: dict[int, int]) -> None:
        """Be late by this at the sleeps with these numbers, from 0."""
        self.now_ns = 7 * MS
        self._late_ns = late_ns
        self._sleeps = 0

    def read_ns(self) -> int:
        """Return the time."""
        return self.now_ns

    def sleep(self, wait_s: float) -> None:
        """Move on."""
        self.now_ns += round(wait_s * 1e9) + self._late_ns.get(self._sleeps, 0)
        self._sleeps += 1


def keep(instants: int, late_ns: dict[int, int]) -> TimerRecord:
    """Keep time for so many instants on a stepped clock."""
    clock = StepClock(late_ns)
    left = iter(range(instants))
    return keep_time(lambda: next(left, None) is None, clock.read_ns, clock.sleep)


def test_one_result_a_frame_is_no_fault() -> None:
    """Count, rows and messages that agree are no fault."""
    rows = [row(seq) for seq in range(1, 11)]

    assert find_faults(10, 10, rows, heard(rows)) == []


def test_each_fault_is_named() -> None:
    """What is missing, too much or another result is said with its frame."""
    rows = [row(seq) for seq in range(1, 11)]
    rows[4] |= {"verdict": "PASS", "reason": "score"}
    came = heard(rows)
    verdicts, parts = dict(came.verdicts), dict(came.parts)
    del verdicts[2], parts["P3"]
    verdicts[99], parts["P98"] = [1], [1]
    verdicts[6], parts["P7"] = [1, 2], [1, 2]

    faults = find_faults(12, 11, rows, Heard(verdicts, parts))

    assert faults == [
        "11 of 12 frames counted",
        "10 of 12 frames in the ledger",
        "5 of another result than NO_RESULT, scorer_down",
        "2 without a message on verdict",
        "P3 without a message on plc",
        "99 on verdict without a row",
        "P98 on plc without a row",
        "6 more than once on verdict",
        "P7 more than once on plc",
    ]


def test_many_frames_are_counted_not_listed() -> None:
    """A message names the first frames and counts the rest."""
    rows = [row(seq) for seq in range(1, 101)]

    faults = find_faults(100, 100, rows, Heard({}, heard(rows).parts))

    assert faults == ["1, 2, 3, 4, 5 and 95 more without a message on verdict"]


@settings(max_examples=40, deadline=None)
@given(
    over_ms=st.floats(-10, 50),
    frames=st.integers(2, 12),
    stall_ms=st.integers(0, 30),
)
def test_lateness_counts_from_the_deadline(over_ms: float, frames: int, stall_ms: int) -> None:
    """Over is arrival minus capture and deadline; the limit is 20 ms beside the timer's worst."""
    rows = [row(seq) for seq in range(1, frames + 1)]
    record = TimerRecord(20 * MS, [MS, stall_ms * MS, MS])

    report = measure(DEADLINE_MS, rows, heard(rows, over_ms), record)

    said = report.summary(fps=50)
    assert said["over_p50_ms"] == said["over_max_ms"] == pytest.approx(over_ms, abs=1e-3)
    assert said["plc_p999_ms"] == 4.0
    assert said["decided_p999_ms"] == 1.0
    assert said["early"] == (frames if over_ms * MS < -0.5 else 0)
    assert said["fps_measured"] == 50.0
    assert said["limit_ms"] == 20 + max(1, stall_ms)
    assert said["held"] == (said["over_p999_ms"] <= said["limit_ms"])


def test_timer_is_compared_over_the_same_time() -> None:
    """What the host was late by before the first capture does not raise the limit."""
    rows = [row(1), row(2)]
    begin_ns = rows[0]["captured_ns"]
    record = TimerRecord(begin_ns - 2 * INTERVAL_NS, [90 * MS, 80 * MS, 3 * MS, 2 * MS, MS])

    assert measure(DEADLINE_MS, rows, heard(rows), record).timer.max == 3.0


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=1500))
def test_spread_is_the_nearest_rank(values: list[int]) -> None:
    """Each percentile is the smallest value that so large a share of all does not exceed."""
    ordered = sorted(values)
    expected = [
        round(ordered[math.ceil(len(values) * per_1000 / 1000) - 1] / 1e6, 3)
        for per_1000 in (500, 990, 999, 1000)
    ]

    assert list(spread(values)) == expected


def test_instants_do_not_drift() -> None:
    """A late instant delays no other one."""
    record = keep(5, {1: 4 * MS})

    assert record == (7 * MS + INTERVAL_NS, [0, 4 * MS, 0, 0, 0])


def test_stall_makes_each_instant_in_it_late() -> None:
    """A stall of 25 ms is three late instants, not one."""
    record = keep(5, {1: 25 * MS})

    assert record.late_ns == [0, 25 * MS, 15 * MS, 5 * MS, 0]


@settings(max_examples=60, deadline=None)
@given(
    first=st.integers(0, 90), count=st.integers(0, 9), ends=st.tuples(*[st.integers(0, 200)] * 2)
)
def test_between_keeps_the_instants_of_a_time(
    first: int, count: int, ends: tuple[int, int]
) -> None:
    """Kept is each instant from the begin to before the end, and no other one."""
    begin_ns, end_ns = (end * MS for end in ends)
    record = TimerRecord(first * MS, list(range(count)))

    kept = record.between(begin_ns, end_ns)

    at_ns = [first * MS + number * INTERVAL_NS for number in range(count)]
    assert kept == [n for n in range(count) if begin_ns <= at_ns[n] < end_ns]


def test_timer_is_a_process_that_ends_when_told() -> None:
    """The control timer's record comes from another process, on the same clock."""
    with ControlTimer() as timer:
        record = timer.stop()

    assert record.first_ns > 0
    assert all(late_ns >= 0 for late_ns in record.late_ns)


def test_timer_that_died_is_an_error() -> None:
    """Without a record there is nothing to compare with."""
    with ControlTimer() as timer:
        timer._process.kill()
        with pytest.raises(TimerError, match="code -9"):
            timer.stop()


@settings(max_examples=40, deadline=None)
@given(fps=st.integers(1, 1000), deadline_ms=st.integers(10, 1008))
def test_no_frame_is_dropped_before_its_deadline(fps: int, deadline_ms: int) -> None:
    """The camera's queue holds every frame that is open at once, and some more."""
    bench = DeadlineBench(100, fps, deadline_ms)

    assert deadline_ms / bench.interval_ms + 1 < bench.queue_frames <= 1024


def test_more_open_frames_than_a_queue_holds_are_refused() -> None:
    """The limit of open frames is named, and the arguments that break it."""
    bench = DeadlineBench(100, 1000, 1009)

    with pytest.raises(BenchError, match=r"--deadline-ms 1009 at --fps 1000: .* 1008") as caught:
        _ = bench.queue_frames

    assert caught.value.exit_code == 2


def test_config_is_a_line_with_durable_commits(tmp_path: Path) -> None:
    """The line has the asked rate and deadline, and commits as a plant's does."""
    config = load_config(write_config(DeadlineBench(30, 25, 150), tmp_path, 1234))

    (camera,) = config.camera
    assert camera.kind == "synthetic"
    assert (camera.interval_ms, camera.frames) == (40, 30)
    assert config.part.deadline_ms == 150
    assert (config.transport.policy, config.ledger.synchronous) == ("drop_oldest", "FULL")
    assert (config.mqtt.embedded, config.mqtt.port) == (True, 1234)


def stamped(folder: Path, port: int, *messages: tuple[str, bytes], results: int) -> Heard:
    """Return what a subscriber heard of a line in time for one part, and of these messages.

    The bench's own message, by which it knows that the broker listens, is the first.
    """
    config = load_config(write_config(DeadlineBench(1, 50, 200), folder, port))
    moments = iter(range(100, 200))
    subscriber = Subscriber(config, lambda: next(moments))
    topics = Topics("musc", "site", "area", "line", "station")
    subscriber.connect()

    with open_sessions() as connect:
        box = connect(port)
        box.publish(topics.under("plc"), plc_line(BOOT, 1, "S000000", "NO_RESULT"), qos=1)
        for topic, payload in messages:
            box.publish(topics.under(topic), payload, qos=1)
        wait_until(lambda: subscriber.count == results)
    subscriber.close()
    return subscriber.heard()


def test_subscriber_stamps_what_comes(tmp_path: Path, embedded_broker_port: int) -> None:
    """Each message of verdict and plc has the moment it came, from the first one on."""
    verdict = ("verdict", b'{"seq": 1}')

    found = stamped(tmp_path, embedded_broker_port, verdict, verdict, results=2)

    assert found == ({1: [102, 103]}, {"S000000": [101]})


def test_subscriber_stamps_what_is_late(tmp_path: Path, embedded_broker_port: int) -> None:
    """A result on history came when it came there; a part's, where no line of plc did."""
    names = ("S000000", "S000001", "S000001")
    parts = [("history/part", f'{{"part": "{part}"}}'.encode()) for part in names]

    found = stamped(tmp_path, embedded_broker_port, *parts, ("history", b'{"seq": 2}'), results=1)

    assert found == ({2: [105]}, {"S000000": [101], "S000001": [103, 104]})


def test_progress_without_a_terminal_is_a_line_now_and_then() -> None:
    """A plain line comes every five seconds, not with each result."""
    output = io.StringIO()
    moments = iter((0.0, 4.9, 5.0, 5.0, 5.1, 9.9, 10.1, 10.1))

    with ProgressView(Console(file=output), 500, lambda: next(moments)) as view:
        for count in (240, 250, 251, 490, 500):
            view.show(count)

    assert output.getvalue().splitlines() == ["250 of 500 results", "500 of 500 results"]


def test_every_bench_and_option_has_help() -> None:
    """Nothing visible is undocumented."""
    commands = get_command(bench_app).commands  # type: ignore[attr-defined] # a group

    assert "deadline" in commands
    for command in commands.values():
        assert command.help
        assert [one.name for one in command.params if not one.help] == []


def test_impossible_rate_is_refused(tmp_path: Path) -> None:
    """What a camera's queue cannot hold is said before anything is started."""
    arguments = ["deadline", "--fps", "1000", "--deadline-ms", "2000", "--folder", str(tmp_path)]

    done = CliRunner().invoke(bench_app, arguments)

    assert isinstance(done.exception, BenchError)
    assert "limit is 1008" in str(done.exception)
    assert list(tmp_path.iterdir()) == []
