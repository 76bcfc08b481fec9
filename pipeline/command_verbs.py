"""What each command does: alarms, recipe, windows, reviews, part ids."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Literal

from edge.commands import (
    DETAIL_LIMIT,
    AckCommand,
    Command,
    PartCommand,
    PinCommand,
    RebirthCommand,
    RecipeCommand,
    ReleaseCommand,
    ResetCommand,
    ReviewCommand,
    ShelveCommand,
)
from edge.wire import Order
from pipeline.alarm import AlarmError, names_moved
from pipeline.command_desk import Reply
from pipeline.ledger import LedgerError
from pipeline.reviews import insert_review

if TYPE_CHECKING:
    from pipeline.alarm import AlarmBook, Transition
    from pipeline.camera_watch import CameraWatch
    from pipeline.config import Config
    from pipeline.gate import Gate
    from pipeline.ledger import Ledger
    from pipeline.line_memory import LineMemory
    from pipeline.results import Moment
    from pipeline.scorer_link import ScorerLink

DONE = Reply(ok=True, code="done")


class LineVerbs:
    """Does what commands say to the line; each inside the transaction of one pass."""

    def __init__(
        self,
        config: Config,
        gate: Gate,
        alarms: AlarmBook,
        scorer: ScorerLink,
        ledger: Ledger,
        memory: LineMemory,
        cameras: CameraWatch,
    ) -> None:
        """Work on the gate's own state."""
        self._config = config
        self._gate = gate
        self._alarms = alarms
        self._scorer = scorer
        self._ledger = ledger
        self._memory = memory
        self._cameras = cameras
        self.transitions: list[Transition] = []
        """Steps of alarms, until the loop takes them."""
        self.told_parts: list[tuple[str, str]] = []
        """Camera and part, to be told after the commit: told before, it could be told twice."""
        self.rebirth_is_due = False

    def execute(self, command: Command, now: Moment) -> Reply | None:
        """Do what a command says; None where the scorer has to answer."""
        if isinstance(command, AckCommand | ShelveCommand):
            return self._alarm(command, now)
        if isinstance(command, RecipeCommand):
            return self._recipe(command, now)
        if isinstance(command, ReviewCommand):
            return self._review(command, now)
        if isinstance(command, PartCommand):
            return self._part(command, now)
        if isinstance(command, RebirthCommand):
            self.rebirth_is_due = True
            return DONE
        return self._order(command, now)

    def _alarm(self, command: AckCommand | ShelveCommand, now: Moment) -> Reply:
        book, name, by = self._alarms, command.alarm, command.by
        try:
            if isinstance(command, AckCommand):
                what, steps = "acknowledge", book.acknowledge(name, by, now)
            elif command.minutes == 0:
                what, steps = "unshelve", book.unshelve(name, by, now)
            else:
                what = "shelve"
                steps = book.shelve(name, by, command.minutes, command.note, now)
        except AlarmError as error:
            return Reply(ok=False, code=error.code, detail=str(error))
        self.transitions += steps
        names = names_moved(steps, DETAIL_LIMIT)
        return Reply(ok=True, code="done", detail=names or f"nothing to {what}")

    def _recipe(self, command: RecipeCommand, now: Moment) -> Reply:
        if command.recipe == self._gate.recipe:
            return Reply(ok=True, code="done", detail=f"{command.recipe} is on the line already")
        change = {"from": self._gate.recipe, "to": command.recipe, "by": command.by}
        self._gate.change_recipe(command.recipe, now)
        self._memory.keep_recipe(self._config.line.recipe, command.recipe)
        self._ledger.add_event(now.utc, "recipe", None, change)
        return Reply(ok=True, code="done", detail="parts have no result until the window is filled")

    def _review(self, command: ReviewCommand, now: Moment) -> Reply:
        try:
            insert_review(
                self._ledger.db, command.part, command.label, command.by, command.note, now.utc
            )
        except LedgerError as error:
            return Reply(ok=False, code="unknown_part", detail=str(error))
        return DONE

    def _part(self, command: PartCommand, now: Moment) -> Reply:
        if command.cam is not None and not self._cameras.is_one(command.cam):
            return Reply(ok=False, code="unknown_camera", detail=f"no camera {command.cam}")
        told = [c.id for c in self._config.camera if c.part_id == "message"]
        wanted = [command.cam] if command.cam is not None else told
        if not wanted or not set(wanted) <= set(told):
            detail = "no such camera takes part messages; set part_id = 'message'"
            return Reply(ok=False, code="not_expected", detail=detail)
        # A lost camera is told all the same: its part gets a result that says so.
        deaf = [camera for camera in wanted if self._cameras.deaf(camera, now.monotonic_ns)]
        if deaf:
            return Reply(ok=False, code="camera_lost", detail=f"not there: {', '.join(deaf)}")
        self.told_parts += [(camera, command.part) for camera in wanted]
        return DONE

    def _order(
        self, command: ResetCommand | PinCommand | ReleaseCommand, now: Moment
    ) -> Reply | None:
        if command.cam is not None and not self._cameras.is_one(command.cam):
            return Reply(ok=False, code="unknown_camera", detail=f"no camera {command.cam}")
        if not self._gate.has_scorer:
            return Reply(ok=False, code="scorer_down", detail="the scorer is not there")
        if isinstance(command, ResetCommand):
            self._gate.forget_windows()
        frame = (command.boot, command.seq) if isinstance(command, PinCommand) else (None, None)
        order = Order(
            order=secrets.token_hex(8),
            verb=_verb(command),
            recipe=self._gate.recipe,
            camera=command.cam,
            boot=frame[0],
            seq=frame[1],
        )
        self._scorer.order(order, command.txn, now.monotonic_ns)
        return None


def _verb(
    command: ResetCommand | PinCommand | ReleaseCommand,
) -> Literal["reset", "pin", "unpin", "release"]:
    """Return what the scorer is ordered to do."""
    if isinstance(command, ResetCommand):
        return "reset"
    if isinstance(command, PinCommand):
        return "pin"
    return "unpin" if command.what == "pins" else "release"
