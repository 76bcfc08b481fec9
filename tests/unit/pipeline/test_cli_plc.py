"""``plc-sim`` as a user runs it: sensors on standard input, decisions on standard output."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from typing import IO, TYPE_CHECKING, Any

import pytest
import typer
from brokers import LIMIT_S, open_sessions
from typer.testing import CliRunner

from edge.contract import StatusMessage, Topics, plc_line
from edge.embedded_broker import HOST
from edge.plc_sim import BeltTimes, GateReport
from edge.reject_gate import Answer, Decision
from pipeline.cli_plc import _print_text, _warn_of_times, plc_sim

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge.mqtt import BrokerSession

PROGRAM = "import typer; from pipeline.cli_plc import plc_sim; typer.run(plc_sim)"
TOPICS = Topics("musc", "site", "area", "line", "station")
BOOT = "0123456789abcdef"
READY = StatusMessage(state="READY", boot=BOOT, cfg="0a1b2c3d").payload()
CONFIG = """[[camera]]
id = "c1"
kind = "synthetic"
interval_ms = 100
[mqtt]
host = "{host}"
port = {port}
"""
ATTEMPTS = 20
"""Parts until one must have passed; the first ones may be sent before the PLC has subscribed."""


@pytest.fixture
def config(tmp_path: Path, mosquitto_port: int) -> Path:
    """A line's config at the test's broker."""
    path = tmp_path / "line.toml"
    path.write_text(CONFIG.format(host=HOST, port=mosquitto_port))
    return path


@pytest.fixture
def box(mosquitto_port: int) -> Iterator[BrokerSession]:
    """What stands for the box at the broker."""
    with open_sessions() as connect:
        yield connect(mosquitto_port)


def start(config: Path, *options: str) -> subprocess.Popen[str]:
    """Start plc-sim with pipes for the sensors and the decisions."""
    command = [sys.executable, "-W", "error", "-c", PROGRAM, "--config", str(config), *options]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def sensor(process: subprocess.Popen[str], **event: str) -> None:
    """Let a sensor fire."""
    pipe: IO[str] | None = process.stdin
    assert pipe is not None
    pipe.write(json.dumps(event) + "\n")
    pipe.flush()


def line_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Read the next line that the PLC says."""
    assert process.stdout is not None
    said: dict[str, Any] = json.loads(process.stdout.readline())
    return said


def test_decisions_and_summary_are_lines_of_json(config: Path, box: BrokerSession) -> None:
    """A PASS on the broker opens, what has none is rejected, and the end is a summary."""
    with start(config, "--belt-ms", "200") as process:
        for number in range(1, ATTEMPTS):
            sensor(process, enter=f"A-{number}")
            box.publish(TOPICS.under("heartbeat"), b"%d" % (2 * number), qos=0)
            box.publish(TOPICS.under("heartbeat"), b"%d" % (2 * number + 1), qos=0)
            box.publish(TOPICS.under("status"), READY, qos=1, retain=True)
            line = plc_line(BOOT, number, f"A-{number}", "PASS")
            box.publish(TOPICS.under("plc"), line, qos=1)
            if (passed := line_of(process))["open"]:
                break
        sensor(process, enter="B-1")
        rest, _ = process.communicate(timeout=LIMIT_S)

    rejected, summary = (json.loads(line) for line in rest.splitlines())
    assert (passed["part"], passed["why"]) == (f"A-{number}", "pass")
    assert set(passed) == {"part", "open", "why", "at_ms", "waited_ms"}
    assert (rejected["part"], rejected["open"], rejected["why"]) == ("B-1", False, "no_verdict")
    assert (summary["parts"], summary["opened"]) == (number + 1, 1)
    assert process.returncode == 0


def test_sigterm_ends_with_the_summary(config: Path) -> None:
    """A stop is answered by the summary and exit code 0, though the sensors go on."""
    with start(config) as process:
        sensor(process, enter="A-1")
        sensor(process, gate="A-2")
        decision = line_of(process)
        process.send_signal(signal.SIGTERM)

        summary = line_of(process)
        code = process.wait(LIMIT_S)

    assert (decision["part"], decision["why"]) == ("A-2", "unknown_part")
    assert (summary["parts"], summary["rejected"], summary["undecided"]) == (1, 1, 1)
    assert code == 0


def test_bad_sensor_line_does_not_end_it(config: Path) -> None:
    """A line that is none is shown, the parts are decided, and the exit code is 2 at the end."""
    with start(config, "--belt-ms", "100") as process:
        sensor(process, enter="A-1")
        sensor(process, leave="A-1")
        sensor(process, enter="A-2")
        said, errors = process.communicate(timeout=LIMIT_S)

    first, second, summary = (json.loads(line) for line in said.splitlines())
    assert (first["part"], second["part"]) == ("A-1", "A-2")
    assert (summary["parts"], summary["bad_lines"], summary["undecided"]) == (2, 1, 0)
    assert 'sensor line \'{"leave": "A-1"}\': must be' in errors
    assert process.returncode == 2


@pytest.mark.parametrize(
    ("times", "warnings"),
    [
        (BeltTimes(650, 800), []),
        (BeltTimes(650), []),
        (BeltTimes(500, 800), ["--verdict-ms 500 is not above part.deadline_ms 500"]),
        (BeltTimes(650, 650), ["--verdict-ms 650 is not below --belt-ms 650"]),
        (BeltTimes(400, 300), ["--verdict-ms 400 is not above", "--verdict-ms 400 is not below"]),
    ],
)
def test_times_that_cannot_be_kept_are_said(
    times: BeltTimes, warnings: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Where not deadline < verdict < belt, the log says which figure is wrong."""
    _warn_of_times(times, 500)

    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len(warnings)
    assert all(text.startswith(warning) for text, warning in zip(said, warnings, strict=True))


def test_verdict_time_without_an_option(config: Path) -> None:
    """Without --verdict-ms a verdict counts 150 ms longer than part.deadline_ms."""
    with start(config, "--belt-ms", "650") as process:
        _, errors = process.communicate(timeout=LIMIT_S)

    assert "--verdict-ms 650 is not below --belt-ms 650" in errors
    assert "part.deadline_ms" not in errors


def test_readable_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """A person reads moment, deed, part, reason, and how long the verdict took."""
    _print_text(GateReport(Decision("A-1", Answer.PASS, 120), 1500))
    _print_text(GateReport(Decision("A-2", Answer.NO_VERDICT, None), 2500))

    said = [re.sub(r" +", " ", line).strip() for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "1.500 s open A-1 pass, verdict after 120 ms",
        "2.500 s REJECT A-2 no verdict",
    ]


def test_help_says_how_to_feed_it() -> None:
    """The help shows both sensor lines."""
    app = typer.Typer()
    app.command()(plc_sim)

    said = CliRunner().invoke(app, ["--help"]).output

    assert '{"enter": "A-1"}' in said
    assert '{"gate": "A-1"}' in said
