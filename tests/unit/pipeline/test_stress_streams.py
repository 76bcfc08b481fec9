"""The streams are what they claim, and plain mutual scoring goes blind in them as it must."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from factories import FakeBackbone
from stress_rig import NOBODY, TINY, DrawnParts, drawn_means, tiny_bench, tiny_rig

from pipeline.inspector import Inspector
from pipeline.stress import SCENARIOS, Stress, StressError, measure
from pipeline.stress_bench import SeedBench
from pipeline.stress_defects import burst, cold_start, found_alone, iid, poisoning, shares
from pipeline.stress_disturbances import judged_for_long, normals, ramp, step, stopped_belt
from pipeline.stress_line import SIDES, Lines, side_config
from pipeline.stress_parts import Belt

if TYPE_CHECKING:
    from edge.sources import Capture
    from pipeline.stress_bench import Stream
    from pipeline.stress_figures import Figures, Outcome


class Witness(SeedBench):
    """A bench that keeps every part it shows, by stream."""

    def __init__(self, **fields: Any) -> None:
        """Watch the tiny streams."""
        plan = replace(TINY, **fields)
        super().__init__(tiny_rig(plan), Belt(DrawnParts(), 0, 3 * plan.window), plan, 0)
        self.streams: list[list[Capture]] = []
        self.shown: list[Stream] = []
        self._warm_up: list[Capture] = []

    def fresh(self) -> Stream:
        """Return a stream whose parts are kept."""
        return self._watched(super().fresh(), [])

    def warmed(self) -> Stream:
        """Return a warmed stream whose parts are kept, those of the warm-up too."""
        before = len(self.streams)
        stream = super().warmed()
        if len(self.streams) > before:
            self._warm_up = self.streams.pop()
            self.shown.pop()
        return self._watched(stream, list(self._warm_up))

    def _watched(self, stream: Stream, shown: list[Capture]) -> Stream:
        show = stream.show
        self.streams.append(shown)
        self.shown.append(stream)

        def show_and_keep(capture: Capture, **kind: Any):  # noqa: ANN202 - as its parent
            shown.append(capture)
            return show(capture, **kind)

        stream.show = show_and_keep  # type: ignore[method-assign]
        return stream


def plain(outcome: Outcome) -> Figures:
    """What the plain line reached."""
    return outcome.figures["plain"]


def brightness(captures: list[Capture]) -> list[float]:
    """Mean level of each picture."""
    return [float(one.pixels.mean()) for one in captures if one.pixels is not None]


def is_bad(capture: Capture) -> bool:
    """Whether a drawn part is defective."""
    return capture.origin.startswith("bad")


def test_undisturbed_stream_has_its_operating_point() -> None:
    """5 % of the good parts reach the threshold, and plain scoring sees single defects."""
    bench = tiny_bench()

    (outcome,) = iid(bench)

    assert plain(outcome)["n"] == TINY.iid_good + TINY.iid_defective
    assert plain(outcome)["false_reject_rate"] == pytest.approx(0.05)
    assert plain(outcome)["auroc"] == 1.0
    assert bench.undisturbed.found == tuple(range(TINY.iid_defective))


def test_a_warmed_stream_is_one_that_was_shown_the_warm_up() -> None:
    """Copies of a warmed stream go on as one that began by itself, whatever another was shown."""
    bench = tiny_bench()
    other, copy, whole = bench.warmed(), bench.warmed(), bench.fresh()
    for number in range(bench.plan.warm_up):
        whole.show(bench.belt.good(number))

    for number in range(bench.plan.window):
        other.show(bench.belt.copy(0, number), defective=True)
    for stream in (copy, whole):
        for number in range(bench.plan.window):
            stream.show(bench.belt.good(bench.plan.warm_up + number))

    assert copy.seen == whole.seen
    assert other.seen["plain"] != whole.seen["plain"]


def test_a_stream_that_has_ended_keeps_what_was_said() -> None:
    """It shows no more parts; its readings are still there."""
    bench = tiny_bench()
    stream = bench.warmed()

    stream.end()

    assert len(stream.readings("guarded")) == TINY.warm_up
    with pytest.raises(ValueError, match=f"ended after {TINY.warm_up} parts"):
        stream.show(bench.belt.good(0))


def test_a_warm_up_that_was_forgotten_is_shown_again() -> None:
    """What is let go of costs time only."""
    bench = tiny_bench()
    before = bench.warmed()

    bench.forget_warm_up()

    assert bench.warmed().seen == before.seen


def test_mixed_streams_have_the_parts_they_claim() -> None:
    """So many good and so many different defective parts, in an order that the seed decides."""
    bench, again = Witness(), Witness()

    poisoning(bench)
    poisoning(again)

    # The undisturbed stream comes second, when its operating point is asked for.
    shown = bench.streams[0][TINY.warm_up :]
    bad = [one.origin for one in shown if is_bad(one)]
    assert (len(shown), len(bad), len(set(bad))) == (20, 6, 6)
    assert [one.origin for one in shown] == [one.origin for one in again.streams[0][TINY.warm_up :]]


def test_what_poisoning_costs_is_told_by_the_same_parts() -> None:
    """The first parts of each kind are those of the undisturbed stream, in another order."""
    bench = Witness()

    (outcome,) = poisoning(bench)

    poisoned, undisturbed = (one[TINY.warm_up :] for one in bench.streams[:2])
    same = min(TINY.iid_good, TINY.poison_good), min(TINY.iid_defective, TINY.poison_defective)
    for kind, count in zip((False, True), same, strict=True):
        firsts = [
            [one.origin for one in stream if is_bad(one) is kind][:count]
            for stream in (poisoned, undisturbed)
        ]
        assert firsts[0] == firsts[1]
        assert len(firsts[0]) == count
    figures = plain(outcome)
    assert figures["auroc_loss"] == figures["auroc_undisturbed"] - figures["auroc_same_parts"]
    assert figures["auroc_undisturbed"] == 1.0


def test_plain_line_is_blind_to_a_long_burst() -> None:
    """It rejects each defect alone, and none any more once 30 % of the window repeat it."""
    outcomes = burst(tiny_bench())

    alone, few, many = map(plain, outcomes)
    assert [one.params["b"] for one in outcomes] == [1, 3, 8]
    assert not any(one.faults for one in outcomes)
    assert (alone["recall"], alone["recall_last"], alone["bursts"]) == (1.0, 1.0, 3)
    assert many["recall_last"] == 0.0
    assert many["recall"] == pytest.approx(few["recall"] * 3 / 8 + 0.25, abs=0.25)  # type: ignore[operator]
    assert alone["auroc"] > many["auroc"]  # type: ignore[operator]


def test_burst_is_consecutive_copies_between_good_parts() -> None:
    """After the warm-up come copies of one defect, and a few good parts."""
    bench = Witness()

    burst(bench)

    bursts = [one for one in bench.streams[1:] if len(one) > TINY.warm_up + 1]
    assert len(bursts) == TINY.defects
    for stream in bursts:
        assert all("again" in one.origin for one in stream[TINY.warm_up :][:8])
        kinds = [is_bad(one) for one in stream[TINY.warm_up :]]
        assert kinds == [True] * 8 + [False] * TINY.after
        defects = {one.origin.split()[0] for one in stream[TINY.warm_up :][:8]}
        assert len(defects) == 1


def test_prefix_of_a_burst_is_a_shorter_burst() -> None:
    """What a line says of the first parts does not depend on how long the burst goes on."""
    long, short = (burst(tiny_bench(replace(TINY, bursts=b))) for b in ((1, 3, 8), (1, 3)))

    for side in SIDES:
        for one, other in zip(long, short, strict=False):
            same = ("recall", "recall_last", "judge_recall", "passed")
            assert all(one.figures[side][k] == other.figures[side][k] for k in same)


def test_too_few_defects_are_a_fault() -> None:
    """A seed that lacks distinct defects says how many it has."""
    outcomes = burst(tiny_bench(replace(TINY, defects=20)))

    assert {one.faults for one in outcomes} == {
        ("seed 0: 8 of 20 defects that plain mutual scoring rejects when they come alone",)
    }


def test_defects_are_tried_one_by_one() -> None:
    """Only as many are shown as are asked for, each alone after good parts."""
    bench = Witness()

    assert list(islice(found_alone(bench), 2)) == [0, 1]

    assert [len(stream) for stream in bench.streams[-2:]] == [TINY.warm_up + 1] * 2
    assert all(is_bad(stream[-1]) for stream in bench.streams[-2:])


def test_shares_of_parts_carry_one_defect() -> None:
    """As many parts as claimed carry copies of the same defect, and plain scoring lets it pass."""
    bench = Witness()

    outcomes = shares(bench)

    streams = [stream[TINY.warm_up :] for stream in bench.streams[-2:]]
    assert [sum(map(is_bad, stream)) for stream in streams] == [2, 10]
    assert [one.params["share"] for one in outcomes] == [0.1, 0.5]
    assert plain(outcomes[0])["recall"] == 1.0
    assert plain(outcomes[1])["recall"] < 1.0  # type: ignore[operator]
    copies = [one for stream in streams for one in stream if is_bad(one)]
    assert len({one.origin.split()[0] for one in copies}) == 1


def test_stopped_belt_blinds_the_plain_line() -> None:
    """The window fills with one part; new good parts then look strange to it."""
    equal, grainy = stopped_belt(tiny_bench())

    assert plain(equal)["not_finite"] == plain(grainy)["not_finite"] == 0
    assert plain(equal)["score_standing"] == 0.0
    assert plain(equal)["score_ratio"] > 1.05  # type: ignore[operator]
    assert (plain(equal)["camera_stale"], plain(grainy)["camera_stale"]) == (1, 0)
    assert plain(equal)["n"] == TINY.after_stop


def test_stopped_belt_shows_one_part() -> None:
    """Equal pictures are equal; noisy ones are never the same within two windows."""
    bench = Witness()

    stopped_belt(bench)

    equal, grainy = (
        [
            one.pixels.tobytes()
            for one in stream[TINY.warm_up :][: TINY.stopped]
            if one.pixels is not None
        ]
        for stream in bench.streams[:3:2]
    )
    assert len(set(equal)) == 1
    period = 2 * TINY.window + 1
    assert all(len(set(grainy[i : i + period])) == period for i in range(TINY.stopped - period))


def test_cold_start_begins_with_the_defect() -> None:
    """The first parts of all are copies, then a window of good ones; none passes before READY."""
    bench = Witness()

    outcomes = cold_start(bench)

    assert [one.params["b"] for one in outcomes] == [2, 5]
    for length, stream in zip((2, 2, 5, 5), bench.streams[-4:], strict=True):
        assert [is_bad(one) for one in stream] == [True] * length + [False] * TINY.window
    assert all(one.figures[side]["passed_before_ready"] == 0 for one in outcomes for side in SIDES)


@pytest.mark.parametrize(("seed", "ratio"), [(0, 1.15), (1, 0.85)])
def test_ramp_ends_at_the_full_change(seed: int, ratio: float) -> None:
    """Brightness goes evenly up in even seeds and down in odd ones, by 15 % in all."""
    bench = Witness()
    bench.seed = seed

    (outcome,) = ramp(bench)

    levels = brightness(bench.streams[0])
    start = np.mean(levels[: TINY.warm_up])
    assert levels[-1] / start == pytest.approx(ratio, abs=0.02)
    middle = levels[TINY.warm_up + TINY.ramp // 2 - 1]
    assert middle / start == pytest.approx((1 + ratio) / 2, abs=0.02)
    assert plain(outcome)["n"] == TINY.ramp


def test_step_stays() -> None:
    """From one part to the next the light changes, and does not come back."""
    bench = Witness(step=0.6)

    (outcome,) = step(bench)

    levels = brightness(bench.streams[0])
    start = np.mean(levels[: TINY.warm_up])
    assert np.allclose(np.array(levels[TINY.warm_up :]) / start, 0.6, atol=0.02)
    assert outcome.params == {"gain": 0.6, "parts": TINY.step_parts}
    assert plain(outcome)["recall"] is None


def test_operator_releases_only_what_changed() -> None:
    """A line that has not told of a change is not released."""
    bench = tiny_bench()
    stream = bench.fresh()

    stream.release([])

    assert stream.released == set()


def test_memories_change_nothing() -> None:
    """Both lines say by the bit what they say with a backbone and windows of their own."""
    bench = Witness(bursts=(1, 5), defects=2)
    list(found_alone(bench))

    for shown, stream in zip(bench.streams[-2:], bench.shown[-2:], strict=True):
        for side in SIDES:
            alone = Inspector(side_config(side, TINY.window), FakeBackbone(), "a89d1abb")
            lines = Lines({side: alone}, f"{0:016x}", lambda: None)
            said = [lines.show(capture)[side] for capture in shown]
            assert said == stream.readings(side)


def test_normals_are_good_parts_at_each_tolerated_rate() -> None:
    """One stream of good parts is told of at four targets, the highest with most rejects."""
    bench = Witness()

    outcomes = normals(bench)

    assert len(bench.streams) == 2, "the stream, and the undisturbed one for its operating point"
    assert not any(map(is_bad, bench.streams[0]))
    assert [one.params["rejects_per_1000"] for one in outcomes] == [50, 20, 10, 5]
    for side in SIDES:
        rejects = [one.figures[side]["rejects"] for one in outcomes]
        assert rejects == sorted(rejects, reverse=True)  # type: ignore[type-var]
        assert {one.figures[side]["of"] for one in outcomes} == {TINY.normals}


def test_drawn_scores_go_through_the_judge() -> None:
    """Each family of scores has the judge's share of rejects beside that of the obvious way."""
    outcomes = judged_for_long(tiny_bench(replace(TINY, judged=2000)))

    params = [(one.params["defect_share"], one.params["family"]) for one in outcomes]
    families = ("lognormal", "student_t", "gumbel")
    assert params == [(share, family) for share in (0.0, 0.02) for family in families]
    for one in outcomes[:3]:
        assert plain(one)["first_thousand"] == pytest.approx(0.02, abs=0.001)
        assert plain(one)["last_thousand"] > 0.025  # type: ignore[operator]
        assert plain(one)["recall"] is None
    for one in outcomes:
        guarded = one.figures["guarded"]
        assert 0 < guarded["false_reject_rate"] < 0.1  # type: ignore[operator]
        assert guarded["least_thousand"] <= guarded["most_thousand"]  # type: ignore[operator]
        assert guarded["n"] == 2000
        assert bool(one.faults) == (
            guarded["most_thousand"] > 0.04  # type: ignore[operator]
            or (not one.params["defect_share"] and guarded["least_thousand"] < 0.01)  # type: ignore[operator]
        )
    assert outcomes[-1].figures["guarded"]["recall"] > 0.5  # type: ignore[operator]


def test_all_streams_run_and_repeat() -> None:
    """Every stream has figures of both lines, and a second run has the same."""
    stress = Stress(seeds=1, plan=TINY, memory_bytes=1_000_000)

    first, second = (measure(stress, drawn_means(stress), NOBODY) for _ in range(2))

    assert {one.scenario for one in first} == set(SCENARIOS)
    assert all(set(one.figures) == set(SIDES) for one in first)
    assert first == second


def test_window_that_no_line_could_have_is_refused() -> None:
    """The config's own words reach the operator."""
    stress = Stress(seeds=1, plan=replace(TINY, window=8))

    with pytest.raises(StressError, match="min_peers"):
        measure(stress, drawn_means(stress), NOBODY)


def test_lines_without_pixels_are_a_mistake() -> None:
    """A stream is made of pictures; a fault has no place in it."""
    lines: Lines = tiny_rig().lines(0)
    capture = replace(DrawnParts().load("good/0"), pixels=None, fault="cut short")

    with pytest.raises(ValueError, match="part 1 has no pixels: cut short"):
        lines.show(capture)
