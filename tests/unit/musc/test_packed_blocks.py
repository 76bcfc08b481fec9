"""Packed blocks are held to the libraries' own."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import timm
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import Tensor, nn

from musc import packed_blocks
from musc.backbone import TimmBackbone
from musc.clip_backbone import Activation, ClipBackbone
from musc.packed_blocks import scaled

CLIP = "packed-patch-14"
VISION = {"image_size": 28, "layers": 3, "width": 128, "head_width": 32, "patch_size": 14}
WITH_SCALES = "vit_small_patch14_reg4_dinov2"  # 12 blocks with LayerScale, 384 channels


@pytest.fixture(scope="module", autouse=True)
def _configuration(tmp_path_factory: pytest.TempPathFactory) -> None:
    """open_clip knows a model of 3 blocks and 128 channels."""
    path: Path = tmp_path_factory.mktemp("open_clip") / f"{CLIP}.json"
    text = {"context_length": 4, "vocab_size": 8, "width": 32, "heads": 1, "layers": 1}
    path.write_text(json.dumps({"embed_dim": 48, "vision_cfg": VISION, "text_cfg": text}))
    open_clip.add_model_config(path)


def drawn(net: nn.Module) -> dict[str, Tensor]:
    """The network's weights, drawn so large that each of them matters."""
    source = torch.Generator().manual_seed(0)
    return {
        key: torch.randn(value.shape, generator=source) * 0.2
        for key, value in net.state_dict().items()
    }


def timm_backbone(name: str, image_size: int, execution: Any) -> TimmBackbone:
    """A backbone of timm with drawn weights."""
    state = drawn(timm.create_model(name, num_classes=0, img_size=image_size))
    return TimmBackbone(name, state, image_size=image_size, execution=execution)


def clip_backbone(activation: Activation, execution: Any) -> ClipBackbone:
    """A tower of open_clip with drawn weights."""
    layer = QuickGELU if activation == "quick_gelu" else nn.GELU
    state = drawn(VisionTransformer(28, 14, 128, 3, 4, 4.0, output_dim=48, act_layer=layer))
    return ClipBackbone(CLIP, state, image_size=28, activation=activation, execution=execution)


def batch(n: int, size: int) -> Tensor:
    """A normalised batch."""
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize(("name", "image_size"), [("test_vit", 64), (WITH_SCALES, 28)])
def test_packed_blocks_say_what_timms_say(name: str, image_size: int, frames: int) -> None:
    """With and without LayerScale, for one frame and for several, tokens are the library's."""
    plain = timm_backbone(name, image_size, "plain")
    packed = timm_backbone(name, image_size, "auto")

    features = packed.extract(batch(frames, image_size))

    expected = plain.extract(batch(frames, image_size))
    assert (plain.execution, packed.execution) == ("plain", "packed")
    torch.testing.assert_close(features.tokens, expected.tokens, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features.image_features, expected.image_features)


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_packed_blocks_say_what_open_clips_say(activation: Activation) -> None:
    """With either activation the tower's tokens are the library's."""
    plain, packed = clip_backbone(activation, "plain"), clip_backbone(activation, "auto")

    features = packed.extract(batch(2, 28))

    expected = plain.extract(batch(2, 28))
    assert (plain.execution, packed.execution) == ("plain", "packed")
    torch.testing.assert_close(features.tokens, expected.tokens, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features.image_features, expected.image_features)


def test_a_packed_network_keeps_no_second_copy_of_its_weights() -> None:
    """The library's blocks are gone: what they weighed is held once."""
    backbone = timm_backbone("test_vit", 64, "auto")

    left = [name for name, _ in backbone._net.named_parameters() if name.startswith("blocks")]

    assert left == []


@pytest.mark.parametrize("fault", ["missing", "wrong"])
def test_operators_that_cannot_be_trusted_are_not_used(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where an operator is missing or computes something else, the library's blocks stay."""

    def linear(*_arguments: object) -> Tensor:
        if fault == "missing":
            msg = "no such operator"
            raise AttributeError(msg)
        return torch.zeros(1, 17, 256)

    monkeypatch.setattr(packed_blocks, "_linear_onto", lambda _t, residual, _l: residual)
    if fault == "missing":
        monkeypatch.setattr(packed_blocks, "_linear_onto", linear)

    backbone = timm_backbone("test_vit", 64, "auto")

    assert backbone.execution == "plain"
    assert backbone.extract(batch(1, 64)).tokens.shape == (1, 4, 16, 64)
    assert "without packed weights" in caplog.text


def test_blocks_that_are_not_plain_stay() -> None:
    """A block with normalised queries is the library's own affair."""
    net = timm.create_model("test_vit", num_classes=0, img_size=64, qk_norm=True)
    backbone = timm_backbone("test_vit", 64, "plain")

    assert backbone._weights_of(net.blocks[0]) is None
    assert backbone._weights_of(nn.Identity()) is None


def test_a_scale_is_folded_into_the_layer_before_it() -> None:
    """Scaling a layer's outputs is scaling its weights and its bias."""
    layer, gamma = nn.Linear(4, 3), torch.tensor([1.0, -2.0, 0.5])
    tokens = torch.randn(5, 4, generator=torch.Generator().manual_seed(2))

    weight, bias = scaled((layer.weight, layer.bias), gamma)

    torch.testing.assert_close(nn.functional.linear(tokens, weight, bias), layer(tokens) * gamma)
