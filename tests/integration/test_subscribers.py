"""What other people's clients read: both versions of the protocol bring the same messages."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from brokers import open_sessions, wait_until
from chaos import ROOT_TOPIC, chaos_config, chaos_line, write_belt

from edge.contract import MESSAGE_LIMIT_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from brokers import FragileMosquitto

    from edge.mqtt import BrokerSession

LIMIT_S = 10


@contextmanager
def reading(program: str, port: int, version: str, output: Path) -> Iterator[None]:
    """Let mosquitto_sub write what it hears to a file."""
    with output.open("wb") as file:
        words = ["-p", str(port), "-V", version, "-v", "-t", "musc/#"]
        reader = subprocess.Popen([program, *words], stdout=file)
        yield
        reader.terminate()
        reader.wait(LIMIT_S)


def fence(session: BrokerSession, name: str, outputs: Collection[Path]) -> None:
    """Wait until all readers have read what was said so far; one that subscribes later does too."""
    line = f"musc/fence {name}"
    session.publish("musc/fence", name.encode(), qos=1, retain=True)
    wait_until(lambda: all(line in output.read_text().splitlines() for output in outputs))


@pytest.mark.timeout(400)
def test_both_protocols_read_every_topic(
    tmp_path: Path, fragile_mosquitto: FragileMosquitto, mosquitto_sub: str
) -> None:
    """mosquitto_sub -V 5 and -V 311 read the same results, the PLC's lines and all states."""
    write_belt(tmp_path)
    # Generous: a result that is late would come on history.
    part = {"deadline_ms": 10_000}
    config = chaos_config(tmp_path, fragile_mosquitto.port, None, part=part)
    outputs = {version: tmp_path / f"heard-{version}.txt" for version in ("5", "311")}
    with ExitStack() as stack:
        for version, output in outputs.items():
            stack.enter_context(reading(mosquitto_sub, fragile_mosquitto.port, version, output))
        session = stack.enter_context(open_sessions())(fragile_mosquitto.port)
        fence(session, "begin", outputs.values())
        line = stack.enter_context(chaos_line(config, fragile_mosquitto))
        line.until(lambda: line.results()["PASS"] > 20, "PASS")
        line.stop()
        rows = line.rows()
        fence(session, "end", outputs.values())

    heard = {version: output.read_text().splitlines() for version, output in outputs.items()}
    assert sorted(map(quiet, heard["5"])) == sorted(map(quiet, heard["311"]))
    for lines in heard.values():
        said = [line.split(" ", 1) for line in lines]
        verdicts = [json.loads(text) for topic, text in said if topic == f"{ROOT_TOPIC}/verdict"]
        assert {message["seq"] for message in verdicts} == {row["seq"] for row in rows}
        assert all(len(text) <= MESSAGE_LIMIT_BYTES for _, text in said)
        topics = {topic.removeprefix(f"{ROOT_TOPIC}/") for topic, _ in said}
        expected = {"status", "heartbeat", "plc", "part", "verdict", "camera/c1/status"}
        assert expected | {"alarm/scorer_down"} <= topics


def quiet(line: str) -> str:
    """Return a line without the number of a heartbeat, which each reader joins at its own."""
    return line.split(" ", maxsplit=1)[0] if "/heartbeat" in line else line
