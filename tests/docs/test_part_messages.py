"""deploy/part_messages.md: its example tells a part, and its table says what ingest does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zmq
from ingest_rig import LIMIT_MS, good, only

from edge.frame import PART_PATTERN, PATTERN_WORDS
from edge.wire import Announced, Lost
from pipeline.config_file import load_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest_rig import Rig

PAGE = (Path(__file__).parents[2] / "deploy" / "part_messages.md").read_text()
ENDPOINT = "ipc:///run/musc-edge/c1-parts.ipc"


def block(language: str) -> str:
    """Return the page's only block of code in this language."""
    (text,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(text)


@pytest.fixture
def line(rig: Callable[..., Rig]) -> Rig:
    """An ingest of three frames, the last of them late, whose parts are told."""
    captures = [good(), good(), None, good()]
    return rig(*captures, part_policy="message", part_wait_ms=500)


@pytest.fixture
def tell(line: Rig) -> Iterator[None]:
    """Run the page's example against the ingest; its socket is closed after the test."""
    names: dict[str, zmq.Socket[bytes]] = {}
    exec(block("python").replace(ENDPOINT, line.part_endpoint), names)  # noqa: S102 - our own page
    assert line.ingest._intake.parts is not None
    assert line.ingest._intake.parts.poll(LIMIT_MS), "nothing arrived"
    yield
    names["reader"].close(linger=0)


@pytest.mark.usefixtures("tell")
def test_example_names_the_next_frame(line: Rig) -> None:
    """The part that the example tells is the next frame's, and the frame after it is counted."""
    line.steps(2)

    notes = only(Announced, line.gate.notes())
    assert [note.announcement.part_id for note in notes] == ["A-000812", "c1-00000002"]


def test_what_is_not_seen_is_missed(line: Rig) -> None:
    """Of a part that is replaced, told twice or too late, as much becomes as the table says."""
    line.steps(2)
    line.gate.notes()
    for part in ("A-1", "A-2", "A-2"):  # and after them no frame in time
        line.tell_part(part)
        line.ingest._take_notes()

    line.clock.advance_ms(500)
    line.steps(3)

    notes = line.gate.notes()
    lost = {note.announcement.seq: note for note in only(Lost, notes)}  # each may come again
    named = {note.announcement.seq: note for note in only(Announced, notes)}
    assert {seq: note.announcement.part_id for seq, note in lost.items()} == {3: "A-1", 4: "A-2"}
    assert {note.why for note in lost.values()} == {"missed_trigger"}
    assert named[5].announcement.part_id == "c1-00000005"


def test_settings_are_valid(tmp_path: Path) -> None:
    """The camera of the page is one that the program takes."""
    path = tmp_path / "line.toml"
    path.write_text(block("toml"))

    (camera,) = load_config(path).camera

    assert (camera.part_id, camera.part_endpoint) == ("message", ENDPOINT)


def test_limits_are_the_programs() -> None:
    """The page says of a part id what the program says."""
    words = " ".join(PAGE.replace("`", "").split())

    assert PATTERN_WORDS[PART_PATTERN] in words
