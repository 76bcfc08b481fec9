"""What other people's clients read: both versions of the protocol bring the same messages."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from chaos import ROOT_TOPIC, chaos_config, chaos_line, write_belt

from edge.contract import MESSAGE_LIMIT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from brokers import FragileMosquitto

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


@pytest.mark.timeout(180)
def test_both_protocols_read_every_topic(
    tmp_path: Path, fragile_mosquitto: FragileMosquitto, mosquitto_sub: str
) -> None:
    """mosquitto_sub -V 5 and -V 311 read the same results, the PLC's lines and all states."""
    write_belt(tmp_path)
    config = chaos_config(tmp_path, fragile_mosquitto.port, None)
    outputs = {version: tmp_path / f"heard-{version}.txt" for version in ("5", "311")}
    with ExitStack() as stack:
        for version, output in outputs.items():
            stack.enter_context(reading(mosquitto_sub, fragile_mosquitto.port, version, output))
        line = stack.enter_context(chaos_line(config, fragile_mosquitto))
        line.until(lambda: line.results()["PASS"] > 20, "PASS")
        line.stop()
        rows = line.rows()

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
