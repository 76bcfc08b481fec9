"""Features that are kept in files are those of the network, and it is asked once."""

from __future__ import annotations

import logging
import signal
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import pytest
import torch
from factories import CountingBackbone, FakeBackbone, config
from feature_writer import WRITTEN_BYTES, write_and_die
from replay_rig import MODEL, SETTINGS, fake_scorer, replayed, write_parts
from safetensors.torch import load_file, save_file

from pipeline import feature_files
from pipeline.feature_files import LEFT_S, FeatureCounts, FeatureFiles, folder_bytes, network_name
from pipeline.replay import new_inspector, open_source, run_replay
from pipeline.run_identity import run_hash

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from musc.backbone import Features

PARTS = 24


def batch(seed: int = 0, count: int = 1) -> torch.Tensor:
    """An input of so many frames."""
    return torch.rand(count, 3, 28, 28, generator=torch.Generator().manual_seed(seed))


def extract(folder: Path, seed: int = 0, network: FakeBackbone | None = None) -> FeatureCounts:
    """Ask as a process does that has just begun, hold its answer to the network's; return counts.

    Args:
        folder: Of features.
        seed: Of the input.
        network: What is asked.
    """
    files = FeatureFiles(folder)
    found = files.before(network or FakeBackbone(), MODEL).extract(batch(seed))
    assert_equal(found, FakeBackbone().extract(batch(seed)))
    return files.counts


def assert_equal(found: Features, wanted: Features) -> None:
    """Hold features to others, bit by bit."""
    for one, other in (
        (found.tokens, wanted.tokens),
        (found.image_features, wanted.image_features),
    ):
        assert one.dtype == other.dtype
        assert torch.equal(one.view(torch.int32), other.contiguous().view(torch.int32))


def only_file(folder: Path) -> Path:
    """Return the one file in a folder of features."""
    (path,) = [one for one in folder.rglob("*") if one.is_file()]
    return path


def test_replay_from_the_folder_asks_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first and a second run have the hash of a run without a folder; the second asks nothing."""
    network = CountingBackbone()
    fake_scorer(monkeypatch, network)
    images, settings = write_parts(tmp_path / "images", PARTS, (20,)), config(**SETTINGS)
    plain, asked, counts = run_hash(replayed(images, tmp_path / "plain.db", settings)), [], []

    hashes = []
    for name in ("cold.db", "warm.db"):
        network.asked = 0
        files = FeatureFiles(tmp_path / "features")
        inspector_of = partial(new_inspector, files=files)
        run_replay(open_source(images, settings), tmp_path / name, inspector_of=inspector_of)
        hashes.append(run_hash(tmp_path / name))
        asked.append(network.asked)
        counts.append(files.counts)

    assert hashes == [plain, plain]
    assert asked == [PARTS, 0]
    assert counts == [FeatureCounts(0, PARTS), FeatureCounts(PARTS, 0)]
    assert len(list((tmp_path / "features").rglob("*.safetensors"))) == PARTS


def test_numbers_are_the_networks(tmp_path: Path) -> None:
    """Negative zero, the smallest number, infinity and NaN come back as they went."""
    special = batch()
    special[0, 0, 0, :5] = torch.tensor([-0.0, 1e-45, float("inf"), float("-inf"), float("nan")])
    wanted = FakeBackbone().extract(special)

    for _ in range(2):
        files = FeatureFiles(tmp_path)
        assert_equal(files.before(FakeBackbone(), MODEL).extract(special), wanted)

    assert files.counts == FeatureCounts(1, 0)


def test_frames_of_a_batch_are_counted(tmp_path: Path) -> None:
    """Three frames at once are three, and none of them alone is known by that."""
    for wanted in (FeatureCounts(0, 3), FeatureCounts(3, 0)):
        files = FeatureFiles(tmp_path)
        files.before(FakeBackbone(), MODEL).extract(batch(count=3))
        assert files.counts == wanted

    assert extract(tmp_path) == FeatureCounts(0, 1)


def cut(path: Path) -> None:
    """Leave half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    """Leave a name, as a lost power supply does."""
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    """Change one bit of the numbers."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def reshaped(path: Path) -> None:
    """Have the same numbers in another shape."""
    held = load_file(path)
    held["tokens"] = held["tokens"].reshape(1, 1, 49, 16)
    save_file(held, path)


def stripped(path: Path) -> None:
    """Leave out what is not tokens."""
    save_file({"tokens": load_file(path)["tokens"]}, path)


def exchanged(path: Path) -> None:
    """Be a sound file of another input."""
    other = path.parents[1] / "other"
    extract(other, seed=1)
    only_file(other).replace(path)


@pytest.mark.parametrize("damage", [cut, emptied, flipped, reshaped, stripped, exchanged])
def test_damaged_file_is_named_and_made_anew(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The network is asked once more, and the run after that finds a sound file."""
    folder = tmp_path / "features"
    extract(folder)
    path = only_file(folder)
    damage(path)

    again = extract(folder)

    assert again == FeatureCounts(0, 1)
    (said,) = caplog.records
    assert said.levelno == logging.WARNING
    assert f"{path}: damaged, made anew" in said.getMessage()
    caplog.clear()
    assert extract(folder) == FeatureCounts(1, 0)
    assert caplog.records == []


def other_network(**fields: Any) -> FakeBackbone:
    """Return a network that is another in some way."""
    changed = FakeBackbone()
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


@pytest.mark.parametrize(
    "other", [{"precision": "bfloat16"}, {"execution": "packed"}, {"stages": (1,)}]
)
def test_what_another_network_said_is_not_used(other: dict[str, Any], tmp_path: Path) -> None:
    """Another precision, another way of execution and other stages are asked for themselves."""
    extract(tmp_path)

    assert extract(tmp_path, network=other_network(**other)) == FeatureCounts(0, 1)
    assert extract(tmp_path) == FeatureCounts(1, 0)


def test_name_of_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins with the model, and is another with other weights or another library."""
    name = network_name(FakeBackbone(), MODEL)
    other_model = network_name(FakeBackbone(), "0badcafe")
    again = network_name(FakeBackbone(), MODEL)
    monkeypatch.setattr(feature_files, "version", lambda _library: "0.0")

    assert name == again
    assert name.startswith(f"{MODEL}-")
    assert other_model.split("-")[1] != name.split("-")[1]
    assert network_name(FakeBackbone(), MODEL) != name


@pytest.mark.timeout(300)  # the process imports torch: seconds, more on a busy machine
def test_kill_in_the_middle_leaves_no_half_file(tmp_path: Path) -> None:
    """What a killed process was writing is never read, and goes after an hour."""
    process = get_context("spawn").Process(target=write_and_die, args=(str(tmp_path),), daemon=True)
    process.start()
    process.join()

    assert process.exitcode == -signal.SIGXFSZ
    left = only_file(tmp_path)
    assert left.suffix == ".part"
    assert left.stat().st_size == WRITTEN_BYTES
    written_s = left.stat().st_mtime
    for age_s, there in ((LEFT_S - 1, True), (LEFT_S + 1, False)):
        files = FeatureFiles(tmp_path, now_s=lambda age_s=age_s: written_s + age_s)  # type: ignore[misc] - a default is no argument
        backbone = files.before(FakeBackbone(), MODEL)
        assert left.exists() == there
    backbone.extract(torch.zeros(1, 3, 28, 28))
    assert files.counts == FeatureCounts(0, 1)
    assert only_file(tmp_path).suffix == ".safetensors"


def test_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C between writing and renaming leaves an empty folder."""

    def interrupted(_path: Path, _target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", interrupted)

    with pytest.raises(KeyboardInterrupt):
        extract(tmp_path)

    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_full_disk_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without room nothing is written, what is there is used, and answers are the same."""
    extract(tmp_path, seed=0)
    files = FeatureFiles(tmp_path, free_bytes=lambda _folder: 999_999_999)
    backbone = files.before(FakeBackbone(), MODEL)

    found = [backbone.extract(batch(seed)) for seed in (0, 1, 2, 1)]

    for seed, one in zip((0, 1, 2, 1), found, strict=True):
        assert_equal(one, FakeBackbone().extract(batch(seed)))
    assert files.counts == FeatureCounts(1, 3)
    assert only_file(tmp_path).suffix == ".safetensors"
    (said,) = caplog.records
    assert f"features {tmp_path}: nothing more is kept" in said.getMessage()
    assert "1.00 GB are free, 1 GB must stay" in said.getMessage()


def test_folder_that_cannot_be_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Below a file there is no folder: one warning, and the run goes on."""
    (tmp_path / "file").write_text("in the way")
    files = FeatureFiles(tmp_path / "file" / "features")
    backbone = files.before(FakeBackbone(), MODEL)

    for seed in (0, 1, 0):
        assert_equal(backbone.extract(batch(seed)), FakeBackbone().extract(batch(seed)))

    assert files.counts == FeatureCounts(0, 3)
    (said,) = caplog.records
    assert "Not a directory" in said.getMessage()
    assert folder_bytes(files.folder) == 0


def test_size_of_a_folder(tmp_path: Path) -> None:
    """All files count, in whatever folder of a network."""
    extract(tmp_path)
    extract(tmp_path, network=other_network(precision="float16"))

    sizes = [one.stat().st_size for one in tmp_path.rglob("*.safetensors")]
    assert len(sizes) == 2
    assert folder_bytes(tmp_path) == sum(sizes) > 2 * 16 * 49 * 4
