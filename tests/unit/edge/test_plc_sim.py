"""The reference PLC on real brokers: what it believes, when it decides, what it reports."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from brokers import LIMIT_S, free_port, open_sessions, wait_until

from edge.contract import StatusMessage, Topics, plc_line
from edge.embedded_broker import HOST
from edge.mqtt import BrokerError, BrokerSettings
from edge.plc_sim import BeltTimes, GateReport, PlcSim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.contract import State, Verdict
    from edge.mqtt import BrokerSession, Protocol

BOOT = "0123456789abcdef"
TOPICS = Topics("musc", "site", "area", "line", "station")
TIMES = BeltTimes(verdict_ms=500)
DONE = (True, "pass")
READY = StatusMessage(state="READY", boot=BOOT, cfg="0a1b2c3d").payload()


class HandClock:
    """A monotonic clock that is set by hand."""

    def __init__(self) -> None:
        """Begin at an arbitrary moment."""
        self.ms = 0

    def now(self) -> Any:
        """Not asked by a PLC."""
        raise NotImplementedError

    def monotonic_ns(self) -> int:
        """Return the moment that was set."""
        return (self.ms + 77_000) * 1_000_000


class Belt:
    """A simulated PLC that runs in a thread, and a box that talks to it by a broker."""

    def __init__(
        self, box: BrokerSession, settings: BrokerSettings, times: BeltTimes, said: bytes = READY
    ) -> None:
        """Connect; when this returns the PLC hears everything, and has heard the status said."""
        self.clock = HandClock()
        self.reports: list[GateReport] = []
        self.sim = PlcSim(settings, TOPICS, times, self.reports.append, self.clock)
        self._box = box
        self._stop = threading.Event()
        self._runner = threading.Thread(target=self.sim.run, args=(self._stop.is_set,), name="plc")
        self._runner.start()
        box.publish(TOPICS.under("status"), said, qos=1, retain=True)
        self.sim.connect()
        wait_until(lambda: self.sim.received[TOPICS.under("status")] > 0)

    def awake(self) -> Belt:
        """Let the box give signs of life, until one is the last that was heard."""
        for counter in (b"1", b"2"):
            self.say("heartbeat", counter)
        return self

    def say(self, topic: str, payload: bytes) -> None:
        """Let the box say something, and wait until the PLC has heard it."""
        heard = self.sim.received[TOPICS.under(topic)]
        assert self._box.publish(TOPICS.under(topic), payload, qos=1)
        wait_until(lambda: self.sim.received[TOPICS.under(topic)] > heard)

    def verdict(self, part_seq: int, part: str, verdict: Verdict) -> None:
        """Let the box judge a part."""
        self.say("plc", plc_line(BOOT, part_seq, part, verdict))

    def at_gate(self, part: str) -> tuple[bool, str]:
        """Let a part reach the gate; what was decided, and why."""
        before = len(self.reports)
        self.sim.feed(f'{{"gate": "{part}"}}')
        return self.decided(before + 1)

    def decided(self, number: int) -> tuple[bool, str]:
        """Wait for so many decisions; the last one, and why."""
        wait_until(lambda: len(self.reports) >= number)
        row = self.reports[number - 1].row()
        return bool(row["open"]), str(row["why"])

    def finish(self) -> dict[str, int]:
        """End the sensors, wait for the PLC's end; its summary."""
        self.sim.end()
        self._runner.join(LIMIT_S)
        assert not self._runner.is_alive()
        return self.sim.summary()

    def close(self) -> None:
        """Stop whatever still runs."""
        self._stop.set()
        self._runner.join(LIMIT_S)
        self.sim.close()


def status(state: State) -> bytes:
    """Return the payload of a state."""
    return StatusMessage(state=state, boot=BOOT, cfg="0a1b2c3d").payload()


def settings_of(port: int, protocol: Protocol = "3.1.1") -> BrokerSettings:
    """Return the login of a PLC at a broker of this machine."""
    return BrokerSettings(HOST, port, protocol, "plc")


@pytest.fixture
def make_belt(mosquitto_port: int) -> Iterator[Callable[..., Belt]]:
    """Make belts on a broker; they are stopped after the test."""
    belts: list[Belt] = []
    with open_sessions() as connect:
        box = connect(mosquitto_port)

        def make(
            times: BeltTimes = TIMES,
            prepare: Callable[[Any], None] | None = None,
            said: bytes = READY,
        ) -> Belt:
            if prepare is not None:
                prepare(box)
            belts.append(Belt(box, settings_of(mosquitto_port), times, said))
            return belts[-1]

        yield make
        for belt in belts:
            belt.close()


@pytest.mark.parametrize(
    ("protocol", "broker"), [("3.1.1", "embedded_broker_port"), ("5", "mosquitto_port")]
)
def test_parts_are_judged_by_a_broker(
    request: pytest.FixtureRequest, protocol: Protocol, broker: str
) -> None:
    """On every broker a PASS in time opens, and FAIL, silence and strangers are rejected."""
    port = request.getfixturevalue(broker)
    with open_sessions() as connect:
        belt = Belt(connect(port, protocol), settings_of(port, protocol), TIMES).awake()
        for part in ("A-1", "A-2", "A-3"):
            belt.sim.feed(f'{{"enter": "{part}"}}')
        belt.verdict(1, "A-1", "PASS")
        belt.verdict(2, "A-2", "FAIL")

        told = [belt.at_gate(part) for part in ("A-1", "A-2", "A-3", "A-4")]
        summary = belt.finish()
        belt.close()

    assert told == [DONE, (False, "fail"), (False, "no_verdict"), (False, "unknown_part")]
    assert (summary["parts"], summary["opened"], summary["rejected"]) == (4, 1, 3)
    assert (summary["fail"], summary["no_verdict"], summary["unknown_part"]) == (1, 1, 1)


def test_timer_is_its_own(make_belt: Callable[..., Belt]) -> None:
    """A verdict counts by the PLC's clock between entry and arrival, and the report says it."""
    belt = make_belt().awake()
    belt.sim.feed('{"enter": "A-1"}')
    belt.sim.feed('{"enter": "A-2"}')
    belt.clock.ms = 500
    belt.verdict(1, "A-1", "PASS")
    belt.clock.ms = 501
    belt.verdict(2, "A-2", "PASS")
    belt.clock.ms = 900

    assert [belt.at_gate("A-1"), belt.at_gate("A-2")] == [DONE, (False, "late")]
    assert belt.reports[0].row() == {
        "part": "A-1", "open": True, "why": "pass", "at_ms": 900, "waited_ms": 500,
    }  # fmt: skip


def test_retained_messages_are_ignored(make_belt: Callable[..., Belt]) -> None:
    """What the broker had kept on plc and heartbeat is of another time: counted, not believed."""

    def leave_behind(box: BrokerSession) -> None:
        box.publish(TOPICS.under("plc"), plc_line(BOOT, 1, "A-1", "PASS"), qos=1, retain=True)
        box.publish(TOPICS.under("heartbeat"), b"1", qos=1, retain=True)
        wait_until(lambda: box.unconfirmed == 0)

    belt = make_belt(prepare=leave_behind)
    belt.say("heartbeat", b"2")
    belt.sim.feed('{"enter": "A-1"}')
    belt.verdict(2, "A-1", "PASS")

    assert belt.at_gate("A-1") == (False, "silent")
    assert belt.finish()["retained"] == 2


def test_nothing_opens_before_the_status_is_there(make_belt: Callable[..., Belt]) -> None:
    """A PASS in time from a box that has not said its state yet is rejected."""
    belt = make_belt(said=b"unknown").awake()
    belt.sim.feed('{"enter": "A-1"}')
    belt.verdict(1, "A-1", "PASS")

    assert belt.at_gate("A-1") == (False, "untrusted")


def test_box_that_is_away_opens_nothing(make_belt: Callable[..., Belt]) -> None:
    """OFFLINE, a status that cannot be read, and silence reject a part that had passed."""
    belt = make_belt().awake()
    for number, part in enumerate(("A-1", "A-2", "A-3", "A-4"), 1):
        belt.sim.feed(f'{{"enter": "{part}"}}')
        belt.verdict(number, part, "PASS")

    belt.say("status", status("OFFLINE"))
    offline = belt.at_gate("A-1")
    belt.say("status", b"")
    unreadable = belt.at_gate("A-2")
    belt.say("status", status("READY"))
    back = belt.at_gate("A-3")
    belt.clock.ms = 3000

    assert (offline, unreadable, back) == ((False, "untrusted"), (False, "untrusted"), DONE)
    assert belt.at_gate("A-4") == (False, "silent")


@pytest.mark.parametrize("counter", [b"", b"x", b"-3", b"3.5", b"9" * 11, b"9" * 5000])
def test_heartbeat_that_is_no_number_is_none(
    make_belt: Callable[..., Belt], counter: bytes
) -> None:
    """Only a number is a sign of life; anything else is ignored."""
    belt = make_belt()
    belt.say("heartbeat", b"1")
    belt.say("heartbeat", counter)
    belt.sim.feed('{"enter": "A-1"}')
    belt.verdict(1, "A-1", "PASS")

    assert belt.at_gate("A-1") == (False, "silent")


def test_belt_carries_parts_to_the_gate(make_belt: Callable[..., Belt]) -> None:
    """With a travel time each part reaches the gate by itself, and the run ends with the last."""
    belt = make_belt(BeltTimes(verdict_ms=500, belt_ms=800)).awake()
    belt.sim.feed('{"enter": "A-1"}')
    belt.verdict(1, "A-1", "PASS")
    belt.clock.ms = 799
    belt.sim.feed('{"enter": "A-2"}')
    belt.sim.end()
    wait_until(lambda: belt.sim.summary()["undecided"] == 2)
    early = list(belt.reports)
    belt.clock.ms = 800
    first = belt.decided(1)
    belt.clock.ms = 2000
    second = belt.decided(2)

    summary = belt.finish()

    assert (early, first, second) == ([], DONE, (False, "no_verdict"))
    assert [report.at_ms for report in belt.reports] == [800, 1599]
    assert (summary["parts"], summary["undecided"]) == (2, 0)


def test_verdict_after_the_gate_does_not_open_it(make_belt: Callable[..., Belt]) -> None:
    """A message that comes after the part's arrival is later than the decision, however busy."""
    belt = make_belt(BeltTimes(verdict_ms=500, belt_ms=300)).awake()
    belt.sim.feed('{"enter": "A-1"}')
    wait_until(lambda: belt.sim.summary()["undecided"] == 1)
    belt.clock.ms = 301
    belt.verdict(1, "A-1", "PASS")

    assert belt.decided(1) == (False, "no_verdict")
    assert belt.reports[0].at_ms == 300


@pytest.mark.parametrize(
    "line", ["", "A-1", "[]", "{}", '{"enter": 1}', '{"leave": "A-1"}', '{"enter":"a","gate":"b"}']
)
def test_sensor_line_that_is_none_is_refused(line: str, caplog: pytest.LogCaptureFixture) -> None:
    """A line that says no sensor event is shown and counted, and the next one is taken."""
    reports: list[GateReport] = []
    sim = PlcSim(settings_of(1), TOPICS, TIMES, reports.append)
    sim.feed(line)
    sim.feed('{"gate": "A-1"}')
    sim.end()

    sim.run(lambda: False)

    assert f"sensor line {line!r}: must be" in caplog.text
    assert (sim.summary()["bad_lines"], len(reports)) == (1, 1)


def test_gate_lines_and_travel_time_exclude_each_other(caplog: pytest.LogCaptureFixture) -> None:
    """Where parts travel by themselves, a line that says they are there is refused."""
    reports: list[GateReport] = []
    sim = PlcSim(settings_of(1), TOPICS, BeltTimes(50, 80), reports.append)
    for line in ('{"enter": "A-1"}', '{"gate": "A-1"}'):
        sim.feed(line)
    sim.end()

    sim.run(lambda: False)

    assert "with --belt-ms 80 parts arrive by themselves" in caplog.text
    assert sim.summary()["bad_lines"] == 1
    assert [report.decision.part for report in reports] == ["A-1"]


def test_sensors_are_read_line_by_line() -> None:
    """Lines come in pieces, with blank lines and without a last newline, and all are taken."""
    reports: list[GateReport] = []
    sim = PlcSim(settings_of(1), TOPICS, TIMES, reports.append)
    reader, writer = os.pipe()
    os.write(writer, b'{"enter": "A-1"}\n\n  \n{"gate": ')
    os.write(writer, b'"A-1"}\r\n{"gate": "A-2"}')
    os.close(writer)

    sim.run_on(reader, lambda: False)
    os.close(reader)

    assert [report.decision.part for report in reports] == ["A-1", "A-2"]


def test_stop_ends_a_run_whose_sensors_are_silent() -> None:
    """A stop ends the run and its reader while the sensors' line is still open."""
    sim = PlcSim(settings_of(1), TOPICS, TIMES, print)
    reader, writer = os.pipe()
    os.write(writer, b'{"enter": "A-1"}\n')

    sim.run_on(reader, lambda: sim.summary()["undecided"] == 1)

    assert [t.name for t in threading.enumerate() if t.name == "sensors"] == []
    os.close(writer)
    os.close(reader)


def test_no_broker_is_an_error() -> None:
    """A PLC without a broker says so instead of waiting."""
    sim = PlcSim(settings_of(free_port()), TOPICS, TIMES, print)

    with pytest.raises(BrokerError, match="cannot be reached"):
        sim.connect()


@pytest.mark.parametrize("times", [BeltTimes(0), BeltTimes(500, 0)])
def test_times_are_positive(times: BeltTimes) -> None:
    """A time that nothing could keep is refused by its name."""
    with pytest.raises(ValueError, match="_ms = 0: must be at least 1"):
        PlcSim(settings_of(1), TOPICS, times, print)
