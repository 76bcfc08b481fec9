"""The guard of a window: what repeats does not hide itself, what stands still does not vote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from factories import config

from pipeline.admission import SECOND_LOOK
from pipeline.region_stream import RegionStream
from pipeline.stream_window import FrameId
from pipeline.window_scores import Look, WindowScores

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from pipeline.worst_region import RegionScores

SIDE, CHANNELS, SIZE = 6, 32, 16
PATCHES = SIDE * SIDE
LIMIT = 0.75
"""Good parts score 0.43 to 0.6 here, those with the defect alone 1.2."""
DEFECT = [14, 15, 20, 21]
"""Four patches side by side."""
NOTHING_IGNORED = np.zeros((SIDE, SIDE), bool)


def drawn(seed: int, *shape: int) -> Tensor:
    """Return numbers that a seed decides."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


BASE, SCRATCH, OTHER = (drawn(seed, PATCHES, CHANNELS) for seed in (1, 2, 3))


def good(seed: int) -> Tensor:
    """Return the tokens [1, P, C] of a part like all others."""
    return (BASE + 0.3 * drawn(1000 + seed, PATCHES, CHANNELS))[None]


def scratched(seed: int) -> Tensor:
    """Return a part with the defect: the same on each, but for what every part has of its own."""
    tokens = good(seed)
    tokens[0, DEFECT] = 1.5 * SCRATCH[DEFECT] + 0.3 * drawn(2000 + seed, len(DEFECT), CHANNELS)
    return tokens


def other(seed: int) -> Tensor:
    """Return a part of another product."""
    return (OTHER + 0.3 * drawn(3000 + seed, PATCHES, CHANNELS))[None]


class Belt:
    """A region's stream, and what it said of each part."""

    def __init__(self, limit: float | None = LIMIT, **window: Any) -> None:
        """Begin with an empty window and a threshold that somebody chose, or that is learnt."""
        fixed = {"method": "fixed", "fixed_threshold": limit}
        settings = config(
            window={"size_frames": SIZE, "min_peers": 8, **window},
            musc={"degrees": [1]},
            judge={"method": "robust_z", "min_scores": 8} if limit is None else fixed,
        )
        self.stream = RegionStream(settings, torch.device("cpu"), SIDE, regions=1)
        self.seen: list[RegionScores] = []
        self.number = 0

    def run(self, parts: Iterable[Tensor]) -> list[RegionScores]:
        """Inspect parts, and return what is said of them."""
        said = []
        for tokens in parts:
            self.number += 1
            name = FrameId("b" * 16, self.number, f"p{self.number}")
            scores = self.stream.score(tokens, tokens[0, 0], NOTHING_IGNORED, name)
            self.stream.keep()
            if scores is not None:
                said.append(scores)
        self.seen += said
        return said

    def events(self, kind: str) -> list[dict[str, Any]]:
        """Return the details of all events of a kind."""
        return [e.detail for one in self.seen for e in one.stream.events if e.kind == kind]

    @property
    def held(self) -> set[int]:
        """Numbers of the parts that vote."""
        return {self.stream.window[slot].frame.seq for slot in self.stream.window.peers}


def filled(**window: Any) -> Belt:
    """Return a belt whose window is full of good parts."""
    belt = Belt(**window)
    belt.run(good(seed) for seed in range(SIZE + 4))
    return belt


def test_defect_that_repeats_is_found_on_every_part() -> None:
    """Where all frames vote the copies hide each other; guarded each scores as if alone."""
    plain, guarded, alone = filled(admission="all"), filled(), filled()

    hidden = plain.run(map(scratched, range(12)))[-1]
    found = guarded.run(map(scratched, range(12)))
    single = alone.run([scratched(11)])

    assert hidden.deciding < LIMIT
    assert all(one.deciding >= LIMIT for one in found)
    assert found[-1].deciding == single[0].deciding


def test_defect_that_repeats_is_one_event_with_its_parts() -> None:
    """It is told at the third part, and again when the parts have doubled."""
    belt = filled()
    first = belt.number + 1

    belt.run(map(scratched, range(7)))

    told = [detail["parts"] for detail in belt.events("same_defect")]
    assert told == [[f"p{first + k}" for k in range(n)] for n in (3, 6)]
    assert not belt.events("regime_change")


def test_different_defects_are_no_event() -> None:
    """Parts that fail for reasons of their own have nothing in common."""
    belt = filled()
    odd = []
    for seed in range(6):
        tokens = good(900 + seed)
        tokens[0, seed * SIDE + 1] = 2 * drawn(50 + seed, CHANNELS)
        odd.append(tokens)

    said = belt.run(odd)

    assert {one.stream.admission for one in said} == {"quarantine"}
    assert not belt.events("same_defect")


def test_belt_that_stands_leaves_no_trace() -> None:
    """Copies do not vote: what comes after them scores as if they had never been there."""
    stopped, moving = filled(), filled()
    last = good(SIZE + 3)

    copies = stopped.run(last + 0.01 * drawn(seed, *last.shape) for seed in range(40))
    later = stopped.run(map(good, range(100, 120)))
    undisturbed = moving.run(map(good, range(100, 120)))

    assert {one.stream.admission for one in copies} == {"duplicate"}
    assert [one.stream.stale for one in copies] == [False] * 4 + [True] * 36
    assert [one.deciding for one in later] == [one.deciding for one in undisturbed]
    assert [d["frames"] for d in stopped.events("belt_stopped")] == [5]
    assert [d["frames"] for d in stopped.events("belt_moves")] == [40]


def test_parts_that_come_again_are_no_stop() -> None:
    """A folder that is shown again and again repeats pictures, but never one in a row."""
    belt = Belt()

    said = belt.run(good(seed % 12) for seed in range(60))

    assert {one.stream.admission for one in said[20:]} == {"duplicate"}
    assert not any(one.stream.stale for one in said)
    assert len(belt.held) == 12


def test_parts_that_are_made_precisely_are_no_copies() -> None:
    """Where parts differ by sensor noise only they all vote, and no camera is stale."""
    belt = Belt()

    said = belt.run(good(0) + 0.01 * drawn(seed, 1, PATCHES, CHANNELS) for seed in range(30))

    assert {one.stream.admission for one in said} == {"peer"}


def test_precise_parts_among_odd_ones_are_no_copies_for_long() -> None:
    """Odd parts at the start make precise ones look like copies until these are the usual."""
    belt = Belt()
    noise = (0.01 * drawn(seed, 1, PATCHES, CHANNELS) for seed in range(200))
    belt.run(other(seed) if seed % 2 else good(0) + next(noise) for seed in range(10))

    said = belt.run(good(0) + next(noise) for _ in range(100))

    assert {one.stream.admission for one in said[-40:]} == {"peer"}


def test_what_falls_on_a_part_that_stands_still_is_found() -> None:
    """A frame that repeats another but for one spot is no copy: it fails."""
    belt = filled()
    part = good(SIZE + 3)
    belt.run([part + 0.01 * drawn(1, *part.shape)])
    part[0, 20] = 2 * drawn(60, CHANNELS)

    (said,) = belt.run([part])

    assert said.stream.admission == "quarantine"


def test_regime_change_waits_for_its_release() -> None:
    """Another product fails, is told once, and lets nothing pass until somebody releases it."""
    belt = filled()

    changed = belt.run(map(other, range(6)))
    good_again = belt.run([good(200)])
    parts = belt.stream.guard.release()
    after = belt.run(map(other, range(10, 14)))

    assert [one.stream.degraded for one in changed] == [False] * 4 + [True] * 2
    assert good_again[0].stream.degraded
    assert good_again[0].deciding < LIMIT
    assert len(belt.events("regime_change")) == 1
    assert len(parts) == 6
    assert all(one.deciding < LIMIT and not one.stream.degraded for one in after)


@pytest.mark.parametrize("since", [0, 4, 11])
def test_release_into_a_full_window(since: int) -> None:
    """Those that were released vote, all of them, however many peers came since the change."""
    belt = filled()
    belt.run(map(other, range(10)))
    belt.run(good(200 + seed) for seed in range(since))
    apart = [belt.stream.window[slot].frame for slot in belt.stream.window.apart]
    assert len(belt.held) + len(apart) > SIZE

    parts = belt.stream.guard.release()

    assert parts == [frame.part for frame in apart]
    assert belt.held == {frame.seq for frame in apart}
    assert belt.run([other(50)])[0].deciding < LIMIT


@pytest.mark.parametrize("since", [0, 4, 9])
def test_released_parts_have_room_in_a_full_window(since: int) -> None:
    """Without a change of regime the oldest peers go, and no released part."""
    belt = filled()
    belt.run(map(scratched, range(8)))
    belt.run(good(200 + seed) for seed in range(since))
    apart = {belt.stream.window[slot].frame.seq for slot in belt.stream.window.apart}
    latest = set(sorted(belt.held)[len(apart) - SIZE :])

    parts = belt.stream.guard.release()

    assert len(parts) == len(apart)
    assert belt.held == apart | latest


def test_no_more_is_released_than_a_window_holds() -> None:
    """Of more parts the latest vote, and the others raise nothing again."""
    belt = filled(apart_frames=24)
    belt.run(map(other, range(24)))

    parts = belt.stream.guard.release()

    assert len(parts) == len(belt.held) == SIZE
    assert max(belt.held) == belt.number
    assert all(one.stream.admission == "peer" for one in belt.run(map(other, range(50, 60))))
    assert len(belt.events("regime_change")) == 1


def test_release_of_a_defect_lets_its_parts_vote() -> None:
    """What an operator calls good passes from then on, and the window keeps its other parts."""
    belt = filled()
    belt.run(map(scratched, range(8)))

    parts = belt.stream.guard.release()

    assert len(parts) == 8
    assert belt.run([scratched(50)])[0].deciding < LIMIT
    assert belt.run([good(300)])[0].deciding < LIMIT


def test_release_of_a_few_parts_lets_them_vote_too() -> None:
    """A third of a window can be left out as look-alikes; what was released never is."""
    belt = filled()
    belt.run(map(scratched, range(5)))

    parts = belt.stream.release()

    assert len(parts) == 5
    assert belt.run([scratched(50)])[0].deciding < LIMIT


def test_release_is_of_parts_that_only_warned_too() -> None:
    """A person who says that the parts kept apart are good means all of them."""
    belt = warned()
    belt.run(map(scratched, range(6)))

    parts = belt.stream.release()
    after = belt.run([scratched(50)])

    assert len(parts) == 6
    assert after[0].stream.admission == "peer"
    assert after[0].deciding < LIMIT


def precise(seed: int) -> Tensor:
    """Return a part of another product, whose parts differ less: they score lower."""
    return (OTHER + 0.1 * drawn(7000 + seed, PATCHES, CHANNELS))[None]


def replaced() -> Belt:
    """Return a belt whose judge knows one product, after the release of another."""
    belt = Belt(limit=None, apart_frames=12)
    belt.run(map(good, range(3 * SIZE)))
    assert {one.stream.admission for one in belt.run(map(precise, range(12)))} == {"quarantine"}
    assert len(belt.stream.release()) == 12
    return belt


def test_release_of_another_product_teaches_the_judge_anew() -> None:
    """The threshold is that of the parts released, at once, and stays so as others come."""
    belt = replaced()

    said = belt.run(map(precise, range(20, 50)))

    thresholds = [one.threshold for one in said]
    highest = max(one.deciding for one in said)
    assert all(level is not None and level < 2 * highest for level in thresholds)
    assert sum(one.deciding >= level for one, level in zip(said, thresholds, strict=True)) <= 3
    assert belt.run([good(900)])[0].stream.admission == "quarantine"


def test_release_before_a_restart_teaches_the_judge_after_it() -> None:
    """What is owed to the judge is part of the snapshot."""
    belt, restarted = replaced(), Belt(limit=None, apart_frames=12)
    restarted.stream.restore(belt.stream.state())
    restarted.number = belt.number

    said, again = (one.run(map(precise, range(20, 24))) for one in (belt, restarted))

    assert [one.threshold for one in again] == [one.threshold for one in said]
    assert [one.deciding for one in again] == [one.deciding for one in said]


def test_release_of_a_single_part_of_another_product() -> None:
    """It is the whole window, and scores what comes; there is nobody to score it by."""
    belt = Belt(limit=None, min_peers=1)
    belt.run(map(good, range(3 * SIZE)))
    belt.run(map(other, range(6)))
    belt.stream.window.evict(belt.stream.window.apart[1:])

    parts = belt.stream.release()

    assert len(parts) == len(belt.held) == 1
    assert belt.run([other(50)])[0].peers == 1
    assert belt.stream._judge.support().scores == 0


def test_release_of_a_few_parts_teaches_the_judge_nothing() -> None:
    """Most of the window is as it was, and so are the scores that are known."""
    belt = Belt(limit=None)
    belt.run(map(good, range(3 * SIZE)))
    belt.run(map(scratched, range(3)))
    known = belt.stream._judge.support().scores

    assert len(belt.stream.release()) == 3
    belt.run([good(900)])

    assert belt.stream._judge.support().scores == known + 1


def test_what_one_of_a_first_burst_shows_all_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a first window some copies do not show the spot by themselves: one that does is enough."""
    belt = Belt()
    belt.run(map(scratched, range(5)))
    shows = belt.stream.window.find("b" * 16, 3)
    at = WindowScores.at

    def none(distances: np.ndarray, *_: Any, **__: Any) -> np.ndarray:
        return np.zeros(len(distances), bool)

    def look(looks: WindowScores, slot: int, *given: Any, **named: Any) -> Look:
        with monkeypatch.context() as others:
            if slot != shows:
                others.setattr("pipeline.window_scores.look_alikes", none)
            return at(looks, slot, *given, **named)

    monkeypatch.setattr(WindowScores, "at", look)
    belt.run(map(good, range(SIZE)))

    refined = {r.seq: r.score for one in belt.seen for r in one.stream.refined}
    assert all(refined[seq] >= LIMIT for seq in range(1, 6))


def test_burst_before_the_window_is_filled_loses_its_votes() -> None:
    """Parts that share a spot do not count for each other: a second look finds them."""
    belt = Belt()
    belt.run(map(scratched, range(4)))

    belt.run(map(good, range(SIZE)))

    refined = {r.seq: r.score for one in belt.seen for r in one.stream.refined}
    assert all(refined[seq] >= LIMIT for seq in range(1, 5))
    assert belt.held.isdisjoint(range(1, 5))


def test_first_burst_is_found_whatever_the_limit() -> None:
    """The threshold of a window's first frames may be far too high; a clear spot is seen."""
    belt = Belt(limit=2.0)
    belt.run(map(scratched, range(6)))

    belt.run(map(good, range(SIZE)))

    refined = {r.seq: r.score for one in belt.seen for r in one.stream.refined}
    assert all(refined[seq] >= LIMIT for seq in range(1, 7))


def test_second_look_that_contradicts_is_an_event() -> None:
    """A part that passed and would fail now is named, and its result stays as it is."""
    belt = filled()
    near = good(77)
    near[0, DEFECT] = 0.9 * near[0, DEFECT] + 0.35 * SCRATCH[DEFECT]
    (first,) = belt.run([near])
    number = belt.number

    belt.run(map(good, range(400, 400 + SIZE)))

    assert first.deciding < LIMIT
    (told,) = belt.events("second_look")
    assert (told["seq"], told["said"]) == (number, "PASS")
    assert told["refined"] >= LIMIT


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_warnings_cannot_starve_a_window(share: float) -> None:
    """Of the latest frames at most a quarter is refused its vote for a warning alone."""
    belt = filled()
    belt.stream._judge.warning = lambda: LIMIT * (1 - share)  # type: ignore[method-assign]  # it never warns

    said = belt.run(map(good, range(500, 500 + SIZE)))

    places = [one.stream.admission for one in said]
    assert places.count("doubtful") == (SIZE // 4 if share else 0)
    assert places.count("peer") == SIZE - places.count("doubtful")


def warned() -> Belt:
    """Return a full belt where a defect only warns."""
    belt = Belt(limit=1.5)
    belt.stream._judge.warning = lambda: LIMIT  # type: ignore[method-assign]  # a fixed one never warns
    belt.run(good(seed) for seed in range(SIZE + 4))
    return belt


def test_weak_defect_that_repeats_does_not_lift_the_threshold() -> None:
    """Like copies that fail: from the third on they tell the judge nothing new."""
    belt = warned()

    said = belt.run(map(scratched, range(8)))
    strange = belt.run([odd(1)])

    assert [one.stream.counts for one in said] == [True] * 2 + [False] * 6
    assert strange[0].stream.counts


def test_weak_defect_that_repeats_never_votes() -> None:
    """Each part only warns, and more of them than may be doubtful by chance: they are alike."""
    belt = warned()

    said = belt.run(map(scratched, range(SIZE // 2)))

    assert {one.stream.admission for one in said} == {"doubtful"}
    assert not any(one.deciding >= 1.5 for one in said)
    assert all(one.deciding >= LIMIT for one in said)


def test_pinned_frame_is_a_floor_until_it_is_let_go() -> None:
    """A defect that fills the window still scores what it does against a pinned good part."""
    free, pinned = filled(admission="all"), filled(admission="all")
    slot = pinned.stream.window.peers[-1]
    frame = pinned.stream.window[slot].frame

    assert pinned.stream.pin(frame.boot, frame.seq) == "done"
    pinned.run(map(good, range(600, 604)))
    free.run(map(good, range(600, 604)))
    below = free.run(map(scratched, range(12)))[-1]
    above = pinned.run(map(scratched, range(12)))[-1]

    assert below.deciding < LIMIT <= above.deciding
    assert pinned.stream.pin(frame.boot, 99_999) == "unknown_frame"
    assert pinned.stream.unpin() == 1
    assert pinned.run([scratched(12)])[0].deciding < LIMIT


def test_no_more_is_pinned_than_there_is_room() -> None:
    """The room is the config's; what is pinned already takes no more."""
    belt = filled(pins_frames=1)
    first, second = (belt.stream.window[slot].frame for slot in belt.stream.window.peers[:2])

    answers = [belt.stream.pin(one.boot, one.seq) for one in (first, first, second)]

    assert answers == ["done", "done", "pins_full"]


def test_second_look_at_a_frame_that_has_to_go_at_once() -> None:
    """The newest may take the place of a frame that was looked at for its sake."""
    belt = filled(apart_frames=1)
    belt.run([scratched(0)])
    first = belt.number
    belt.run(map(good, range(800, 813)))

    (said,) = belt.run([other(0)])

    assert first in {one.seq for one in said.stream.refined}
    assert belt.stream.window.find("b" * 16, first) is None
    assert belt.run([good(820)])[0].deciding < LIMIT


def test_frames_apart_go_when_a_window_has_voted_after_them() -> None:
    """Each costs a product with every new frame, and tells nothing any more."""
    belt = filled()
    belt.run([scratched(0)])

    belt.run(map(good, range(830, 830 + SIZE + 2)))

    assert belt.stream.window.apart == []


def test_frames_apart_go_once_they_were_looked_at_again() -> None:
    """A refined score is what they were held for."""
    belt = filled()
    (first,) = belt.run([scratched(0)])
    number = belt.number

    said = belt.run(map(good, range(850, 850 + SIZE)))

    looked = [k for k, one in enumerate(said) if number in {r.seq for r in one.stream.refined}]
    assert first.stream.admission == "quarantine"
    assert looked == [int(SECOND_LOOK * SIZE) + 1]
    assert belt.stream.window.apart == []


def test_parts_that_vary_go_on_to_vote() -> None:
    """Parts differ by degrees, and some fail: those like them must not lose all their peers."""
    lean = np.random.default_rng(0).uniform(-1, 1, 240)

    def leaning(number: int) -> Tensor:
        tokens = good(number)
        tokens[0, DEFECT] += float(lean[number]) * OTHER[DEFECT]
        return tokens

    guarded, plain = (
        Belt(limit=0.6, size_frames=32),
        Belt(limit=0.6, size_frames=32, admission="all"),
    )
    failed = [
        sum(one.deciding >= 0.6 for one in belt.run(map(leaning, range(240)))[-100:])
        for belt in (guarded, plain)
    ]

    voting = [lean[number - 1] for number in guarded.held]
    assert 0 < failed[0] <= failed[1] + 10
    assert min(voting) < -0.7 < 0.7 < max(voting)


def odd(seed: int) -> Tensor:
    """Return a part with a defect that no other has."""
    tokens = good(5000 + seed)
    tokens[0, seed % PATCHES] = 2 * drawn(6000 + seed, CHANNELS)
    return tokens


def test_line_that_goes_bad_does_not_lift_its_threshold() -> None:
    """Once a quarter of the latest parts failed, further failures are no scores of good parts."""
    belt = filled()

    said = belt.run(map(odd, range(20)))

    assert [one.stream.counts for one in said] == [True] * 4 + [False] * 16
    assert belt.run([good(900)])[0].stream.counts


def test_other_product_that_is_made_precisely_is_a_regime_and_no_stop() -> None:
    """Parts that all fail are not taken for a belt that stands, however alike they are."""
    belt = filled()

    said = belt.run(other(0) + 0.01 * drawn(seed, 1, PATCHES, CHANNELS) for seed in range(6))
    belt.stream.guard.release()
    after = belt.run(other(0) + 0.01 * drawn(seed, 1, PATCHES, CHANNELS) for seed in range(6, 12))

    assert said[-1].stream.degraded
    assert not any(one.stream.stale for one in said)
    assert all(one.deciding < LIMIT and not one.stream.degraded for one in after)


def test_released_parts_keep_their_vote() -> None:
    """No second look takes back what a person has said."""
    belt = filled()
    belt.run(map(scratched, range(3)))
    released = set(range(belt.number - 2, belt.number + 1))

    belt.stream.guard.release()
    belt.run(map(good, range(1000, 1013)))

    assert released <= belt.held


def test_blank_parts_with_a_smoothed_score_stay_finite() -> None:
    """A raw score of 0 is no scale for a second look."""
    belt = Belt(stale_frames=0)
    belt.stream._rescores = True

    said = belt.run(good(0) if seed % 5 else good(1) for seed in range(80))

    assert all(np.isfinite(one.deciding) for one in said)
