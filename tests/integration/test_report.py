"""The reports open in a browser without a network and without an error."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from browser import browse
from factories import FakeBackbone, config
from replay_rig import MODEL, SETTINGS, fake_scorer, replayed, rows, write_parts
from rich.console import Console

from pipeline import shared_runs
from pipeline.counting_view import CountingView
from pipeline.page import ReportError
from pipeline.replay import open_source
from pipeline.replay_diff import compare, part_results
from pipeline.replay_report import report
from pipeline.report import run_sections, write_report
from pipeline.report_data import COLUMNS, WORST, RunData, pictures, read_run
from pipeline.report_pages import write_run_report, write_search_report
from pipeline.tune import Search, Tuning, open_study
from pipeline.tune_space import Choices, varied

if TYPE_CHECKING:
    from pathlib import Path

PARTS, DEFECTS = 40, (22, 31)
LARGEST_BYTES = 15_000_000


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty parts, two of them defective."""
    fake_scorer(monkeypatch)
    return write_parts(tmp_path / "images", PARTS, DEFECTS)


@pytest.mark.timeout(300)
def test_report_of_a_replay_opens_in_a_browser(images: Path, tmp_path: Path, chromium: str) -> None:
    """Drawings, worst frames with their heatmaps, and what changed are there, without an error."""
    source = open_source(images, config(**SETTINGS))
    old = replayed(images, tmp_path / "old.db", config(**SETTINGS))
    other = varied(source.config, {"judge.method": "fixed", "judge.fixed_threshold": 1e-6})
    ledger = replayed(images, tmp_path / "new.db", other)
    differences = compare(part_results(old), part_results(ledger))
    page = tmp_path / "report.html"

    write_run_report(
        page,
        open_source(images, other),
        ledger,
        report(ledger, "raw", {}),
        FakeBackbone(),
        differences,
    )
    became, complaints, shot = browse(chromium, page)

    assert complaints == ""
    assert became.count('class="plot-container plotly"') == 5, "with alarms: many fail in a row"
    assert f"What changed: {len(differences.differ)} parts" in became
    assert len(differences.differ) > 0
    assert all(row["part_id"] in became for row in rows(old) if row["verdict"] == "FAIL")
    judged = [row for row in rows(ledger, "heatmaps") if row["level"]]
    shown = min(WORST, len(judged))
    # Each has its heatmap and its worst patch; none passed, so there is no good one.
    assert became.count("data:image/jpeg;base64,") == 2 * shown > 20
    assert became.count("no good frame to compare it with") == shown
    # Not blank, and red where parts failed.
    red = (shot[:, :, 2] > 150) & (shot[:, :, 1] < 90) & (shot[:, :, 0] < 90)
    assert shot.std() > 10
    assert red.sum() > 50


@pytest.mark.timeout(300)
def test_worst_frames_stand_beside_good_patches(
    images: Path, tmp_path: Path, chromium: str
) -> None:
    """Each has its heatmap, its worst patch and the three good ones nearest to it, in a row."""
    settings = config(**SETTINGS)
    ledger = replayed(images, tmp_path / "run.db", settings)
    page, source = tmp_path / "report.html", open_source(images, settings)

    write_run_report(page, source, ledger, report(ledger, "raw", {}), FakeBackbone())
    became, complaints, shot = browse(chromium, page)

    assert complaints == ""
    shown = len(read_run(ledger, "raw").worst)
    assert became.count('<div class="row crops">') == shown > 10
    assert became.count('alt="worst patch of ') == shown
    assert became.count('alt="patch of ') == 3 * shown
    assert became.count("data:image/jpeg;base64,") == 5 * shown
    assert shot.std() > 10


@pytest.mark.timeout(300)
def test_report_of_two_thousand_parts_is_small_and_opens(
    images: Path, tmp_path: Path, chromium: str
) -> None:
    """Two thousand frames and pictures of 24 stay below 15 MB."""
    source = open_source(images, config(**SETTINGS))
    run = read_run(replayed(images, tmp_path / "run.db", source.config), "raw")
    many = {name: (values * 50)[:2000] for name, values in run.columns.items()}
    page = tmp_path / "many.html"

    whole = RunData(many, run.worst, run.alarms, run.events)
    write_report(
        page, "many", run_sections(whole, {"n": 2000}, None, pictures(source, run.worst), {})
    )
    became, complaints, _ = browse(chromium, page)

    assert page.stat().st_size < LARGEST_BYTES
    assert complaints == ""
    assert became.count('class="plot-container plotly"') == 4


@pytest.mark.timeout(300)
def test_report_of_a_search_opens_in_a_browser(
    images: Path, tmp_path: Path, chromium: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials, what matters and what was held out are there, without an error."""
    monkeypatch.setattr(shared_runs, "load_backbone", lambda _choice: (FakeBackbone(), MODEL))
    search = Search(
        sources=(images,),
        labels=(),
        config=config(**SETTINGS),
        space={
            "window.size_frames": Choices((9, 10, 12)),
            "musc.keep_lowest": Choices((0.2, 0.3, 0.5)),
        },
        goal="rejects",
        trials=9,
        sampler="grid",
    )
    tuning = Tuning(search, open_study(str(tmp_path / "tune.db"), search), 50_000_000)
    view = CountingView(Console(file=io.StringIO()), 1)
    tuning.run(view)
    page = tmp_path / "search.html"

    write_search_report(page, tuning.result(view), "rejects")
    became, complaints, _ = browse(chromium, page)

    assert complaints == ""
    assert "Held out" in became
    assert became.count("window.size_frames=") == 9
    assert became.count('class="plot-container plotly"') >= 1


def test_what_a_part_is_called_is_no_markup(tmp_path: Path) -> None:
    """A name with angle brackets is shown as it is."""
    empty: dict[str, list[Any]] = {name: [] for name in [*COLUMNS, "deciding"]}
    run = RunData(empty, [], [], [])

    sections = run_sections(run, {"<b>": "<script>alert(1)</script>"}, None, {}, {})

    page = tmp_path / "page.html"
    write_report(page, "<i>", sections)
    text = page.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "<title>&lt;i&gt;</title>" in text


def test_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """The message names the file, and nothing is left."""
    with pytest.raises(
        ReportError, match=r"report .*nowhere/page\.html: there is no folder .*nowhere"
    ):
        write_report(tmp_path / "nowhere" / "page.html", "a", [])

    assert not list(tmp_path.rglob("*.part"))
