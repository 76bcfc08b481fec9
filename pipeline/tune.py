"""A search for better settings, on recordings that are replayed in seconds.

Each trial is a replay of every source under other settings, through the line's own
inspector and gate, admission included; what a backbone saw and which frames were compared
is remembered between trials (``shared_runs``). The study lies in a database, so that a
killed search goes on and several processes share one.

The search sees the first part of each source only. On the rest the best settings are held
against those in use, once.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import optuna

from edge.errors import LineError
from pipeline.config_file import ConfigError
from pipeline.replay import open_source, run_replay
from pipeline.replay_ledger import new_ledger
from pipeline.replay_report import match_labels, report
from pipeline.shared_runs import SharedRuns
from pipeline.tune_goals import MISSED_COSTS, Goal, Measured, measure
from pipeline.tune_space import Choices, Range, Space, Values, changes, current, varied
from pipeline.tune_stretch import Stretch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipeline.config import Config
    from pipeline.counting_view import CountingView
    from pipeline.feature_files import FeatureFiles

STUDY = "musc-edge tune"
MADE_BY, ABOUT, UNFIT = "made_by", "about", "does_not_fit"
"""Attributes of trials and of the study."""
END = 2**31


class TuneError(LineError):
    """The search cannot be run as asked; the message says why."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is searched."""

    sources: Sequence[Path]
    """Recordings, or folders of images."""
    labels: Sequence[Path]
    """A table for each source; none without labels."""
    config: Config | None
    """The settings in use; each recording's own without."""
    space: Space
    goal: Goal
    trials: int = 50
    sampler: Literal["tpe", "grid"] = "tpe"
    seed: int = 0
    searched: float = 0.5
    """Share of each source that the search sees, its first frames."""
    missed_costs: float = MISSED_COSTS


class Tuned(NamedTuple):
    """What came of it."""

    best: Values
    config: Config
    """The settings in use."""
    trials: list[optuna.trial.FrozenTrial]
    """Those that are finished, the best first."""
    held_out: dict[str, Measured]
    """On the frames that the search did not see: of the settings in use, and of the best."""

    @property
    def changed(self) -> list[tuple[str, Any, Any]]:
        """Key, old and new value."""
        return changes(self.config, self.best)


class Tuning:
    """One process of a search."""

    def __init__(
        self,
        search: Search,
        study: optuna.Study,
        memory_bytes: int,
        files: FeatureFiles | None = None,
    ) -> None:
        """Open the sources and the study.

        Args:
            search: What is searched.
            study: Its trials, those of other processes included.
            memory_bytes: For what was computed before.
            files: Where a backbone's features are looked for next.

        Raises:
            TuneError: The study is of another search.
            LineError: A source or a table of labels cannot be used.
        """
        self._search = search
        self._study = study
        self._runs = SharedRuns(memory_bytes, files)
        self._opened = [open_source(path, search.config, late=False) for path in search.sources]
        self.config = search.config or self._opened[0].config
        self.frames = sum(int(search.searched * len(one)) for one in self._opened)
        """Frames of one trial."""
        self._labels = [
            match_labels(table, source.names())
            for table, source in zip(search.labels, self._opened, strict=False)
        ] or [{} for _ in self._opened]
        self._agree()

    def run(self, view: CountingView) -> None:
        """Make trials until there are as many as wanted, by all processes together.

        Raises:
            LineError: A source cannot be read, or weights are missing.
        """
        self._plan()
        while (number := len(self._finished())) < self._search.trials:
            trial = self._study.ask()
            trial.set_user_attr(MADE_BY, [socket.gethostname(), os.getpid()])
            view.begin(f"trial {number + 1} of {self._search.trials}")
            try:
                self._try(trial, view)
            except BaseException:
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)
                self._study.enqueue_trial(trial.params)
                raise
            if self._search.sampler == "grid" and not self._waiting():
                return

    def result(self, view: CountingView) -> Tuned:
        """Hold the best settings against those in use, on frames that no trial has seen.

        Raises:
            TuneError: No trial has reached a figure.
        """
        trials = sorted(
            (one for one in self._finished() if one.value is not None),
            key=lambda one: (-(one.value or 0.0), one.number),
        )
        if not trials:
            msg = "no trial has reached a figure; see the reasons that were told"
            raise TuneError(msg)
        best = {key: _read(value) for key, value in trials[0].params.items()}
        held_out: dict[str, Measured] = {}
        for name, values in (("in use", {}), ("best", best)) if self._search.searched < 1 else ():
            view.begin(f"held out, {name}")
            held_out[name] = self._measured(values, view, rest=True)
        return Tuned(best, self.config, trials, held_out)

    def _try(self, trial: optuna.Trial, view: CountingView) -> None:
        values = {key: _suggested(trial, key, one) for key, one in self._search.space.items()}
        try:
            found = self._measured(values, view)
        except ConfigError as error:
            trial.set_user_attr(UNFIT, str(error))
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return
        for name, value in found.figures.items():
            trial.set_user_attr(name, value)
        if found.goal is None:
            trial.set_user_attr(UNFIT, f"{self._search.goal} cannot be told of so few results")
            self._study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            self._study.tell(trial, found.goal)

    def _measured(self, values: Values, view: CountingView, *, rest: bool = False) -> Measured:
        """Replay every source; figures of several are averaged, and all must have the goal."""
        each = []
        for path, opened, labels in zip(
            self._search.sources, self._opened, self._labels, strict=True
        ):
            source = open_source(path, varied(opened.config, values), late=False)
            seen = int(self._search.searched * len(source))
            stretch = Stretch(source, seen, END) if rest else Stretch(source, 0, seen)
            with new_ledger(None, force=False) as ledger:
                run_replay(stretch, ledger, tick=view.tick, inspector_of=self._runs.inspector)
                told = report(ledger, source.config.judge.score, labels)
                costs = self._search.missed_costs
                each.append(measure(self._search.goal, ledger, source.config, told, costs))
        return each[0] if len(each) == 1 else _averaged(each)

    def _plan(self) -> None:
        """Have the settings in use tried first, and in a grid all others; then what was lost."""
        for trial in self._study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
            if not _is_dead(trial.user_attrs.get(MADE_BY)):
                continue
            try:
                self._study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            except (optuna.exceptions.UpdateFinishedTrialError, ValueError):
                continue  # another process that has just begun has taken it up
            self._study.enqueue_trial(trial.params)
        space = self._search.space
        used = {key: json.dumps(value) for key, value in current(self.config, list(space)).items()}
        if all(isinstance(one, Choices) for one in space.values()):
            offered = {key: _offered(one) for key, one in space.items() if isinstance(one, Choices)}
            if all(used[key] in offered[key] for key in space):
                self._study.enqueue_trial(used, skip_if_exists=True)
            if self._search.sampler == "grid":
                for values in product(*offered.values()):
                    self._study.enqueue_trial(
                        dict(zip(offered, values, strict=True)), skip_if_exists=True
                    )

    def _agree(self) -> None:
        """Refuse a study of something else.

        Raises:
            TuneError: With what differs.
        """
        search = self._search
        about = {
            "sources": [f"{one.name}: {len(one)} frames, {one.boot}" for one in self._opened],
            "labels": [len(one) for one in self._labels],
            "config": [one.config.digest for one in self._opened],
            "space": {key: repr(one) for key, one in search.space.items()},
            "goal": search.goal,
            "searched": search.searched,
        }
        known = self._study.user_attrs.get(ABOUT)
        if known is None:
            self._study.set_user_attr(ABOUT, about)
        elif known != about:
            told = "; ".join(
                f"{name} is {about[name]}, the study's {known.get(name)}"
                for name in about
                if known.get(name) != about[name]
            )
            msg = f"the study is of another search: {told}; name another study"
            raise TuneError(msg)

    def _finished(self) -> list[optuna.trial.FrozenTrial]:
        states = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
        return self._study.get_trials(deepcopy=False, states=states)

    def _waiting(self) -> bool:
        return bool(self._study.get_trials(states=(optuna.trial.TrialState.WAITING,)))


def check_search(search: Search) -> None:
    """Refuse what cannot be searched.

    Raises:
        TuneError: Labels that do not fit the sources or the goal, or a grid that is endless.
    """
    if search.labels and len(search.labels) != len(search.sources):
        msg = f"{len(search.labels)} tables of labels for {len(search.sources)} sources"
        raise TuneError(msg)
    ranges = [key for key, one in search.space.items() if isinstance(one, Range)]
    if search.sampler == "grid" and ranges:
        msg = f"{', '.join(ranges)}: a grid needs values, not a range"
        raise TuneError(msg)


def open_study(storage: str, search: Search) -> optuna.Study:
    """Open a study, or begin one.

    Args:
        storage: A file for SQLite, or what Optuna calls a storage URL.
        search: What is searched; seed and sampler are its.

    Raises:
        TuneError: The storage cannot be used.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = storage if "://" in storage else f"sqlite:///{Path(storage).resolve()}"
    try:
        study = optuna.create_study(
            storage=url, study_name=STUDY, direction="maximize", load_if_exists=True
        )
        # A process that joins must not suggest what another one has just suggested.
        study.sampler = optuna.samplers.TPESampler(seed=search.seed + len(study.get_trials()))
    except Exception as error:  # SQLAlchemy's and its drivers' are of many kinds
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        msg = f"study {storage}: {reason}"
        raise TuneError(msg) from error
    return study


def _averaged(each: Sequence[Measured]) -> Measured:
    """Return the means of several sources; None where one has none."""
    names = each[0].figures.keys() - {"hash"}
    figures = {name: _mean([one.figures[name] for one in each]) for name in names}
    return Measured(_mean([one.goal for one in each]), figures)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _suggested(trial: optuna.Trial, key: str, one: Choices | Range) -> Any:  # noqa: ANN401 - of any key
    if isinstance(one, Choices):
        return _read(trial.suggest_categorical(key, _offered(one)))
    if one.whole:
        return trial.suggest_int(key, int(one.low), int(one.high))
    return trial.suggest_float(key, one.low, one.high)


def _offered(choices: Choices) -> list[str]:
    """Return values as text: a database knows no lists."""
    return [json.dumps(value) for value in choices.values]


def _read(value: Any) -> Any:  # noqa: ANN401 - of any key
    return json.loads(value) if isinstance(value, str) else value


def _is_dead(made_by: Any) -> bool:  # noqa: ANN401 - as it was read
    """Tell whether the process of a trial has ended; of another host's nothing is known."""
    if not isinstance(made_by, list) or made_by[0] != socket.gethostname():
        return False
    try:
        os.kill(int(made_by[1]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
