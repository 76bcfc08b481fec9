"""A search: trials are replays, a study outlives its processes, and the best is held out."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import optuna
import pytest
from factories import CountingBackbone, FakeBackbone, config
from replay_rig import MODEL, SETTINGS, fake_scorer, replayed, write_parts
from rich.console import Console

from pipeline import shared_runs
from pipeline.config_file import load_config
from pipeline.counting_view import CountingView
from pipeline.feature_files import FeatureCounts, FeatureFiles
from pipeline.run_identity import run_hash
from pipeline.tune import MADE_BY, Search, TuneError, Tuning, check_search, open_study
from pipeline.tune_output import write_best
from pipeline.tune_space import Choices, Range, varied

if TYPE_CHECKING:
    from pathlib import Path

PARTS, DEFECTS = 60, (22, 27, 45, 58)
SIZES = Choices((9, 10, 12))


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixty parts, four of them defective, and a table of labels."""
    fake_scorer(monkeypatch)
    monkeypatch.setattr(shared_runs, "load_backbone", lambda _choice: (FakeBackbone(), MODEL))
    folder = write_parts(tmp_path / "images", PARTS, DEFECTS)
    rows = [f"{number}.png,{int(number in DEFECTS)}" for number in range(1, PARTS + 1)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    return folder


def search(images: Path, **fields: Any) -> Search:
    """Return a search over three windows, with labels."""
    given = {
        "sources": (images,),
        "labels": (images.parent / "labels.csv",),
        "config": config(**SETTINGS),
        "space": {"window.size_frames": SIZES},
        "goal": "auroc",
        "trials": 3,
        "sampler": "grid",
        **fields,
    }
    return Search(**given)


def view() -> CountingView:
    """Return a view that nobody sees."""
    return CountingView(Console(file=io.StringIO()), 1)


def tuning(wanted: Search, study: Path) -> Tuning:
    """Open a search on a study's file."""
    return Tuning(wanted, open_study(str(study), wanted), 50_000_000)


def test_grid_tries_all_and_settings_in_use_first(images: Path, tmp_path: Path) -> None:
    """Each choice is one trial, and the first trial is what is in use."""
    one = tuning(search(images, trials=10), tmp_path / "tune.db")

    one.run(view())
    tuned = one.result(view())

    sizes = [trial.params["window.size_frames"] for trial in tuned.trials]
    first = min(tuned.trials, key=lambda trial: trial.number)
    assert sorted(sizes) == ["10", "12", "9"]
    assert first.params["window.size_frames"] == str(one.config.window.size_frames)
    assert {*tuned.held_out} == {"in use", "best"}


def test_trial_is_a_replay(images: Path, tmp_path: Path) -> None:
    """With all frames searched a trial has the hash of a replay under its settings."""
    one = tuning(search(images, searched=1.0), tmp_path / "tune.db")

    one.run(view())
    tuned = one.result(view())

    for trial in tuned.trials:
        size = int(trial.params["window.size_frames"])
        settings = varied(one.config, {"window.size_frames": size})
        ledger = replayed(images, tmp_path / f"{size}.db", settings)
        assert trial.user_attrs["hash"] == run_hash(ledger)
    assert tuned.held_out == {}


def test_search_sees_the_first_part_only(images: Path, tmp_path: Path) -> None:
    """What the last frames show does not move a trial, and what is held out is they alone."""
    one = tuning(search(images, searched=0.5), tmp_path / "tune.db")
    one.run(view())
    found = one.result(view())
    for number in range(PARTS // 2 + 1, PARTS + 1):
        (images / f"{number}.png").write_bytes((images / f"{number // 2}.png").read_bytes())

    other = tuning(search(images, searched=0.5), tmp_path / "other.db")
    other.run(view())
    again = other.result(view())

    hashes = [[trial.user_attrs["hash"] for trial in tuned.trials] for tuned in (found, again)]
    assert hashes[0] == hashes[1]
    assert found.held_out["best"].figures["hash"] != again.held_out["best"].figures["hash"]


def test_memory_comes_first_and_files_second(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search looks once for each frame, whatever its trials; the next asks no network."""
    network = CountingBackbone()
    monkeypatch.setattr(shared_runs, "load_backbone", lambda _choice: (network, MODEL))
    found = []

    for name in ("cold", "warm"):
        wanted = search(images)
        study = open_study(str(tmp_path / f"{name}.db"), wanted)
        files = FeatureFiles(tmp_path / "features")
        one = Tuning(wanted, study, 50_000_000, files)
        one.run(view())
        found.append((one.result(view()), files.counts, network.asked))

    (cold, cold_counts, cold_asked), (warm, warm_counts, warm_asked) = found
    plain = tuning(search(images), tmp_path / "plain.db")
    plain.run(view())
    hashes = [
        [trial.user_attrs["hash"] for trial in tuned.trials]
        for tuned in (cold, warm, plain.result(view()))
    ]
    assert hashes[0] == hashes[1] == hashes[2]
    assert cold_asked == warm_asked == PARTS
    assert cold_counts == FeatureCounts(0, PARTS)
    assert warm_counts == FeatureCounts(PARTS, 0)


def test_study_goes_on(images: Path, tmp_path: Path) -> None:
    """A search that ended early makes only the trials that are missing."""
    tuning(search(images, trials=2), tmp_path / "tune.db").run(view())

    again = tuning(search(images, trials=3), tmp_path / "tune.db")
    again.run(view())

    assert [one.number for one in again._study.get_trials()] == [0, 1, 2]


def killed_trial(study: optuna.Study) -> None:
    """Leave a trial as a process that is dead now has left it."""
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], check=True,
                          capture_output=True, text=True)  # fmt: skip
    study.enqueue_trial({"window.size_frames": "12"})
    trial = study.ask()
    trial.suggest_categorical("window.size_frames", ["9", "10", "12"])
    trial.set_user_attr(MADE_BY, [os.uname().nodename, int(done.stdout)])


def test_killed_trial_is_taken_up_by_one_of_two(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes that begin at once both find it; it is made again once."""
    wanted = search(images)
    first, second = (tuning(wanted, tmp_path / "tune.db") for _ in range(2))
    killed_trial(first._study)
    found = first._study.get_trials

    def found_before_the_other(**chosen: Any) -> list[optuna.trial.FrozenTrial]:
        trials = found(**chosen)
        monkeypatch.setattr(first._study, "get_trials", found)
        second.run(view())
        return trials

    monkeypatch.setattr(first._study, "get_trials", found_before_the_other)
    first.run(view())

    tried = [t.params["window.size_frames"] for t in found() if t.state.name == "COMPLETE"]
    assert sorted(tried) == ["10", "12", "9"]


def test_trial_of_a_killed_process_is_made_again(images: Path, tmp_path: Path) -> None:
    """What a dead process was at counts as failed, and its settings are tried after all."""
    wanted = search(images)
    study = open_study(str(tmp_path / "tune.db"), wanted)
    killed_trial(study)

    one = Tuning(wanted, study, 50_000_000)
    one.run(view())

    states = [(t.params["window.size_frames"], t.state.name) for t in study.get_trials()]
    assert states[0] == ("12", "FAIL")
    assert sorted(states[1:]) == [("10", "COMPLETE"), ("12", "COMPLETE"), ("9", "COMPLETE")]


def test_settings_that_do_not_fit_are_told_and_pruned(images: Path, tmp_path: Path) -> None:
    """A window that is too small for its peers costs a trial, with the reason, and no search."""
    wanted = search(images, space={"window.size_frames": Choices((8, 12))}, trials=2)
    one = tuning(wanted, tmp_path / "tune.db")

    one.run(view())

    pruned = [t for t in one._study.get_trials() if t.state == optuna.trial.TrialState.PRUNED]
    (only,) = pruned
    assert "size_frames" in only.user_attrs["does_not_fit"]
    assert one.result(view()).best == {"window.size_frames": 12}


def test_interruption_keeps_what_is_done(images: Path, tmp_path: Path) -> None:
    """Ctrl-C in a trial leaves the finished ones, and its own is made by the next search."""
    one = tuning(search(images), tmp_path / "tune.db")
    seen = view()
    ticks = iter(range(one.frames + 5))

    def interrupted() -> None:
        if next(ticks, None) is None:
            raise KeyboardInterrupt

    seen.tick = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        one.run(seen)

    assert len(one.result(view()).trials) == 1
    again = tuning(search(images), tmp_path / "tune.db")
    again.run(view())
    assert len(again.result(view()).trials) == 3


def test_study_of_another_search_is_refused(images: Path, tmp_path: Path) -> None:
    """Trials of another goal or space are no trials of this one; the message has both."""
    tuning(search(images), tmp_path / "tune.db")

    with pytest.raises(TuneError, match="goal is ap, the study's auroc"):
        tuning(search(images, goal="ap"), tmp_path / "tune.db")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"labels": ("a.csv", "b.csv")}, "2 tables of labels for 1 sources"),
        ({"space": {"musc.keep_lowest": Range(0.1, 0.5)}}, "a grid needs values, not a range"),
    ],
)
def test_what_cannot_be_searched_is_told(images: Path, fields: dict[str, Any], told: str) -> None:
    """Labels without a source and endless grids are refused before anything runs."""
    with pytest.raises(TuneError, match=told):
        check_search(search(images, **fields))


def test_storage_that_cannot_be_used_is_told(images: Path, tmp_path: Path) -> None:
    """A study in a folder that is not there is one line."""
    with pytest.raises(TuneError, match="nowhere"):
        open_study(str(tmp_path / "nowhere" / "tune.db"), search(images))


def test_best_settings_are_a_config_file(images: Path, tmp_path: Path) -> None:
    """The file has what was changed, all else as it was, and a line accepts it."""
    used = tmp_path / "line.toml"
    used.write_text(
        f'[[camera]]\nid = "c1"\nkind = "folder"\npath = "{images}"\ninterval_ms = 100\n'
        "[window]\nsize_frames = 10\nmin_peers = 8\n"
    )
    wanted = search(images, config=load_config(used), space={"window.size_frames": Choices((12,))})
    one = tuning(wanted, tmp_path / "tune.db")
    one.run(view())
    tuned = one.result(view())

    write_best(tuned, used, tmp_path / "best.toml")
    write_best(tuned, None, tmp_path / "whole.toml")

    for name in ("best.toml", "whole.toml"):
        assert load_config(tmp_path / name) == varied(one.config, {"window.size_frames": 12})
    with pytest.raises(TuneError, match="is there already"):
        write_best(tuned, used, tmp_path / "best.toml")
