"""``musc-edge replay`` on the command line: its numbers, its table, what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import tomli_w
import typer
from factories import CountingBackbone, FakeBackbone
from replay_rig import MODEL, SETTINGS, fake_scorer, rows, write_parts
from typer.testing import CliRunner

from edge.errors import LineError
from pipeline import build
from pipeline.cli import app
from pipeline.cli_replay import speed_factor
from pipeline.feature_files import folder_bytes
from pipeline.run_identity import run_hash

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

DEFECTS = (20, 25)


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Thirty parts, two of them defective, and a config with a small window beside them."""
    fake_scorer(monkeypatch)
    camera = {"id": "c1", "kind": "synthetic", "interval_ms": 1}
    (tmp_path / "config.toml").write_text(tomli_w.dumps({"camera": [camera], **SETTINGS}))
    return write_parts(tmp_path / "images", 30, DEFECTS)


def invoke(images: Path, *arguments: str | Path) -> Result:
    """Replay the images with their config."""
    config = images.parent / "config.toml"
    options = [str(argument) for argument in ("--config", config, *arguments)]
    return CliRunner().invoke(app, ["replay", str(images), *options])


def labels(images: Path, *rows: str) -> Path:
    """Write a table of labels."""
    table = images.parent / "labels.csv"
    table.write_text("path,label\n" + "".join(f"{row}\n" for row in rows))
    return table


def test_numbers_and_hash(images: Path, tmp_path: Path) -> None:
    """Without labels: results by reason, the hash of the ledger, and where it lies."""
    out = tmp_path / "out.db"

    done = invoke(images, "--ledger", out)

    assert done.exit_code == 0, done.output
    told = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert told == {
        "pass": "12", "fail": "2", "no_result": "16 warming", "hash": run_hash(out),
        "ledger": str(out),
    }  # fmt: skip
    shown = CliRunner().invoke(app, ["verdicts", "--ledger", str(out), "--hash"])
    assert shown.stdout.strip() == run_hash(out)


def test_json_is_the_last_line(images: Path) -> None:
    """One object with every figure; images without a label are left out of them."""
    table = labels(images, *(f"{i}.png,{int(i in DEFECTS)}" for i in range(1, 29)))

    done = invoke(images, "--labels", table, "--json")

    told = json.loads(done.stdout.splitlines()[-1])
    del told["hash"]
    assert told == {
        "pass": 12, "fail": 2, "no_result": 16, "auroc": 1.0, "ap": 1.0, "recall": 1.0,
        "false_reject_rate": 0.0, "n": 12, "unlabelled": 2,
    }  # fmt: skip


def test_frames_without_label_are_counted(images: Path) -> None:
    """The summary says how many images the table does not know."""
    done = invoke(images, "--labels", labels(images, "20.png,1", "19.png,0"))

    assert "unlabelled   28" in done.stdout.splitlines()


def test_unknown_labels_stop_the_run(images: Path, tmp_path: Path) -> None:
    """A label of no image is an error with its name and number, and no ledger is written."""
    table = labels(images, "20.png,1", "x.png,0")

    done = invoke(images, "--labels", table, "--ledger", tmp_path / "out.db")

    assert isinstance(done.exception, LineError)
    assert done.exception.exit_code == 1
    assert "1 labels are of no frame: x.png (line 3)" in str(done.exception)
    assert not list(tmp_path.glob("out.db*"))


def test_existing_ledger_is_replaced_only_by_force(images: Path, tmp_path: Path) -> None:
    """A ledger that is there stays as it is, unless --force is given."""
    out = tmp_path / "out.db"
    out.write_text("old")

    refused = invoke(images, "--ledger", out)
    before = out.read_text()
    forced = invoke(images, "--ledger", out, "--force")

    assert isinstance(refused.exception, LineError)
    assert before == "old"
    assert forced.exit_code == 0, forced.output
    assert len(rows(out)) == 30


def test_differences_are_listed(images: Path, tmp_path: Path) -> None:
    """Parts with another verdict than in the old ledger come as a table, and are counted."""
    old = tmp_path / "old.db"
    invoke(images, "--ledger", old)
    (images / "20.png").write_bytes((images / "19.png").read_bytes())

    done = invoke(images, "--diff", old, "--json")

    *table, last = done.stdout.splitlines()
    told = json.loads(last)["diff"]
    assert [line.split("\t")[:3] for line in table if line.startswith("20\t")] == [
        ["20", "FAIL", "PASS"]
    ]
    assert table[0].split("\t")[:3] == ["part", "old", "new"]
    assert told["differ"] == len(table) - 1
    assert told["same"] + told["differ"] == 30


def test_old_ledger_must_be_there(images: Path, tmp_path: Path) -> None:
    """What should be compared with is looked for before anything is replayed."""
    done = invoke(images, "--diff", tmp_path / "none.db", "--ledger", tmp_path / "out.db")

    assert isinstance(done.exception, LineError)
    assert "none.db: no such file" in str(done.exception)
    assert not (tmp_path / "out.db").exists()


def test_report_is_a_page(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the run's backbone once more, worst frames stand beside good patches."""
    monkeypatch.setattr(build, "line_backbone", lambda _config: (FakeBackbone(), MODEL))
    page = tmp_path / "page.html"

    done = invoke(images, "--report", page)

    assert done.exit_code == 0, done.output
    text = page.read_text()
    assert "<title>Replay of images</title>" in text
    assert text.count('alt="worst patch of ') == 14, "each frame that was judged"
    assert text.count('alt="patch of ') == 3 * 14


def test_ledger_outlives_a_report_that_fails(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replay is done; what cannot be drawn costs the page alone."""

    def no_backbone(_config: object) -> None:
        msg = "weights are gone"
        raise LineError(msg)

    monkeypatch.setattr(build, "line_backbone", no_backbone)

    done = invoke(images, "--ledger", tmp_path / "l.db", "--report", tmp_path / "p.html")

    assert isinstance(done.exception, LineError)
    assert len(rows(tmp_path / "l.db", "verdicts")) == 30
    assert not (tmp_path / "p.html").exists()


def test_page_without_a_folder_is_refused_before_the_replay(images: Path, tmp_path: Path) -> None:
    """Nobody waits for a replay whose page has no place."""
    done = invoke(images, "--ledger", tmp_path / "l.db", "--report", tmp_path / "none" / "p.html")

    assert isinstance(done.exception, LineError)
    assert "there is no folder" in str(done.exception)
    assert not (tmp_path / "l.db").exists()


def test_features_are_counted(images: Path, tmp_path: Path) -> None:
    """A second replay finds all frames in the folder, and says the same of them."""
    folder = tmp_path / "features"

    cold = invoke(images, "--features", folder, "--json")
    warm = invoke(images, "--features", folder)

    told = json.loads(cold.stdout.splitlines()[-1])
    size = folder_bytes(folder)
    assert told["features"] == {"from_folder": 0, "computed": 30, "folder_bytes": size}
    shown = dict(line.split(maxsplit=1) for line in warm.stdout.splitlines())
    assert shown["hash"] == told["hash"]
    text = f"30 from the folder, 0 computed; it has {size / 1e6:.1f} MB"
    assert shown["features"] == text
    plain = json.loads(invoke(images, "--json").stdout.splitlines()[-1])
    assert plain == {name: value for name, value in told.items() if name != "features"}


def test_features_of_several_sources_are_added_up(images: Path, tmp_path: Path) -> None:
    """A frame that two sources have is computed once; --json has the counts by source."""
    folder = tmp_path / "features"

    cold = several(images, "--features", folder)
    warm = several(images, "--features", folder, "--json")

    size = folder_bytes(folder)
    assert cold.stdout.splitlines()[-1] == (
        f"features: 18 from the folder, 32 computed; it has {size / 1e6:.1f} MB"
    )
    told = json.loads(warm.stdout.splitlines()[-1])
    assert [one["features"] for one in told.values()] == [
        {"from_folder": count, "computed": 0, "folder_bytes": size} for count in (30, 20)
    ]


def test_report_looks_into_the_folder(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page needs frames that the replay has just seen: the network is not asked again."""
    network = CountingBackbone()
    fake_scorer(monkeypatch, network)
    monkeypatch.setattr(build, "line_backbone", lambda _config: (network, MODEL))

    done = invoke(images, "--features", tmp_path / "features", "--report", tmp_path / "p.html")

    assert done.exit_code == 0, done.output
    assert network.asked == 30


def test_file_is_no_folder_of_features(images: Path, tmp_path: Path) -> None:
    """It is refused before anything is replayed, and stays as it is."""
    (tmp_path / "file").write_text("mine")

    done = invoke(images, "--features", tmp_path / "file", "--ledger", tmp_path / "out.db")

    assert done.exit_code == 2
    assert "is a file" in " ".join(done.output.replace("│", " ").split())
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "out.db").exists()


def several(images: Path, *arguments: str | Path) -> Result:
    """Replay the images and a second folder with their config."""
    write_parts(images.with_name("others"), 20, (18,))
    return invoke(images, images.with_name("others"), *arguments)


def test_several_sources_have_a_ledger_each(images: Path, tmp_path: Path) -> None:
    """Their numbers come as one object, by source; each ledger has the name of its source."""
    out = tmp_path / "ledgers"

    done = several(images, "--ledger", out, "--json")

    told = json.loads(done.stdout.splitlines()[-1])
    others = str(images.with_name("others"))
    assert done.exit_code == 0, done.output
    assert list(told) == [str(images), others]
    assert told[str(images)]["hash"] == run_hash(out / "images.db")
    assert told[others]["hash"] == run_hash(out / "others.db")
    assert told[others]["pass"] + told[others]["fail"] + told[others]["no_result"] == 20
    alone = json.loads(invoke(images, "--json").stdout.splitlines()[-1])
    assert told[str(images)] == alone


def test_several_sources_are_a_table(images: Path) -> None:
    """A row a source, with figures where each has its labels."""
    mine = labels(images, *(f"{i}.png,{int(i in DEFECTS)}" for i in range(1, 31)))
    theirs = images.with_name("theirs.csv")
    theirs.write_text("path,label\n18.png,1\n19.png,0\n")

    done = several(images, "--labels", mine, "--labels", theirs)

    head, *table = [line.split("\t") for line in done.stdout.splitlines()]
    assert head == [
        "source", "pass", "fail", "no_result", "auroc", "ap", "recall", "false_reject_rate", "n",
        "hash", "error",
    ]  # fmt: skip
    assert [row[0] for row in table] == [str(images), str(images.with_name("others"))]
    assert [row[head.index("n")] for row in table] == ["14", "2"]
    assert [row[head.index("auroc")] for row in table] == ["1", "1"]


def test_source_that_fails_is_named(images: Path, tmp_path: Path) -> None:
    """The others are replayed all the same, and exit status is 1."""
    (tmp_path / "none").mkdir()

    done = several(images, tmp_path / "none", "--json")

    told = json.loads(done.stdout.splitlines()[-1])
    assert done.exit_code == 1
    assert "has no image" in told[str(tmp_path / "none")]["error"]
    assert f"failed: {tmp_path / 'none'}: image folder" in done.stderr
    assert told[str(images)]["pass"] == 12


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--diff", "old.db"], "are of one source"),
        (["--report", "page.html"], "are of one source"),
        (["--labels", "labels.csv"], "1 for 3 sources"),
        (["--ledger", "out"], "a name of its own"),
    ],
)
def test_what_several_sources_cannot_have(
    images: Path, tmp_path: Path, options: list[str], says: str
) -> None:
    """Ledgers of one name, too few labels, a page of all: said before anything is replayed."""
    namesake = write_parts(tmp_path / "deeper" / "images", 3)

    done = several(images, namesake, *options)

    assert done.exit_code == 2
    assert says in done.output


def test_source_given_twice_is_refused(images: Path) -> None:
    """One source cannot be two."""
    done = invoke(images, images)

    assert done.exit_code == 2
    assert "a name of its own" in done.output


@pytest.mark.parametrize(
    ("text", "factor"), [("max", None), ("real", 1.0), ("x10", 10.0), ("x0.5", 0.5)]
)
def test_speeds(text: str, factor: float | None) -> None:
    """As fast as possible, as captured, or so many times as fast."""
    assert speed_factor(text) == factor


@pytest.mark.parametrize("text", ["", "10", "x0", "x-1", "xinf", "xnan", "fast", "x"])
def test_other_speeds_are_refused(text: str) -> None:
    """What is no speed is a bad argument, with what is allowed."""
    with pytest.raises(typer.BadParameter, match="must be max, real, or x and a number"):
        speed_factor(text)
