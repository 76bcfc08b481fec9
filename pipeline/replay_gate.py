"""A gate on the clock of its frames: the line's own decisions, without sockets or a broker.

Gate, part assembler, alarms and ledger are those of a running line. Each frame is decided
at the moment of its capture: its latency is 0, and nothing is late but what a source says
was late. Nothing is sent and no image is written.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.alarm import AlarmBook
from pipeline.alarm_conditions import LineSight
from pipeline.gate import Gate
from pipeline.gate_intake import note_stream
from pipeline.line_memory import LineMemory
from pipeline.parts import PartAssembler
from pipeline.replay_sources import Fate, GateBegins, Ordered, RecipeBegins, Seen, Unseen
from pipeline.results import FrameResult, Moment, PartVerdict

if TYPE_CHECKING:
    from edge.frame import Announcement
    from pipeline.inspection import Inspection
    from pipeline.ledger import Ledger
    from pipeline.replay_sources import ReplaySource


class ReplayGate:
    """Turns steps and inspections into rows; each call inside the ledger's transaction."""

    def __init__(self, source: ReplaySource, ledger: Ledger) -> None:
        """Begin with the source's recipe in force, a scorer that is there, alarms at rest."""
        config, recipe = source.config, source.recipe
        deadline_ms = config.part.deadline_ms
        self._recipe_configured = config.line.recipe
        self._gate = Gate(deadline_ms, config.window.min_peers, config.judge.score, recipe)
        self._gate.scorer_up()
        self._parts = PartAssembler(config.views, deadline_ms)
        self._alarms = AlarmBook(config.alarm)
        self._ledger = ledger
        self._memory = LineMemory(ledger.db)
        self._repeating: set[str] = set()
        """Cameras whose last picture repeated those before."""
        self._now = Moment(source.begins_at, -1)
        """The latest capture so far; those of several cameras may come out of order."""
        detail = {"of": source.name, "frames": len(source)}
        self._ledger.add_event(source.begins_at, "replay", None, detail)

    def unseen(self, step: Unseen) -> None:
        """Give a frame that no scorer saw the NO_RESULT that it had."""
        now = self._open(step.announcement)
        self._conclude(self._lost(step.announcement, step.fate, now), now)

    def seen(self, step: Seen, inspection: Inspection) -> None:
        """Decide a frame that was inspected, and write what it has shown of its stream."""
        now = self._open(step.announcement)
        self._conclude(self._inspected(inspection, step.fate, now), now)
        note_stream(self._ledger, inspection, now)

    def change(self, step: RecipeBegins | GateBegins | Ordered) -> None:
        """Take note of what has changed between two frames."""
        if isinstance(step, GateBegins):
            self.finish()
            # The host may have been started anew, and with it the monotonic clock.
            self._now = Moment(self._now.utc, -1)
            return
        if isinstance(step, RecipeBegins):
            if step.recipe == self._gate.recipe:
                return
            change = {"from": self._gate.recipe, "to": step.recipe}
            self._gate.change_recipe(step.recipe, step.moment)
            self._memory.keep_recipe(self._recipe_configured, step.recipe)
            self._ledger.add_event(step.moment.utc, "recipe", None, change)
        elif step.order.verb != "recipe":  # the gate's own change is a step of its own
            if step.order.verb == "reset":
                self._gate.forget_windows()
            detail = {"boot": step.order.boot, "seq": step.order.seq}
            known = {name: value for name, value in detail.items() if value is not None}
            self._ledger.add_event(self._now.utc, step.order.verb, step.order.camera, known)

    def finish(self) -> None:
        """Close the parts that wait for other views."""
        self._close_parts(self._parts.close_all(self._now))
        self._follow_alarms()

    def _open(self, announcement: Announcement) -> Moment:
        """Open a frame's row, and return the moment at which it is decided."""
        # Its own moment, not the latest: it must not be late for another camera's frame.
        now = Moment(announcement.captured_at, announcement.captured_ns)
        self._now = max(self._now, now, key=lambda moment: moment.monotonic_ns)
        self._close_parts(self._parts.due(self._now))
        self._ledger.open_frame(announcement)
        self._gate.announce(announcement, now)
        return now

    def _lost(self, announcement: Announcement, fate: Fate, now: Moment) -> FrameResult | None:
        return self._gate.lose(announcement, fate.why, fate.detail, now)

    def _inspected(
        self, inspection: Inspection, fate: Fate | None, now: Moment
    ) -> FrameResult | None:
        camera = inspection.announcement.camera
        if inspection.why == "stale":
            self._repeating.add(camera)
        else:
            self._repeating.discard(camera)
        self._gate.cameras_lost = frozenset(self._repeating)
        lost = None
        if fate is not None and not fate.keeps_figures:
            lost = self._lost(inspection.announcement, fate, now)
        # Also where it is lost: the gate follows the state of the camera's window.
        result = self._gate.inspected(inspection, now) or lost
        if fate is not None and result is not None and result.verdict == "PASS":
            # It was on the disk too late: the row keeps its figures, as after the correction.
            return replace(result, verdict="NO_RESULT", why=fate.why, detail=fate.detail)
        return result

    def _conclude(self, result: FrameResult | None, now: Moment) -> None:
        if result is not None:
            self._ledger.close_frame(result)
            self._close_parts(self._parts.add(result, now))
        self._follow_alarms()

    def _close_parts(self, parts: list[PartVerdict]) -> None:
        for part in parts:
            self._ledger.close_part(part)
            self._alarms.part(part.verdict, part.why, self._now)

    def _follow_alarms(self) -> None:
        sight = LineSight(
            cameras_lost=self._gate.cameras_lost,
            scorer_down=False,
            free_bytes=None,
            regime_change=self._gate.degraded,
        )
        for transition in self._alarms.update(sight, self._now):
            self._memory.keep_transition(transition)
