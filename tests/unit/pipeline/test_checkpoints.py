"""Checkpoints: one network, saved in every form that its authors use."""

from __future__ import annotations

import argparse
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.checkpoints import load_weights, read_checkpoint
from pipeline.weights import resolve
from pipeline.weights_registry import REGISTRY, WeightsError

Save = Callable[[Any, Path], object]


class Tower(nn.Module):
    """A network with a few named tensors."""

    def __init__(self) -> None:
        """Random numbers."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 2, bias=False)
        self.ln_post = nn.LayerNorm(4)

    def forward(self, image: Tensor) -> Tensor:
        """One number for each patch and channel."""
        normed: Tensor = self.ln_post(self.conv1(image).movedim(1, -1))
        return normed


class Clip(nn.Module):
    """An image tower and what else a CLIP model has."""

    def __init__(self) -> None:
        """Random numbers, and a buffer as OpenAI's archives have it."""
        super().__init__()
        self.visual = Tower()
        self.positional_embedding = nn.Parameter(torch.ones(7, 4))
        self.register_buffer("input_resolution", torch.tensor(224))

    def forward(self, image: Tensor) -> Tensor:
        """The image tower's answer."""
        answer: Tensor = self.visual(image)
        return answer


@pytest.fixture
def clip() -> Clip:
    """A small model whose numbers half precision holds exactly."""
    model = Clip()
    for index, weight in enumerate(model.parameters()):
        nn.init.constant_(weight, 0.25 + index)
    return model


def assert_tower(tensors: Mapping[str, Tensor], clip: Clip) -> None:
    """The tensors are those of the image tower, and no others, in plain float32."""
    expected = clip.visual.state_dict()
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, expected[name])
        assert (tensor.dtype, tensor.requires_grad) == (torch.float32, False)
        assert tensor.is_contiguous()


def save_legacy(content: Any, path: Path) -> None:
    """Save as torch did before 1.6: no zip archive."""
    torch.save(content, path, _use_new_zipfile_serialization=False)


def save_torchscript(model: nn.Module, path: Path) -> None:
    """Save as OpenAI published CLIP."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        image = torch.zeros(1, 3, 4, 4, dtype=next(model.parameters()).dtype)
        traced = torch.jit.trace(model, image)  # type: ignore[no-untyped-call]  # as in torch
        torch.jit.save(traced, str(path))


def prefixed(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors with something before their names."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize("save", [save_file, torch.save, save_legacy])
def test_every_container(tmp_path: Path, clip: Clip, save: Save) -> None:
    """The image tower comes out of each kind of file, whatever the file is called."""
    path = tmp_path / "weights"
    save(clip.state_dict(), path)

    assert_tower(read_checkpoint(path), clip)


def test_openai_archive(tmp_path: Path, clip: Clip) -> None:
    """OpenAI's form, a TorchScript archive in half precision, gives float32 tensors."""
    path = tmp_path / "ViT-B-32.pt"
    save_torchscript(clip.half(), path)

    assert_tower(read_checkpoint(path), clip.float())


def test_half_precision_becomes_float32(tmp_path: Path, clip: Clip) -> None:
    """Numbers stored in 16 bits come out in 32, unchanged; integers stay integers."""
    path = tmp_path / "half.safetensors"
    state = {**clip.visual.half().state_dict(), "steps": torch.tensor([3])}
    save_file(state, path)

    tensors = read_checkpoint(path)

    assert tensors.pop("steps").dtype == torch.int64
    assert_tower(tensors, clip.float())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: {"state_dict": prefixed(state, "module."), "name": "ViT"},
        lambda state: {
            "student": {"backbone.other": torch.zeros(1)},
            "teacher": prefixed(state, "module.backbone.") | {"module.head.last": torch.zeros(2)},
        },
        lambda state: {"model": {"state_dict": prefixed(state, "module.visual.")}},
        lambda state: state | {"mask_token": torch.zeros(1, 4)},
    ],
    ids=["state_dict", "model", "parallel", "teacher", "nested", "mask token"],
)
def test_wrappings_are_taken_off(
    tmp_path: Path, clip: Clip, wrap: Callable[[dict[str, Tensor]], object]
) -> None:
    """What training scripts put around a network is not part of it."""
    path = tmp_path / "checkpoint.pth"
    torch.save(wrap(clip.visual.state_dict()), path)

    assert_tower(read_checkpoint(path), clip)


class Trap:
    """An object that would make a folder if it were unpickled."""

    def __init__(self, folder: Path) -> None:
        """Lie in wait."""
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        """How pickle would bring it back."""
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("save", [torch.save, save_legacy])
def test_objects_are_refused(tmp_path: Path, save: Save) -> None:
    """A checkpoint with Python objects is refused by name, and none of them comes to life."""
    path, sprung = tmp_path / "trap.pt", tmp_path / "sprung"
    save({"model": {"w": torch.zeros(1)}, "extra": Trap(sprung)}, path)

    with pytest.raises(WeightsError, match=r"trap\.pt: .* objects other than tensors") as caught:
        read_checkpoint(path)

    assert not sprung.exists()
    assert "weights_only" not in str(caught.value)


def test_training_arguments_are_refused(tmp_path: Path) -> None:
    """Even a harmless object in a training checkpoint is not loaded."""
    path = tmp_path / "full.pth"
    torch.save({"teacher": {"w": torch.zeros(1)}, "args": argparse.Namespace(lr=1)}, path)

    with pytest.raises(WeightsError, match="objects other than tensors"):
        read_checkpoint(path)


def test_damage_is_named(tmp_path: Path, clip: Clip) -> None:
    """A missing, empty or cut file of any kind is an error with its name."""
    save_file(clip.state_dict(), tmp_path / "a.safetensors")
    torch.save(clip.state_dict(), tmp_path / "b.pt")
    save_legacy(clip.state_dict(), tmp_path / "c.pth")
    save_torchscript(clip, tmp_path / "d.pt")
    files = sorted(tmp_path.iterdir())
    for file in files:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    (tmp_path / "empty").touch()

    for file in [*files, tmp_path / "empty", tmp_path / "gone"]:
        with pytest.raises(WeightsError, match=f"weights file {file}"):
            read_checkpoint(file)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(1)], torch.zeros(1)])
def test_no_network(tmp_path: Path, content: object) -> None:
    """A checkpoint without named tensors is refused."""
    path = tmp_path / "nothing.pt"
    torch.save(content, path)

    with pytest.raises(WeightsError, match=r"nothing\.pt holds no tensors"):
        read_checkpoint(path)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    rubbish=st.binary(max_size=64),
    start=st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x09" + bytes(7) + b"{"]),
)
def test_rubbish_is_refused(tmp_path: Path, rubbish: bytes, start: bytes) -> None:
    """Any bytes that are no checkpoint raise WeightsError, never anything else."""
    path = tmp_path / "rubbish"
    path.write_bytes(start + rubbish)

    with pytest.raises(WeightsError, match="rubbish"):
        read_checkpoint(path)


def test_zip_without_network(tmp_path: Path) -> None:
    """A zip archive that torch did not write is refused."""
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/constants.pkl", b"")

    with pytest.raises(WeightsError, match=r"other\.zip"):
        read_checkpoint(path)


def registered(name: str) -> dict[str, Tensor]:
    """The tensors by which a registered network is known."""
    return {
        key: torch.from_numpy(np.zeros(shape, np.float32))
        for key, shape in REGISTRY[name].shapes.items()
    }


def test_weights_by_name(tmp_path: Path) -> None:
    """A checkpoint of the named network is read; config and command take its path."""
    path = tmp_path / "dino_vitbase8_pretrain.pth"
    torch.save(registered("dino-vitb8"), path)

    assert load_weights("dino-vitb8", path).keys() == REGISTRY["dino-vitb8"].shapes.keys()
    assert resolve("dino-vitb8", cache=tmp_path / "cache", path=path) == path


def test_weights_of_another_network(tmp_path: Path) -> None:
    """A checkpoint of another network is refused with tensor and both shapes."""
    path = tmp_path / "ViT-L-14.pt"
    torch.save(prefixed(registered("clip-vit-l-14"), "visual."), path)
    match = r"ViT-L-14\.pt is not of clip-vit-l-14-336 .*\(257, 1024\), must be \(577, 1024\)"

    for use in (load_weights, lambda name, file: resolve(name, cache=tmp_path, path=file)):
        with pytest.raises(WeightsError, match=match):
            use("clip-vit-l-14-336", path)


def test_unknown_name() -> None:
    """A name outside the registry is refused before a file is opened."""
    with pytest.raises(WeightsError, match="no weights 'resnet'"):
        load_weights("resnet", Path("gone.pt"))
