"""Whatever order things come in, each frame gets one result, in time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from factories import announcement, inspection, moment
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.gate import Gate
from pipeline.parts import PartAssembler

if TYPE_CHECKING:
    from pipeline.results import FrameResult

DEADLINE_MS = 50
SEQS = st.integers(1, 6)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["announce", "pass", "fail", "warming_pass", "lose", "up", "down", "due", "wait"]
        ),
        SEQS,
        st.integers(0, 40),
    ),
    max_size=60,
)


def play(gate: Gate, step: str, seq: int, ms: float) -> list[FrameResult]:
    """Do one step at one time; return the results it brought."""
    now, note = moment(ms), announcement(seq)
    if step == "announce":
        gate.announce(announcement(seq, captured_ns=now.monotonic_ns), now)
    elif step == "up":
        gate.scorer_up()
    elif step == "down":
        gate.scorer_lost(now)
    elif step == "due":
        return gate.due(now)
    elif step == "lose":
        return [r for r in [gate.lose(note, "dropped", "", now)] if r]
    elif step != "wait":
        verdict = "FAIL" if step == "fail" else "PASS"
        state = "WARMING" if step == "warming_pass" else "READY"
        seen = inspection(announcement=note, verdict=verdict, state=state)
        return [r for r in [gate.inspected(seen, now)] if r]
    return []


@settings(max_examples=300, deadline=None)
@given(steps=STEPS)
def test_each_frame_gets_one_result_in_time(steps: list[tuple[str, int, int]]) -> None:
    """Announced = results, none twice, none decided late, PASS only if ready and in time."""
    gate, parts = Gate(DEADLINE_MS), PartAssembler(("c1",), DEADLINE_MS)
    announced: Counter[int] = Counter()
    results: list[FrameResult] = []
    ms = 0
    for step, seq, pause in steps:
        ms += pause
        results += gate.due(moment(ms))
        if step == "announce" and not gate.is_open(announcement(seq).key):
            announced[seq] += 1
        now = play(gate, step, seq, ms)
        assert all(r.verdict != "PASS" or step == "pass" for r in now)
        results += now

    results += gate.close_all("end", moment(ms))

    assert Counter(r.announcement.seq for r in results) == announced
    for result in results:
        if result.verdict != "NO_RESULT":
            assert result.latency_ms < DEADLINE_MS
    verdicts = [part for r in results for part in parts.add(r, moment(ms))]
    assert [part.part_seq for part in verdicts] == list(range(1, len(results) + 1))
