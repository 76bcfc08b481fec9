"""Who may vote: the guard of one window against what mutual scoring is blind to.

Mutual scoring was made for shuffled sets. On a belt a worn tool puts one defect on every
part: once its copies are the nearest peers of each other they score like good parts. So

* only frames judged normal vote. One that fails is kept apart (*quarantine*), and so is
  one that warns (*doubtful*), unless too many did of late: normal parts must not be able
  to starve the window. Either keeps its vote if several voters have what makes it
  unusual: it is then of a rarer kind of good parts, which needs its votes to be known;
* a *duplicate* of a held frame does not vote: a belt that stands would fill the window
  with one part, and every other part would look wrong afterwards;
* frames apart that share what made them fail are one event: ``same_defect`` where it is
  a small part of the frame, ``regime_change`` where it is most of it. From a regime
  change on nothing passes until somebody releases;
* each frame is looked at once more when most of a window has voted after it. One that voted
  and fails then loses its vote; a look that contradicts the result is an event.

``consider`` says what will become of the newest frame and changes nothing, ``keep`` does
it, ``withdraw`` forgets it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import TypeAdapter

from pipeline.arrival import StreamNews
from pipeline.inspection import Admission, RefinedScore, StreamEvent
from pipeline.lookalikes import EXPLAINED, LIKE_SOME, explains
from pipeline.repeated_defects import (
    NO_EPISODE,
    REGIME_SHARE,
    SAME_DEFECT_PARTS,
    Episode,
    Spot,
    is_regime,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.arrival import Arrival
    from pipeline.config_method import WindowSettings
    from pipeline.lookalikes import Flags
    from pipeline.stream_window import Held, StreamWindow
    from pipeline.window_scores import Look, WindowScores

SECOND_LOOK = 0.75
"""Of a window's peers, how many must be newer than a frame for its second look: a burst at
the very beginning, up to 0.3 of a window, is then in the minority by two to one."""
FAILED_SHARE = 0.25
"""Of the latest frames, how many may fail before no more of them is taken for what good
parts score by chance: a line that went bad must not lift its own threshold."""
DOUBTFUL_SHARE = 0.25
"""Of the latest frames, as many as a window holds, that may lose their vote for a warning."""
DOUBTS_ALIKE = 2
"""Frames apart with the spot of a doubtful one: then it is no chance, and may lose its vote."""
KNOWN_BY = 0.1
"""Share of the voters with the unusual spot of a frame, one at least, that make it one of a rarer
kind of good parts: a third of those that a patch score is the mean of by default. With
only those that never warn voting, a kind that every fourth part is of would lose all its peers:
of a synthetic line's good parts 29 in 100 failed, and 3 in 100 where these keep their vote."""


@dataclass(frozen=True, slots=True)
class GuardState:
    """What the guard remembers beside the window."""

    latest: tuple[Admission, ...] = ()
    copies: int = 0
    """Copies of one frame in a row, up to the newest."""
    anchor: tuple[str, int] | None = None
    """Boot and number of that frame: the newest itself, or whose copy it is."""
    episode: Episode = NO_EPISODE
    degraded: bool = False


_STATE = TypeAdapter(GuardState)


class _SecondLook(NamedTuple):
    slot: int
    score: float
    share: float
    fails: bool


class _Plan(NamedTuple):
    news: StreamNews
    state: GuardState
    arrival: Arrival
    seconds: list[_SecondLook]


class AdmissionGuard:
    """The guard of one window."""

    def __init__(self, settings: WindowSettings, window: StreamWindow, looks: WindowScores) -> None:
        """Guard ``window``, whose frames ``looks`` looks at."""
        self._settings = settings
        self._guarded = settings.admission == "guarded"
        self._window = window
        self._looks = looks
        self._state = GuardState()
        self._plan: _Plan | None = None

    def consider(self, slot: int, arrival: Arrival, ignored: Flags) -> StreamNews:
        """Say what will become of the newest frame.

        Args:
            slot: Where it is.
            arrival: How it was scored.
            ignored: [P], patches that have no say.
        """
        if not self._guarded:
            plain = StreamNews(warns=arrival.warns)
            self._plan = _Plan(plain, self._state, arrival, [])
            return plain
        before = self._state
        admission, tied = self._admission(slot, arrival)
        copies, anchor = self._copies(slot, arrival.look)
        events = self._belt(before.copies, copies)
        regime = False
        episode = before.episode.passed(self._settings.size_frames)
        if admission == "quarantine":
            episode, regime, tied = self._repeated(slot, arrival, events)
        if regime and not before.degraded:
            events.append(StreamEvent(kind="regime_change", detail={"frames": tied + 1}))
        seconds = self._second_looks(arrival, ignored, events)
        latest = (*before.latest, admission)[-self._settings.size_frames :]
        state = GuardState(latest, copies, anchor, episode, before.degraded or regime)
        once = admission != "duplicate" and tied + 1 < SAME_DEFECT_PARTS
        news = StreamNews(
            admission=admission,
            warns=arrival.warns,
            stale=0 < self._settings.stale_frames <= copies,
            degraded=state.degraded,
            counts=once and not state.degraded and not self._goes_bad(latest),
            events=tuple(events),
            refined=tuple(self._refined(one) for one in seconds),
        )
        self._plan = _Plan(news, state, arrival, seconds)
        return news

    def keep(self) -> None:
        """Do what was considered last."""
        plan, self._plan = self._plan, None
        if plan is None:
            self._window.place("peer")
            return
        self._state = plan.state
        if plan.news.admission == "duplicate":
            self._window.drop()
        elif self._window.newest is not None:
            held = self._window[self._window.newest]
            if plan.arrival.threshold is not None:
                held.failed = plan.arrival.fails
                held.share = plan.arrival.look.share(plan.arrival.threshold)
            if plan.arrival.deciding > 0 and plan.arrival.look.score > 0:
                held.scale = plan.arrival.look.score / plan.arrival.deciding
            self._window.place("peer" if plan.news.admission == "peer" else "apart")
        if plan.news.admission in {"peer", "duplicate"}:
            self._looks.learn(plan.arrival.look)
        for one in plan.seconds:
            # Whoever found a place meanwhile may have taken that of a frame looked at.
            if one.slot in self._window:
                self._looked(one)

    def withdraw(self) -> None:
        """Forget what was considered last."""
        self._plan = None

    def saved(self) -> dict[str, Any]:
        """Return what a restart needs beside the window, as JSON."""
        saved: dict[str, Any] = _STATE.dump_python(self._state, mode="json")
        return saved

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Remember what the guard did that gave ``saved``.

        Raises:
            ValueError: It is nothing that a guard remembers.
        """
        self._state = _STATE.validate_python(saved)

    def release(self) -> list[str]:
        """Give the vote to what was kept apart; return the parts, oldest first.

        After a regime change they alone vote, as long as a score needs no more peers. Else
        the oldest peers make room for them. Of more than a window's size the latest vote.
        They are no look-alikes that a frame like them could hide behind: what they show is good.
        """
        apart = self._window.apart
        for slot in apart:
            held = self._window[slot]
            held.failed, held.refined, held.released = False, True, True
        size, peers = self._settings.size_frames, self._window.peers
        released = apart[-size:]
        changed = self._state.degraded and len(released) >= self._settings.min_peers
        leave = len(peers) if changed else max(0, len(peers) + len(released) - size)
        # A frame that moves into a full window would push out the oldest, released or not.
        self._window.evict(peers[:leave])
        for slot in released:
            self._window.move(slot, "peer")
        self._looks.forget()
        self._state = GuardState()
        return [self._window[slot].frame.part for slot in released]

    def _goes_bad(self, latest: tuple[Admission, ...]) -> bool:
        """Tell whether too many of the latest frames failed, with the newest."""
        most = FAILED_SHARE * self._settings.size_frames
        return latest[-1] == "quarantine" and latest.count("quarantine") > most

    def _copies(self, slot: int, look: Look) -> tuple[int, tuple[str, int]]:
        """Count copies of one and the same frame in a row: a folder that is repeated is no stop."""
        names = [self._window[twin].frame[:2] for twin in look.twins]
        if not names:
            return 0, self._window[slot].frame[:2]
        anchor = self._state.anchor
        if anchor is not None and anchor in names:
            return self._state.copies + 1, anchor
        return 1, names[0]

    def _belt(self, before: int, now: int) -> list[StreamEvent]:
        """Tell that a belt stands, once, and that it moves again."""
        limit = self._settings.stale_frames
        if not limit:
            return []
        if now == limit:
            return [StreamEvent(kind="belt_stopped", detail={"frames": now})]
        if before >= limit and now <= before:
            return [StreamEvent(kind="belt_moves", detail={"frames": before})]
        return []

    def _known(self, slot: int, look: Look, level: float) -> bool:
        """Tell whether several voters have what makes a frame unusual."""
        left_out = {slot, *look.alike, *look.twins}
        voters = [one for one in self._window.voters if one not in left_out]
        least = max(1, round(KNOWN_BY * len(voters)))
        return len(self._with_spot(slot, look, voters, level, LIKE_SOME)) >= least

    def _with_spot(
        self, slot: int, look: Look, others: Sequence[int], level: float, share: float = EXPLAINED
    ) -> list[int]:
        """Return the frames that have what makes one unusual."""
        distances = self._looks.distances(slot, others)
        alike = explains(distances, look.spot(level), level, share)
        return [other for other, one in zip(others, alike, strict=True) if one]

    def _admission(self, slot: int, arrival: Arrival) -> tuple[Admission, int]:
        """Return who the frame is, and of a doubtful one how many apart have its spot."""
        if arrival.look.twins:
            return "duplicate", 0
        if len(self._window.voters) < self._settings.min_peers:
            return "peer", 0
        level = arrival.reached
        if level is None or self._known(slot, arrival.look, level):
            return "peer", 0
        if arrival.fails:
            return "quarantine", 0
        alike = len(self._with_spot(slot, arrival.look, self._window.apart, level))
        refused = self._state.latest.count("doubtful")
        too_many = refused >= DOUBTFUL_SHARE * self._settings.size_frames
        return ("peer", 0) if too_many and alike < DOUBTS_ALIKE else ("doubtful", alike)

    def _repeated(
        self, slot: int, arrival: Arrival, events: list[StreamEvent]
    ) -> tuple[Episode, bool, int]:
        """Find those that failed alike: the episode, whether it is a regime, and how many."""
        look, limit = arrival.look, arrival.threshold or 0.0
        failed = [other for other in self._window.apart if self._window[other].failed]
        tied = [*look.alike, *self._with_spot(slot, look, failed, limit)]
        if not tied:
            return self._state.episode.passed(self._settings.size_frames), False, 0
        part = self._window[slot].frame.part
        own = Spot(part, look.share(limit))
        others = [Spot(self._window[o].frame.part, self._window[o].share) for o in tied]
        regime = is_regime(own, others)
        episode, event = self._state.episode.seen(part, [one.part for one in others])
        if event is not None and own.share < REGIME_SHARE:
            events.append(event)
        return episode, regime, len(tied)

    def _second_looks(
        self, arrival: Arrival, ignored: Flags, events: list[StreamEvent]
    ) -> list[_SecondLook]:
        """Look once more at frames that most of a window has voted after."""
        threshold, unusual = arrival.threshold, arrival.unusual
        if threshold is None or unusual is None:
            return []
        seconds: dict[int, _SecondLook] = {}
        found: set[int] = set()
        due = self._window.due(int(SECOND_LOOK * self._settings.size_frames))
        waiting: dict[int, set[int]] = {slot: set() for slot in due}
        while waiting:
            slot, known = waiting.popitem()
            held = self._window[slot]
            if not {*self._window.voters} - {slot}:
                continue  # nobody is there to look at it
            early = held.votes_before < self._settings.size_frames
            look = self._looks.at(slot, ignored, unusual, known, at_first=early)
            deciding = look.score / held.scale
            fails = deciding >= threshold
            seconds[slot] = _SecondLook(slot, look.score, look.share(threshold), fails)
            if look.alike if early else fails:
                # Together: once one has lost its vote the others would hide each other better.
                found.add(slot)
                group = {slot, *look.alike}
                for other in group - found:
                    # In a first window few show it by themselves, and what one shows all have.
                    waiting.setdefault(other, set()).update(group - {other} if early else ())
        for slot, one in seconds.items():
            held = self._window[slot]
            if held.failed is not None and held.failed != one.fails:
                events.append(_contradiction(held, one.score, threshold))
        return list(seconds.values())

    def _looked(self, second: _SecondLook) -> None:
        """Note a second look: what voted and fails loses its vote, what was apart may go."""
        held = self._window[second.slot]
        held.refined = True
        if second.fails and held.place == "peer":
            held.failed = True
            held.share = second.share
            self._window.move(second.slot, "apart")
        elif held.place == "apart":
            # Each costs a product with every new frame, and was held for this.
            self._window.evict([second.slot])

    def _refined(self, second: _SecondLook) -> RefinedScore:
        boot, seq, _ = self._window[second.slot].frame
        return RefinedScore(boot=boot, seq=seq, score=second.score)


def _contradiction(held: Held, score: float, threshold: float) -> StreamEvent:
    """Tell that a frame would be judged otherwise now."""
    boot, seq, part = held.frame
    said = "FAIL" if held.failed else "PASS"
    detail = {
        "boot": boot,
        "seq": seq,
        "part": part,
        "said": said,
        "refined": score,
        "threshold": threshold,
    }
    return StreamEvent(kind="second_look", detail=detail)
