"""Stopping: a signal, the supervisor's death, or a word; once asked, always asked."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, TextIO

import pytest

from edge.stopping import StopFlag, announce_ready, stage_stop_flag

if TYPE_CHECKING:
    from collections.abc import Iterator

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@pytest.fixture
def own_signals() -> Iterator[None]:
    """Put the handlers back that were there before the test."""
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def lifeline() -> Iterator[tuple[TextIO, TextIO]]:
    """Both ends of a pipe, the reader's first."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as stage_end, os.fdopen(writer, "w") as supervisor_end:
        yield stage_end, supervisor_end


@pytest.mark.parametrize("number", STOP_SIGNALS)
@pytest.mark.usefixtures("own_signals")
def test_signal_sets_the_flag(number: signal.Signals) -> None:
    """SIGTERM and SIGINT set the flag and do nothing else."""
    flag = stage_stop_flag(supervised=False)
    before = flag.is_set()

    signal.raise_signal(number)

    assert (before, flag.is_set(), flag.is_set()) == (False, True, True)


@pytest.mark.parametrize("supervised", [True, False])
def test_word_sets_the_flag(lifeline: tuple[TextIO, TextIO], *, supervised: bool) -> None:
    """A flag is not set before it is, and stays set, whether or not a supervisor lives."""
    flag = StopFlag(lifeline[0] if supervised else None)
    before = flag.is_set()

    flag.set()

    assert (before, flag.is_set(), flag.is_set()) == (False, True, True)


@pytest.mark.usefixtures("own_signals")
def test_dead_supervisor_sets_the_flag(
    lifeline: tuple[TextIO, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervised stage stops when the other end of its standard input is closed."""
    stage_end, supervisor_end = lifeline
    monkeypatch.setattr(sys, "stdin", stage_end)
    flag = stage_stop_flag(supervised=True)
    before = flag.is_set()

    supervisor_end.close()

    assert (before, flag.is_set(), flag.is_set()) == (False, True, True)


@pytest.mark.usefixtures("own_signals")
def test_alone_standard_input_is_nothing(
    lifeline: tuple[TextIO, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage that runs alone goes on when its standard input ends."""
    stage_end, supervisor_end = lifeline
    monkeypatch.setattr(sys, "stdin", stage_end)
    flag = stage_stop_flag(supervised=False)

    supervisor_end.close()

    assert not flag.is_set()


@pytest.mark.parametrize(("supervised", "said"), [(True, "ready\n"), (False, "")])
def test_ready_is_said_to_a_supervisor(
    capsys: pytest.CaptureFixture[str],
    *,
    supervised: bool,
    said: str,
) -> None:
    """Only a supervised stage says that it is ready, in one line."""
    announce_ready(supervised=supervised)

    assert capsys.readouterr().out == said
