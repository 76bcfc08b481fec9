"""The table of weights, held to the libraries that build the networks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import torch
from open_clip.pretrained import get_pretrained_cfg
from safetensors.numpy import save_file

from musc.architectures import find_architecture
from pipeline.weights import describe, resolve
from pipeline.weights_registry import REGISTRY, WeightsEntry, WeightsError, find_entry

BACKBONES = {
    "clip-vit-b-32",
    "clip-vit-b-16",
    "clip-vit-b-16-plus-240",
    "clip-vit-l-14",
    "clip-vit-l-14-336",
    "dino-vitb16",
    "dino-vitb8",
    "dinov2-vits14",
    "dinov2-vitb14",
    "dinov2-vitl14",
}
OPEN_CLIP = {
    "clip-vit-b-32": ("ViT-B-32", "openai"),
    "clip-vit-b-16": ("ViT-B-16", "openai"),
    "clip-vit-b-16-plus-240": ("ViT-B-16-plus-240", "laion400m_e32"),
    "clip-vit-l-14": ("ViT-L-14", "openai"),
    "clip-vit-l-14-336": ("ViT-L-14-336", "openai"),
    "clip-vit-b-32-laion": ("ViT-B-32", "laion2b_s34b_b79k"),
    "clip-vit-b-16-laion": ("ViT-B-16", "laion2b_s34b_b88k"),
    "clip-vit-l-14-laion": ("ViT-L-14", "laion2b_s32b_b82k"),
}
"""Name and tag in open_clip."""
TIMM = sorted(set(REGISTRY) - set(OPEN_CLIP))


def held_to(
    entry: WeightsEntry, network: torch.nn.Module
) -> tuple[dict[str, tuple[int, ...]], int]:
    """The shapes that a network has where the entry names some, and its size in MB."""
    state = network.state_dict()
    shapes = {name: tuple(state[entry.prefix + name].shape) for name in entry.shapes}
    return shapes, round(sum(tensor.numel() for tensor in state.values()) * 4 / 1e6)


def stand_in(entry: WeightsEntry, path: Path, prefix: str) -> Path:
    """A file with the entry's tensors, all zero, and a text tower's where there is a prefix."""
    tensors = {prefix + name: np.zeros(shape, np.float32) for name, shape in entry.shapes.items()}
    if prefix:
        tensors["positional_embedding"] = np.zeros((77, 512), np.float32)
    save_file(tensors, path)
    return path


def test_every_backbone_has_weights() -> None:
    """The backbones of the paper and the default one have an entry of their own name."""
    own = {entry.name for entry in REGISTRY.values() if entry.name == entry.architecture}

    assert own == BACKBONES
    assert {entry.architecture for entry in REGISTRY.values()} == BACKBONES
    assert all(name == entry.name for name, entry in REGISTRY.items())


@pytest.mark.parametrize("name", REGISTRY)
def test_entries_name_known_networks(name: str) -> None:
    """Each entry's network can be built, and the first weights of one are what it expects."""
    entry = find_entry(name)
    architecture = find_architecture(entry.architecture)

    if entry.name == entry.architecture:
        activation = "quick_gelu" if entry.quick_gelu else "gelu"
        assert (entry.mean, entry.std) == (architecture.mean, architecture.std)
        assert activation == architecture.trained_activation


@pytest.mark.parametrize("name", OPEN_CLIP)
def test_clip_entries_are_those_of_open_clip(name: str) -> None:
    """Repository, normalisation, activation, shapes and size agree with open_clip."""
    entry = find_entry(name)
    config = get_pretrained_cfg(*OPEN_CLIP[name])
    with torch.device("meta"):
        network = open_clip.CLIP(**open_clip.get_model_config(OPEN_CLIP[name][0]))

    assert config["hf_hub"] == entry.hub_repo + "/"
    assert (config["mean"], config["std"]) == (entry.mean, entry.std)
    assert config.get("quick_gelu", False) == entry.quick_gelu
    assert entry.hub_file == open_clip.constants.HF_SAFE_WEIGHTS_NAME
    assert held_to(entry, network) == (dict(entry.shapes), entry.download_mb)
    assert entry.licence == "MIT"


@pytest.mark.parametrize("name", TIMM)
def test_dino_entries_are_those_of_timm(name: str) -> None:
    """Repository, normalisation, shapes and size agree with timm."""
    entry = find_entry(name)
    config = timm.get_pretrained_cfg(entry.hub_repo.removeprefix("timm/"))
    with torch.device("meta"):
        network = timm.create_model(entry.timm_name, pretrained=False, num_classes=0)

    assert config is not None
    assert config.hf_hub_id == entry.hub_repo
    assert (config.mean, config.std) == (entry.mean, entry.std)
    assert held_to(entry, network) == (dict(entry.shapes), entry.download_mb)
    assert entry.licence.lower() == config.license == "apache-2.0"


@pytest.mark.parametrize("name", REGISTRY)
def test_no_entry_takes_another_network(name: str, tmp_path: Path) -> None:
    """Stand-in files tell every two networks apart; weights of one network share them."""
    entry = find_entry(name)
    file = stand_in(entry, tmp_path / "given.safetensors", entry.prefix)

    taken = set()
    for other in REGISTRY.values():
        try:
            resolve(other.name, cache=tmp_path, path=file)
        except WeightsError as error:
            assert str(file) in str(error)  # noqa: PT017 - each refusal, and the others go on
        else:
            taken.add(other.architecture)

    assert taken == {entry.architecture}


def test_image_tower_alone_is_taken(tmp_path: Path) -> None:
    """A CLIP file without text tower and prefix is as good as the whole model."""
    entry = find_entry("clip-vit-b-32")
    file = stand_in(entry, tmp_path / "tower.safetensors", "")

    assert resolve(entry.name, cache=tmp_path, path=file) == file


def test_listing_has_every_name(tmp_path: Path) -> None:
    """Weights that are not here are listed with origin, licence and what they would cost."""
    rows = {row.name: row for row in describe(tmp_path)}

    row = rows["clip-vit-l-14-336"]
    assert set(rows) == set(REGISTRY)
    assert all(row.state == "absent" for row in rows.values())
    assert (row.licence, row.size_mb, row.sha256) == ("MIT", 1712.0, "")
    assert row.source.endswith("timm/vit_large_patch14_clip_336.openai open_clip_model.safetensors")


def test_listing_needs_no_torch() -> None:
    """The table and the listing start without the method's heavy libraries."""
    code = "import json, sys, pipeline.weights; print(json.dumps(sorted(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    assert {"torch", "timm", "open_clip", "onnx"}.isdisjoint(json.loads(done.stdout))
