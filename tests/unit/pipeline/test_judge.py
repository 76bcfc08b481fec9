"""Thresholds come from the line's own scores, and only when there are enough."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config_method import JudgeSettings
from pipeline.judge import FixedThreshold, RobustZ, TailJudge, make_judge
from pipeline.stress_calibration import draw_scores, rejected_by

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pipeline.judge import Judge


def taught(judge: Judge, scores: Iterable[float]) -> Judge:
    """Return a judge that has learnt scores with enough peers."""
    for score in scores:
        judge.learn(float(score), 31)
    return judge


def answers(judge: Judge) -> tuple[Any, ...]:
    """Return everything that a judge says."""
    return judge.threshold(), judge.warning(), judge.p_value(0.4), judge.support()


def test_no_threshold_before_enough_scores() -> None:
    """With one score too few there is no threshold."""
    judge = RobustZ(20, min_scores=16, history_scores=100)
    taught(judge, [1.0] * 15)

    before = answers(judge)
    judge.learn(1.0, peers=8)

    assert before[:3] == (None, None, None)
    assert None not in answers(judge)[:3]


@pytest.mark.parametrize(("score", "peers"), [(1.0, 7), (0.0, 31), (-1.0, 31), (math.nan, 31)])
def test_incomparable_scores_are_not_learnt(score: float, peers: int) -> None:
    """Scores with few peers, or that have no logarithm, never set a threshold."""
    judge = RobustZ(20, min_scores=8, history_scores=100)

    for _ in range(50):
        judge.learn(score, peers)

    assert judge.threshold() is None


@pytest.mark.parametrize("rejects_per_1000", [10, 50, 200])
@pytest.mark.parametrize("kind", [RobustZ, TailJudge])
def test_share_of_rejects_is_met_on_lognormal_scores(
    kind: type[RobustZ], rejects_per_1000: float
) -> None:
    """On lognormal scores the rejected share is the tolerated one, within its error."""
    scores = np.random.default_rng(1).lognormal(-1, 0.2, 10_000)
    judge = taught(kind(rejects_per_1000, min_scores=16, history_scores=10_000), scores)

    threshold = judge.threshold()

    assert threshold is not None
    assert np.mean(scores >= threshold) * 1000 == pytest.approx(rejects_per_1000, rel=0.2)


def test_defects_hardly_move_the_threshold() -> None:
    """One defective part in ten moves the threshold by less than half a sigma."""
    normal = np.random.default_rng(2).lognormal(-1, 0.2, 900)

    clean, mixed = (
        taught(RobustZ(20, 16, 1000), scores) for scores in (normal, [*normal, *[10.0] * 100])
    )

    assert abs(math.log((mixed.threshold() or 0) / (clean.threshold() or 1))) < 0.1


@pytest.mark.parametrize("kind", [RobustZ, TailJudge])
@pytest.mark.parametrize("count", [20, 150, 1000])
def test_equal_scores_leave_room_above(kind: type[RobustZ], count: int) -> None:
    """Where all scores are equal the threshold is still above them."""
    judge = taught(kind(20, 8, 2000), [0.5] * count)

    assert 0.5 < (judge.threshold() or 0) < 0.55


def test_old_scores_are_forgotten() -> None:
    """Only the latest scores count."""
    judge = taught(RobustZ(20, 8, history_scores=10), [100.0] * 10 + [1.0] * 10)

    assert (judge.threshold() or 0) < 2


def test_few_scores_set_a_cautious_threshold() -> None:
    """Nine regions at 20 in a thousand together: 16 scores reject no more good parts than many."""
    rng = np.random.default_rng(3)
    few, exact = [], []
    for _ in range(400):
        judge = taught(RobustZ(20 / 9, 16, 5000), rng.lognormal(-1, 0.1, 16))
        following = rng.lognormal(-1, 0.1, 50)
        few.append(following >= (judge.threshold() or 0))
        exact.append(following >= (judge.warning() or 0))

    shares = 9 * np.mean(few), 9 * np.mean(exact)

    assert shares[0] < 0.06
    assert shares[1] > 0.1  # what a Gaussian with the same spread would reject


@pytest.mark.parametrize("family", ["lognormal", "student_t", "gumbel"])
def test_tail_takes_over_without_a_jump(family: Any) -> None:
    """From the first threshold on ln(threshold) never moves by more than a sigma at once."""
    scores, _ = draw_scores(family, 1000, 0.0, seed=5)
    judge = TailJudge(20, 16, 10_000)
    levels = []
    for score in scores:
        judge.learn(float(score), 31)
        if judge.support().scores >= 60:
            levels.append(judge.threshold() or 0)

    assert judge.support().method == "tail"
    assert np.abs(np.diff(np.log(levels))).max() < 0.12


def test_warning_lies_below_the_threshold() -> None:
    """A warning begins below the threshold, at a score that more of the good parts reach."""
    scores, _ = draw_scores("lognormal", 3000, 0.0, seed=1)
    judge = taught(TailJudge(20, 16, 10_000), scores)

    threshold, warning = judge.threshold() or 0, judge.warning() or 0

    assert np.mean(scores >= threshold) == pytest.approx(0.02, rel=0.3)
    assert np.mean(scores >= warning) == pytest.approx(0.06, rel=0.3)


def test_p_value_is_a_rank_among_all_that_came() -> None:
    """The rank counts rejected scores too, equal ones as higher, and is never 0."""
    judge = taught(TailJudge(20, 8, 100), [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 9.0, 9.0])

    ranks = [judge.p_value(score) for score in (10.0, 9.0, 0.65, 0.0)]

    assert ranks == [0.1, 0.3, 0.4, 1.0]


def test_p_values_of_good_parts_are_uniform() -> None:
    """No more than one good part in ten has a p-value of at most 0.1."""
    scores, _ = draw_scores("gumbel", 3000, 0.0, seed=2)
    judge = TailJudge(20, 16, 500)
    ranks = []
    for score in scores:
        ranks.append(judge.p_value(score))
        judge.learn(float(score), 31)

    low = np.mean([rank <= 0.1 for rank in ranks if rank is not None])

    assert 0.08 < low < 0.12


def test_support_says_what_is_still_missing() -> None:
    """A target is supported once ten rejects are expected among the held scores."""
    scores, _ = draw_scores("lognormal", 1000, 0.0, seed=0)
    judge = TailJudge(20, 16, 1000)

    empty = judge.support()
    few = taught(judge, scores[:100]).support()
    enough = taught(judge, scores[100:]).support()

    assert empty == ("robust_z", 0, 0.0, 1000.0, 500)
    assert (few.scores, few.more_needed) == (100, 400)
    assert (enough.method, enough.scores, enough.more_needed) == ("tail", 1000, 0)
    assert 5 < enough.low < 20 < enough.high < 40
    assert few.high - few.low > enough.high - enough.low


@pytest.mark.parametrize("learnt", [0, 5, 40, 333, 1500])
@pytest.mark.parametrize("plain", [False, True])
def test_restored_judge_answers_the_same(learnt: int, plain: bool) -> None:  # noqa: FBT001
    """After a restart, from arrays or from JSON, every answer now and later is the same."""
    scores, _ = draw_scores("student_t", learnt + 120, 0.02, seed=7)
    before, after = (TailJudge(20, 16, 1000) for _ in range(2))
    taught(before, scores[:learnt])
    state = before.state()
    if plain:
        state = json.loads(json.dumps(state, default=lambda array: array.tolist()))

    after.restore(state)

    assert answers(after) == answers(before)
    for score in scores[learnt:]:
        taught(before, [score])
        taught(after, [score])
        assert answers(after) == answers(before)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"judge": "fixed at 0.5"}, "judge: the state is of 'fixed at 0.5'"),
        ({"scores": [0.5] * 19}, "thresholds: 20 values for 19 scores"),
        ({"scores": [0.5] * 19 + [0.0]}, "scores: the least is 0.0"),
        ({"scores": [0.5] * 19 + [math.nan]}, "scores: must be one row of finite numbers"),
        ({"scores": ["x"] * 20}, "scores: not numbers"),
        ({"thresholds": [-1.0] * 20}, "thresholds: the least is -1.0"),
        ({"learned": 19}, "scores: 20 values, must be 19"),
        ({"learned": "20"}, "learned = '20'"),
        ({"levels": {"threshold": -1.0, "warning": None, "method": "tail"}}, "levels = "),
        ({"levels": {"threshold": 1.0, "warning": None, "method": "luck"}}, "levels = "),
        ({"levels": None}, "levels = None"),
    ],
)
def test_wrong_state_is_refused(wrong: dict[str, Any], says: str) -> None:
    """A state that is not of such a judge is refused by name, and the judge stays as it was."""
    judge = taught(TailJudge(20, 16, 100), np.linspace(0.3, 0.5, 20))
    state, before = judge.state(), answers(judge)

    with pytest.raises(ValueError, match=says):
        judge.restore(state | wrong)

    assert answers(judge) == before


@pytest.mark.parametrize("missing", ["judge", "levels", "scores", "thresholds", "learned"])
def test_incomplete_state_is_refused(missing: str) -> None:
    """Whatever a state lacks is named."""
    judge = TailJudge(20, 16, 100)
    state = {name: value for name, value in judge.state().items() if name != missing}

    with pytest.raises(ValueError, match=missing):
        judge.restore(state)


def test_state_of_other_settings_is_refused() -> None:
    """A judge does not go on with the scores of one that tolerated something else."""
    with pytest.raises(ValueError, match="at 20 rejects per 1000"):
        TailJudge(10, 16, 100).restore(TailJudge(20, 16, 100).state())


@given(
    pool=st.lists(st.floats(5e-324, 2.0), min_size=1, max_size=6),
    count=st.integers(100, 400),
    rejects=st.sampled_from([0.5, 20.0, 100.0, 499.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_any_scores_give_a_finite_threshold(
    pool: list[float], count: int, rejects: float, seed: int
) -> None:
    """Ties, tiny scores, two values: the threshold is a positive number, the same every time."""
    scores = np.random.default_rng(seed).choice(pool, count)

    one, two = (taught(TailJudge(rejects, 16, 300), scores) for _ in range(2))

    assert one.threshold() == two.threshold()
    assert 0 < (one.threshold() or 0) < math.inf
    assert 0 < (one.warning() or 0) <= (one.threshold() or 0)


@pytest.mark.parametrize("level", [0.9, 5.0])
def test_hundreds_of_defects_do_not_carry_the_threshold_away(level: float) -> None:
    """One part in ten far above all good ones: the threshold stays below it."""
    scores, _ = draw_scores("lognormal", 2000, 0.0, seed=3)
    defective = np.random.default_rng(3).random(2000) < 0.1
    scores[defective] = level
    judge = TailJudge(20, 16, 10_000)

    rejected = rejected_by(judge, scores)[200:]

    assert rejected[defective[200:]].all()
    assert rejected[~defective[200:]].mean() < 0.06


def test_line_that_changed_for_good_is_believed() -> None:
    """Where all scores rise by half, rejects are as tolerated again within a history."""
    scores, _ = draw_scores("lognormal", 4500, 0.0, seed=0)
    scores[1500:] *= 1.5

    rejected = rejected_by(TailJudge(20, 16, 1000), scores)

    assert rejected[1500:1600].mean() > 0.5
    assert 10 <= rejected[2500:3500].sum() <= 40
    assert 10 <= rejected[3500:4500].sum() <= 40


def test_slow_drift_does_not_add_up() -> None:
    """Scores that rise by a tenth in 6000 parts are rejected no more than twice as often."""
    scores, _ = draw_scores("lognormal", 6000, 0.0, seed=0)
    scores *= np.linspace(1, 1.1, 6000)

    rejected = rejected_by(TailJudge(20, 16, 10_000), scores)

    assert rejected.reshape(6, 1000).sum(axis=1).max() <= 40


def test_judge_holds_what_its_rejects_need() -> None:
    """A judge holds four times what it needs, 2000 at least, and never more than it is told."""
    scores = np.full(3000, 0.5)

    held = [
        taught(RobustZ(rejects, 16, most), scores).support().scores
        for rejects, most in ((20, 10_000), (15, 10_000), (15, 500))
    ]

    assert held == [2000, 2668, 500]


def test_config_chooses_the_judge() -> None:
    """Fixed uses the given number from the first frame on, auto the tail, robust_z never."""
    fixed = make_judge(JudgeSettings(method="fixed", fixed_threshold=0.7))
    taught(fixed, [5.0] * 20)

    assert isinstance(fixed, FixedThreshold)
    assert (fixed.threshold(), fixed.warning()) == (0.7, None)
    assert fixed.p_value(0.7) == 1.0
    assert fixed.support()[:2] == ("fixed", 20)
    assert fixed.support().more_needed == 0
    assert type(make_judge(JudgeSettings())) is TailJudge
    assert type(make_judge(JudgeSettings(method="robust_z"))) is RobustZ
