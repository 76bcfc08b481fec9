"""Weights: every way to a file, in its order, and no wrong file by any of them."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from huggingface_hub import constants as hub_constants
from safetensors.numpy import load, load_file, save, save_file

from pipeline import onnx_weights, weights, weights_registry
from pipeline.hub import download_from_hub
from pipeline.weights import WeightsEntry, WeightsError, describe, resolve
from pipeline.wheels import PinnedWheel

NAME = "dinov2-vits14"
SHAPES = {"cls_token": (1, 1, 4), "pos_embed": (1, 10, 4)}


def small_tensors(seed: int = 0) -> dict[str, np.ndarray]:
    """Tensors that pass for the network of the small entry."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape, np.float32) for name, shape in SHAPES.items()}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel with the small network; see the entry for its format."""
    path = tmp_path / "index" / "tiny_net-1.0-py3-none-any.whl"
    path.parent.mkdir()
    info = "tiny_net-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net.onnx", save(small_tensors()))
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-net\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(autouse=True)
def small_entry(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> WeightsEntry:
    """The registry's entry with a small network in place of the 90 MB one.

    Conversion has its own tests; here the wheel holds safetensors at once.
    """
    pin = PinnedWheel("tiny-net==1.0", hashlib.sha256(wheel.read_bytes()).hexdigest())
    small = dataclasses.replace(
        weights_registry.REGISTRY[NAME], wheel=pin, wheel_member="net.onnx", shapes=SHAPES
    )
    monkeypatch.setattr(onnx_weights, "timm_tensors", load)
    for module in (weights, weights_registry):
        monkeypatch.setattr(module, "REGISTRY", MappingProxyType({NAME: small}))
    return small


@pytest.fixture
def hub(tmp_path: Path) -> Callable[[str, str], Path]:
    """A hub that has the network, with other numbers than the wheel."""
    file = tmp_path / "hub.safetensors"
    save_file(small_tensors(seed=1), file)
    return lambda _repo, _file: file


def refuse(_repo: str, _file: str) -> Path:
    """A hub that is out of reach."""
    msg = "no route to hub\nand more"
    raise ConnectionError(msg)


def test_given_file_comes_first(tmp_path: Path, wheel: Path) -> None:
    """The file of the config is used as it is, and nothing is cached."""
    given = tmp_path / "mine.safetensors"
    save_file(small_tensors(), given)

    found = resolve(NAME, path=given, cache=tmp_path / "cache", wheel=wheel)

    assert found == given
    assert not (tmp_path / "cache").exists()


def test_given_file_must_fit(tmp_path: Path) -> None:
    """A given file that is missing, not safetensors or of another network is named."""
    (tmp_path / "text.safetensors").write_text("weights, honestly")
    save_file({"cls_token": np.zeros((1, 1, 7), np.float32)}, tmp_path / "other.safetensors")

    for name in ("gone.safetensors", "text.safetensors"):
        with pytest.raises(WeightsError, match=f"{name} of {NAME}: "):
            resolve(NAME, path=tmp_path / name, cache=tmp_path)
    with pytest.raises(
        WeightsError, match=r"'cls_token' has shape \(1, 1, 7\), must be \(1, 1, 4\)"
    ):
        resolve(NAME, path=tmp_path / "other.safetensors", cache=tmp_path)


def test_hub_before_wheel(tmp_path: Path, hub: Callable[[str, str], Path]) -> None:
    """What the hub has is copied into the cache, with its source, and the wheel is not fetched."""
    cache = tmp_path / "cache"

    found = resolve(NAME, cache=cache, hub=hub, find_links=tmp_path / "index")

    [row] = describe(cache)
    assert load_file(found).keys() == small_tensors().keys()
    assert found.read_bytes() == hub("", "").read_bytes()
    assert (row.state, row.file, row.licence) == ("present", found, "Apache-2.0")
    assert "huggingface.co/timm/" in row.source
    assert [path.name for path in cache.iterdir()] == [NAME]


def test_wheel_when_the_hub_fails(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When the hub fails, one log line says so and the wheel of the index is converted."""
    caplog.set_level(logging.WARNING)

    found = resolve(NAME, cache=tmp_path / "cache", hub=refuse, find_links=tmp_path / "index")

    expected = small_tensors()
    converted = load_file(found)
    [record] = caplog.records
    assert "no route to hub" in record.getMessage()
    assert "\n" not in record.getMessage()
    assert all(np.array_equal(converted[key], expected[key]) for key in expected)


def test_hub_with_another_network(tmp_path: Path, wheel: Path) -> None:
    """A hub file of another network is not kept; the wheel is used."""
    other = tmp_path / "other.safetensors"
    save_file({"cls_token": np.zeros((1, 1, 7), np.float32)}, other)

    found = resolve(
        NAME, cache=tmp_path / "cache", hub=lambda _repo, _file: other, find_links=wheel.parent
    )

    assert found.read_bytes() != other.read_bytes()
    assert describe(tmp_path / "cache")[0].source.startswith("wheel tiny-net==1.0")


def test_silent_hub_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wheel: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A hub that refuses the connection costs one question, and the next way is tried."""
    caplog.set_level(logging.WARNING, "pipeline")
    monkeypatch.setattr(hub_constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    nowhere = partial(download_from_hub, partial=tmp_path, endpoint="http://127.0.0.1:1")

    found = resolve(NAME, cache=tmp_path / "cache", find_links=wheel.parent, hub=nowhere)

    assert found.exists()
    assert "trying the wheel tiny-net==1.0" in caplog.text


def test_second_time_from_the_cache(tmp_path: Path, wheel: Path) -> None:
    """What was converted once is found offline, without the wheel."""
    cache = tmp_path / "cache"
    first = resolve(NAME, cache=cache, wheel=wheel)

    assert resolve(NAME, cache=cache, offline=True) == first


def test_offline_names_file_and_command(tmp_path: Path, hub: Callable[[str, str], Path]) -> None:
    """Offline and without a wheel, the error names the file looked for and the command."""
    cache = tmp_path / "cache"

    with pytest.raises(WeightsError) as caught:
        resolve(NAME, cache=cache, offline=True, hub=hub, find_links=tmp_path / "index")

    assert str(cache / NAME / "model.safetensors") in str(caught.value)
    assert f"`musc-edge weights fetch {NAME}`" in str(caught.value)
    assert not cache.exists()


def test_offline_uses_a_cached_wheel(tmp_path: Path, wheel: Path) -> None:
    """Offline, a wheel that an earlier download left in the cache is converted."""
    (tmp_path / "cache" / "wheels").mkdir(parents=True)
    shutil.copy(wheel, tmp_path / "cache" / "wheels")

    assert resolve(NAME, cache=tmp_path / "cache", offline=True).exists()


def test_wrong_wheel_is_refused(tmp_path: Path, wheel: Path) -> None:
    """A given wheel with another hash is refused with both hashes."""
    other = tmp_path / "other.whl"
    other.write_bytes(b"other")

    with pytest.raises(WeightsError) as caught:
        resolve(NAME, cache=tmp_path / "cache", wheel=other)

    assert hashlib.sha256(b"other").hexdigest() in str(caught.value)
    assert f"must be {hashlib.sha256(wheel.read_bytes()).hexdigest()}" in str(caught.value)


def test_damage_is_seen(tmp_path: Path, wheel: Path) -> None:
    """One changed byte of a cached file is an error with file, both hashes and the remedy."""
    cache = tmp_path / "cache"
    file = resolve(NAME, cache=cache, wheel=wheel)
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    file.write_bytes(file.read_bytes()[:-1] + b"\x00")
    after = hashlib.sha256(file.read_bytes()).hexdigest()

    with pytest.raises(WeightsError) as caught:
        resolve(NAME, cache=cache, wheel=wheel)

    for part in (str(file), before, after, f"`musc-edge weights fetch {NAME}` replaces it"):
        assert part in str(caught.value)
    assert describe(cache)[0].state == "damaged"


@pytest.mark.parametrize("lost", ["model.safetensors", "source.json"])
def test_damage_is_repaired(tmp_path: Path, wheel: Path, lost: str) -> None:
    """Half a cache entry is refused, and replaced where that was asked for."""
    cache = tmp_path / "cache"
    file = resolve(NAME, cache=cache, wheel=wheel)
    (file.parent / lost).unlink()

    with pytest.raises(WeightsError, match="cannot be verified"):
        resolve(NAME, cache=cache, wheel=wheel)

    assert resolve(NAME, cache=cache, wheel=wheel, replace_damaged=True) == file
    assert describe(cache)[0].state == "present"


def test_two_at_the_same_time(tmp_path: Path, wheel: Path, hub: Callable[[str, str], Path]) -> None:
    """Of two that fetch at the same time, the later takes what the first has put there."""
    cache = tmp_path / "cache"

    def overtaken(repo: str, file: str) -> Path:
        resolve(NAME, cache=cache, wheel=wheel)
        return hub(repo, file)

    found = resolve(NAME, cache=cache, hub=overtaken)

    assert found.read_bytes() != hub("", "").read_bytes()
    assert describe(cache)[0].source.startswith("wheel ")


def test_unknown_name_is_refused(tmp_path: Path) -> None:
    """A name outside the registry is refused with the names there are."""
    with pytest.raises(WeightsError, match=f"no weights 'resnet'; there are: {NAME}"):
        resolve("resnet", cache=tmp_path)


def test_absent_weights_are_listed(tmp_path: Path) -> None:
    """Weights that were never fetched are listed with the place they would come from."""
    [row] = describe(tmp_path / "cache")

    assert (row.name, row.state, row.sha256) == (NAME, "absent", "")
    assert "vit_small_patch14_dinov2.lvd142m" in row.source
