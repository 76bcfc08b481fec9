"""What a ledger says of other settings is what the line said, or would say, of the same scores."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from factories import config
from replay_rig import READY, SETTINGS, fake_scorer, replayed, rows, write_parts
from sqlite_utils import Database

from pipeline.config_alarm import ConsecutiveAlarm, NOfMAlarm
from pipeline.config_method import JudgeSettings
from pipeline.label_table import LabelError
from pipeline.ledger import LedgerError
from pipeline.ledger_schema import insert_row, migrations
from pipeline.reject_rates import reject_rates
from pipeline.replay import open_source
from pipeline.replay_report import match_labels, report
from pipeline.tune_space import varied
from pipeline.what_if import WhatIf
from pipeline.what_if_known import labelled, reviewed
from pipeline.what_if_ledger import read_parts, what_if_ledger

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.config import Config

PARTS, DEFECTS = 60, (22, 23, 24, 31, 40, 41, 42, 43)
LIMIT = 1000
BOOT = "0" * 16
TWO = ConsecutiveAlarm(name="two", kind="consecutive", count=2)
FEW = NOfMAlarm(name="few", kind="n_of_m", count=3, of_parts=10)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sixty parts, eight of them defective."""
    fake_scorer(monkeypatch)
    return write_parts(tmp_path / "images", PARTS, DEFECTS)


def settings(images: Path, **changes: Any) -> Config:
    """Return a line's settings with two alarms that look at parts."""
    alarms = [{"name": "two", "kind": "consecutive", "count": 2}]
    alarms += [{"name": "few", "kind": "n_of_m", "count": 3, "of_parts": 10}]
    base = open_source(images, config(**SETTINGS, alarm=alarms)).config
    return varied(base, {name.replace("__", "."): value for name, value in changes.items()})


def asked(ledger: Path, *targets: float, thresholds: tuple[float, ...] = ()) -> list[WhatIf]:
    """Ask a ledger with both rules."""
    judges = [JudgeSettings(min_scores=8, rejects_per_1000=target) for target in targets]
    return what_if_ledger(read_parts(ledger, LIMIT), thresholds, judges, [TWO, FEW])


def frames(path: Path, *results: dict[str, Any]) -> Path:
    """Write a ledger of parts A-0, A-1, ... seen by one camera."""
    with closing(Database(path)) as db:
        migrations.apply(db)
        for seq, result in enumerate(results, 1):
            at = f"2026-01-02T03:04:{seq:02d}.000000Z"
            key = {"camera": "c1", "boot": BOOT, "seq": seq}
            part = {"part_id": f"A-{seq}", "captured_at": at, "decided_at": at}
            verdict = {"verdict": "PASS", "reason": "score"} | result
            usual = {"recipe": "default", "window_n": 9, "threshold": 0.5, "state": "READY"}
            insert_row(db, "verdicts", key | part | usual | {"rescored": 0.1} | verdict)
            worst = {"worst_camera": "c1", "worst_boot": BOOT, "worst_seq": seq}
            of_part = {name: verdict[name] for name in ("verdict", "reason")}
            number = {"boot": BOOT, "part_seq": seq, "views": 1, "seen": 1}
            insert_row(db, "parts", number | part | of_part | worst)
        db.conn.commit()
    return path


def add(path: Path, table: str, **row: Any) -> None:
    """Add a row to a ledger."""
    with closing(Database(path)) as db:
        insert_row(db, table, row)
        db.conn.commit()


@pytest.mark.parametrize(("admission", "apart"), [("all", 0.0), ("guarded", 0.02)])
def test_the_lines_own_target_says_what_the_line_said(
    images: Path, tmp_path: Path, admission: str, apart: float
) -> None:
    """With the judge's own settings rejects, threshold and alarms are those of the ledger.

    A guarded line learns nothing by parts that share a defect, which no ledger tells apart.
    """
    ledger = replayed(images, tmp_path / "run.db", settings(images, window__admission=admission))

    judged, own, stricter = asked(ledger, 20, 300)

    failed = sum(row["verdict"] == "FAIL" for row in rows(ledger, "parts"))
    assert (judged.rejects, own.rejects) == (failed, failed)
    assert failed >= len(DEFECTS) // 2
    assert judged.threshold == rows(ledger)[-1]["threshold"]
    assert own.threshold == pytest.approx(judged.threshold, rel=apart, abs=0.0)
    assert own.alarms == judged.alarms
    assert own.per_1000 == pytest.approx(1000 * failed / (PARTS - READY))
    assert stricter.rejects > failed


def test_a_threshold_says_what_a_replay_with_it_says(images: Path, tmp_path: Path) -> None:
    """Where all frames vote, whatever they score, nothing is approximate: a replay agrees."""
    plain = settings(images, window__admission="all")
    ledger = replayed(images, tmp_path / "run.db", plain)
    levels = (0.5 * rows(ledger)[-1]["threshold"], 0.9 * rows(ledger)[-1]["threshold"])

    found = asked(ledger, thresholds=levels)[1:]

    for level, one in zip(levels, found, strict=True):
        fixed = varied(plain, {"judge.method": "fixed", "judge.fixed_threshold": level})
        again = rows(replayed(images, tmp_path / f"{level}.db", fixed), "parts")[READY:]
        assert one.rejects == sum(row["verdict"] == "FAIL" for row in again) > 0
    assert found[0].rejects > found[1].rejects


def test_alarms_are_those_of_the_run(images: Path, tmp_path: Path) -> None:
    """What is asked of the results as they were comes as often as the line's alarms rose."""
    ledger = replayed(images, tmp_path / "run.db", settings(images))

    (judged,) = asked(ledger)

    risen = [row["name"] for row in rows(ledger, "alarms") if row["after"] == "ACTIVE_UNACK"]
    assert {name: times for name, (times, _) in judged.alarms.items()} == {
        name: risen.count(name) for name in ("two", "few")
    }
    assert judged.alarms["two"][0] == 2


def test_labels_give_recall_and_false_rejects(images: Path, tmp_path: Path) -> None:
    """As judged both are those of a replay's report; a low threshold finds and rejects all."""
    ledger = replayed(images, tmp_path / "run.db", settings(images))
    table = tmp_path / "labels.csv"
    lines = [f"{i}.png,{int(i in (*DEFECTS, 25))}" for i in range(READY + 1, PARTS + 1)]
    table.write_text("path,label\n" + "\n".join(lines))
    parts = read_parts(ledger, LIMIT)

    known = labelled(ledger, parts, table)
    judged, low = what_if_ledger(parts, [1e-9], [], [], known)

    names = open_source(images, settings(images)).names()
    done = report(ledger, "raw", match_labels(table, names))
    assert (judged.recall, judged.false_rejects) == (done.recall, done.false_reject_rate)
    assert 0 < judged.recall < 1
    assert (low.recall, low.false_rejects) == (1.0, 1.0)
    assert known.said == "9 defective and 35 good parts by labels.csv"


def test_labels_of_no_frame_are_refused(tmp_path: Path) -> None:
    """A label that fits nothing is named; one of a part that was not judged is none."""
    warming = {"verdict": "NO_RESULT", "reason": "warming", "score": 0.2}
    ledger = frames(tmp_path / "a.db", warming, {"score": 0.2})
    table = tmp_path / "labels.csv"
    table.write_text("part,label\nA-1,1\nA-2,0\n")

    parts = read_parts(ledger, LIMIT, "raw")
    known = labelled(ledger, parts, table)
    table.write_text("part,label\nA-9,1\n")

    assert known.said == "0 defective and 1 good parts by labels.csv"
    with pytest.raises(LabelError, match="1 labels are of no frame: A-9"):
        labelled(ledger, parts, table)


def test_reviews_stand_for_their_verdict(tmp_path: Path) -> None:
    """Shares are those of ``verdicts --rates``: a reviewed part stands for all of its verdict."""
    results = [{"score": 0.6, "verdict": "FAIL"}] * 4 + [{"score": 0.3}] * 20
    ledger = frames(tmp_path / "a.db", *results)
    said = {1: "defect", 2: "defect", 3: "defect", 4: "good", 5: "good", 6: "defect", 7: "good"}
    for seq, label in said.items():
        add(ledger, "reviews", part_id=f"A-{seq}", label=label, by="J", at="2026-01-03")
    add(ledger, "reviews", part_id="A-7", label="good", by="J", at="2026-01-04")
    parts = read_parts(ledger, LIMIT)

    known = reviewed(ledger, parts)
    judged, low = what_if_ledger(parts, [0.1], [], [], known)

    rates = reject_rates(ledger)
    assert judged.recall == pytest.approx(1 - rates.misses.value)
    assert judged.false_rejects == pytest.approx(rates.false_rejects.value)
    assert (low.recall, low.false_rejects) == (1.0, 1.0)


def test_reviews_of_rejects_alone_give_no_shares(tmp_path: Path) -> None:
    """Of what passed nobody knows anything, so nothing is claimed; without any it is None."""
    ledger = frames(tmp_path / "a.db", {"score": 0.6, "verdict": "FAIL"}, {"score": 0.3})
    parts = read_parts(ledger, LIMIT)

    none = reviewed(ledger, parts)
    add(ledger, "reviews", part_id="A-1", label="defect", by="J", at="2026-01-03")
    known = reviewed(ledger, parts)

    assert none is None
    assert known is not None
    assert "of rejects and of passes" in known.said
    assert what_if_ledger(parts, [], [], [], known)[0].recall is None


def test_parts_that_were_not_to_be_judged_are_none(tmp_path: Path) -> None:
    """Warming is left out; what was late has no result at any threshold, and alarms count it."""
    ledger = frames(
        tmp_path / "a.db",
        {"score": 0.9, "verdict": "NO_RESULT", "reason": "warming"},
        {"score": 0.9, "verdict": "NO_RESULT", "reason": "late"},
        {"score": 0.9, "verdict": "FAIL"},
        {"score": 0.3},
    )
    rule = ConsecutiveAlarm(name="two", kind="consecutive", count=2, counts="not_pass")
    parts = read_parts(ledger, LIMIT)

    judged, low = what_if_ledger(parts, [0.2], [], [rule])

    assert parts.summary() == "2 parts judged by raw scores, 1 without result"
    assert (judged.rejects, low.rejects) == (1, 2)
    assert (judged.alarms["two"], low.alarms["two"]) == ((1, 1), (1, 2))


def views(path: Path, cameras: dict[str, tuple[int, int, float | None]], **part: Any) -> None:
    """Add to a ledger a part A of two views: of each when it was taken and judged, s, and score.

    Without a score the view has no result.
    """
    with closing(Database(path)) as db:
        migrations.apply(db)
        number = db.table("parts").count + 1
        for camera, (taken, judged, score) in cameras.items():
            verdict = {"verdict": "PASS" if score is not None else "NO_RESULT", "reason": "score"}
            verdict["verdict"] = (
                "FAIL" if score is not None and score >= 0.5 else verdict["verdict"]
            )
            insert_row(db, "verdicts", {
                "camera": camera, "boot": BOOT, "seq": number, "part_id": "A", "recipe": "r",
                "captured_at": at(taken), "decided_at": at(judged), "score": score or 0.0,
                "rescored": score or 0.0, "threshold": 0.5, "window_n": 9, "state": "READY",
            } | verdict)  # fmt: skip
        closed = {"part_id": "A", "boot": BOOT, "part_seq": number, "views": 2, "reason": "score"}
        insert_row(db, "parts", closed | part)
        db.conn.commit()


def at(seconds: int) -> str:
    """Return a time of a ledger."""
    return f"2026-01-02T03:04:{seconds:02d}.000000Z"


def said(path: Path, *thresholds: float) -> list[tuple[int, float | None]]:
    """Return rejects, and how many per 1000, as judged and with each threshold."""
    return [(one.rejects, one.per_1000) for one in asked(path, thresholds=thresholds)]


def test_any_view_rejects_its_part(tmp_path: Path) -> None:
    """Of two views each is held against the threshold, also where an id comes back."""
    path = tmp_path / "a.db"
    for begin, scores in ((1, (0.2, 0.3)), (11, (0.4, 0.1))):
        seen = {f"c{i}": (begin, begin + 1, score) for i, score in enumerate(scores, 1)}
        span = {"captured_at": at(begin), "decided_at": at(begin + 1)}
        views(path, seen, verdict="PASS", seen=2, **span)

    found = asked(path, thresholds=(0.35, 0.25, 0.15))

    assert [one.rejects for one in found] == [0, 1, 2, 2]


def test_a_part_that_lacks_a_view_fails_or_has_no_result(tmp_path: Path) -> None:
    """By the view that came, for each threshold; what has no result is in no rate."""
    path = tmp_path / "a.db"
    span = {"captured_at": at(1), "decided_at": at(3)}
    views(path, {"c1": (1, 2, 0.4), "c2": (1, 2, 0.1)}, verdict="PASS", seen=2, **span)
    span = {"captured_at": at(11), "decided_at": at(13), "seen": 1}
    views(path, {"c1": (11, 12, 0.6)}, verdict="FAIL", **span)
    span = {"captured_at": at(21), "decided_at": at(23), "seen": 1}
    views(path, {"c1": (21, 22, 0.3)}, verdict="NO_RESULT", **span)

    found = said(path, 0.7, 0.5, 0.35, 0.25)

    assert found == [(1, 500.0), (0, 0.0), (1, 500.0), (2, 1000.0), (3, 1000.0)]


def test_a_target_and_labels_see_parts_that_lack_a_view(tmp_path: Path) -> None:
    """A defective part that its only view rejects is found; one without result counts nowhere."""
    path, table = tmp_path / "a.db", tmp_path / "labels.csv"
    for number in range(12):
        span = {"captured_at": at(4 * number + 1), "decided_at": at(4 * number + 3)}
        score = 0.45 if number == 11 else 0.1 + number / 1000
        seen = {"c1": (4 * number + 1, 4 * number + 2, score)}
        views(path, seen, verdict="NO_RESULT", seen=1, **span)
    table.write_text("part,label\nA,1\n")
    parts = read_parts(path, LIMIT)
    known = labelled(path, parts, table)
    judge = JudgeSettings(min_scores=8, rejects_per_1000=20)

    judged, high, low, target = what_if_ledger(parts, [0.7, 0.4], [judge], [], known)

    assert (judged.rejects, judged.per_1000, judged.recall) == (0, None, None)
    assert (high.rejects, high.per_1000, high.recall) == (0, None, None)
    assert (low.rejects, low.per_1000, low.recall) == (1, 1000.0, 1.0)
    assert target.rejects >= 1
    assert target.per_1000 == 1000.0


def test_a_view_without_result_is_a_missing_one(tmp_path: Path) -> None:
    """A part that one view rejects and another has no result of passes under no threshold."""
    path = tmp_path / "a.db"
    span = {"captured_at": at(1), "decided_at": at(3), "seen": 2}
    views(path, {"c1": (1, 2, 0.6), "c2": (1, 2, None)}, verdict="FAIL", **span)

    assert said(path, 0.7, 0.5) == [(1, 1000.0), (0, None), (1, 1000.0)]


def test_a_view_that_comes_late_changes_nothing(tmp_path: Path) -> None:
    """What was judged once the part was closed does not reject it."""
    path = tmp_path / "a.db"
    span = {"captured_at": at(1), "decided_at": at(5), "seen": 1}
    views(path, {"c1": (1, 2, 0.1), "c2": (2, 6, 0.4)}, verdict="NO_RESULT", **span)

    assert said(path, 0.3, 0.1) == [(0, None), (0, None), (1, 1000.0)]


def test_a_frame_is_of_one_part(tmp_path: Path) -> None:
    """The view that closed a part, taken before that, is of the next one under the same id.

    c1   1st taken ....... 2nd taken, judged: the first is closed
    c2          1st taken             2nd taken
    """
    path = tmp_path / "a.db"
    first = {"captured_at": at(1), "decided_at": at(10), "seen": 2}
    views(path, {"c1": (1, 2, 0.1), "c2": (2, 3, 0.1)}, verdict="PASS", **first)
    second = {"captured_at": at(8), "decided_at": at(14), "seen": 2}
    views(path, {"c1": (8, 10, 0.4), "c2": (9, 13, 0.1)}, verdict="PASS", **second)

    assert said(path, 0.3) == [(0, 0.0), (1, 500.0)]


def test_the_score_that_decided_is_told_by_the_results(tmp_path: Path) -> None:
    """Where raw scores contradict the results and rescored ones do not, these are asked."""
    ledger = frames(
        tmp_path / "a.db",
        {"score": 0.9, "rescored": 0.2},
        {"score": 0.1, "rescored": 0.8, "verdict": "FAIL"},
    )

    (_, told), (_, given) = (
        what_if_ledger(read_parts(ledger, LIMIT, deciding), [0.15], [], [])
        for deciding in (None, "raw")
    )

    assert (told.rejects, given.rejects) == (2, 1)


def test_latest_parts_alone_are_asked(tmp_path: Path) -> None:
    """With a limit older parts do not count; of no parts nothing is said."""
    ledger = frames(tmp_path / "a.db", *({"score": score} for score in (0.4, 0.4, 0.1, 0.4)))
    empty = frames(tmp_path / "none.db")

    found = [what_if_ledger(read_parts(ledger, limit, "raw"), [0.3], [], [])[1] for limit in (2, 9)]
    nothing = asked(empty, 20, thresholds=(0.1,))

    assert [one.rejects for one in found] == [1, 3]
    assert [(one.rejects, one.per_1000, one.alarms["two"]) for one in nothing] == [
        (0, None, (0, 0))
    ] * 3


def test_a_ledger_by_rescored_scores_without_rejects_is_told_by_its_maps(tmp_path: Path) -> None:
    """The level of a map is the threshold where raw scores decide, and moved where others do."""
    told = {}
    for name, level in (("raw", 0.5), ("rescored", 0.5 * (0.2 / 0.1))):
        path = frames(tmp_path / f"{name}.db", {"score": 0.2}, {"score": 0.2})
        add(path, "heatmaps", camera="c1", boot=BOOT, seq=2, level=level)
        told[name] = read_parts(path, LIMIT)

    assert {name: parts.score for name, parts in told.items()} == {
        "raw": "raw",
        "rescored": "rescored",
    }
    rejects = {
        name: what_if_ledger(parts, [0.15], [], [])[1].rejects for name, parts in told.items()
    }
    assert rejects == {"raw": 2, "rescored": 0}


@pytest.mark.parametrize("score", ["raw", "rescored"])
def test_a_runs_own_score_is_told(images: Path, tmp_path: Path, score: str) -> None:
    """Whichever score the judge was given, its ledger says so, of its passes alone too."""
    ledger = replayed(images, tmp_path / "run.db", settings(images, judge__score=score))
    with closing(Database(ledger)) as db:
        failed = "select part_id from verdicts where verdict = 'FAIL'"
        db.execute(f"delete from parts where part_id in ({failed})")  # noqa: S608 - a constant
        db.execute("delete from verdicts where verdict = 'FAIL'")
        db.conn.commit()
    differ = [row for row in rows(ledger) if row["verdict"] and row["score"] != row["rescored"]]

    parts = read_parts(ledger, LIMIT)

    assert differ
    assert parts.score == score


def test_scores_of_which_none_is_told_are_refused(tmp_path: Path) -> None:
    """Where no result tells which score decides, or results tell both, the config must be named."""
    silent = frames(tmp_path / "silent.db", {"score": 0.2}, {"score": 0.3})
    torn = frames(
        tmp_path / "torn.db",
        {"score": 0.9, "verdict": "FAIL"},
        {"score": 0.1, "rescored": 0.9, "verdict": "FAIL"},
    )
    same = frames(tmp_path / "same.db", {"score": 0.2, "rescored": 0.2})

    with pytest.raises(LedgerError, match=r"silent.db: no result tells.*--config"):
        read_parts(silent, LIMIT)
    with pytest.raises(LedgerError, match=r"torn.db: some results are by raw.*--config"):
        read_parts(torn, LIMIT)
    assert read_parts(silent, LIMIT, "rescored").score == "rescored"
    assert read_parts(same, LIMIT).score == "raw"


def test_a_count_is_shown_whole() -> None:
    """Rejects are counted, however many; rates have four digits."""
    row = WhatIf("as judged", 0.123456, 123456, 12.34567, None, 0.5, {})

    assert row.cells() == ["as judged", "0.1235", "123456", "12.35", "", "0.5"]


def test_labels_by_stem_are_of_files_whose_parts_are_counted(tmp_path: Path) -> None:
    """A table that a replay takes is taken; names of older parts than those asked are known."""
    results = [{"score": 0.3, "origin": f"bolt {seq}.png"} for seq in (1, 2, 3)]
    ledger = frames(tmp_path / "a.db", *results)
    table = tmp_path / "labels.csv"
    table.write_text("part,label\nbolt_1,1\nbolt_2,1\nbolt 3.png,0\n")

    every = labelled(ledger, read_parts(ledger, LIMIT, "raw"), table)
    latest = labelled(ledger, read_parts(ledger, 1, "raw"), table)

    assert every.said == "2 defective and 1 good parts by labels.csv"
    assert every.defective.tolist() == [True, True, False]
    assert latest.said == "0 defective and 1 good parts by labels.csv"
