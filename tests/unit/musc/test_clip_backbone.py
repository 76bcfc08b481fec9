"""CLIP's image tower, on a tiny configuration of open_clip with random weights."""

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from musc.clip_backbone import Activation, ClipBackbone
from musc.vision_transformer import Backbone, BackboneError

TINY = "tiny-patch-14"
VISION = {"image_size": 224, "layers": 8, "width": 64, "head_width": 32, "patch_size": 14}


@pytest.fixture(scope="module", autouse=True)
def _tiny_configuration(tmp_path_factory: pytest.TempPathFactory) -> None:
    """open_clip knows a model of 8 blocks and 64 channels with L-14's grid."""
    path: Path = tmp_path_factory.mktemp("open_clip") / f"{TINY}.json"
    text = {"context_length": 4, "vocab_size": 8, "width": 32, "heads": 1, "layers": 1}
    path.write_text(json.dumps({"embed_dim": 48, "vision_cfg": VISION, "text_cfg": text}))
    open_clip.add_model_config(path)


def tower(image_size: int, act_layer: type[nn.Module] = nn.GELU) -> Any:
    """The tower as open_clip builds it, with large random weights."""
    net = VisionTransformer(
        image_size, 14, 64, 8, 2, 4.0, output_dim=48, act_layer=act_layer
    ).eval()
    source = torch.Generator().manual_seed(0)
    for value in net.parameters():
        value.data = torch.randn(value.shape, generator=source) * 0.2
    return net


def pixels(n: int, size: int) -> Tensor:
    """A normalised batch."""
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def resampled(state: dict[str, Tensor], *, antialias: bool) -> dict[str, Tensor]:
    """A state for 16 x 16 patches, brought to 24 x 24 with torch's own bicubic."""
    first, grid = state["positional_embedding"][:1], state["positional_embedding"][1:]
    large = functional.interpolate(
        grid.T.reshape(1, 64, 16, 16), (24, 24), mode="bicubic", antialias=antialias
    )
    return {**state, "positional_embedding": torch.cat([first, large.reshape(64, 576).T])}


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("activation", "layer"), [("gelu", nn.GELU), ("quick_gelu", QuickGELU)])
def test_saved_at_224_and_loaded_at_336(
    activation: Activation,
    layer: type[nn.Module],
    antialias: bool,  # noqa: FBT001 - a table of cases
) -> None:
    """Tokens are the raw outputs of the chosen blocks of a tower resized by torch."""
    saved = tower(224).state_dict()
    net = tower(336, layer)
    net.load_state_dict(resampled(saved, antialias=antialias))
    seen: dict[int, Tensor] = {}
    for i in (1, 6):
        net.transformer.resblocks[i].register_forward_hook(
            lambda _m, _i, out, i=i: seen.update({i: out})
        )

    backbone = ClipBackbone(
        TINY, saved, image_size=336, stages=(1, 6), antialias=antialias, activation=activation
    )
    features = backbone.extract(pixels(2, 336))

    with torch.no_grad():
        projected = net(pixels(2, 336))
    ours, theirs = backbone._net.positional_embedding, net.positional_embedding
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0.0)
    expected = torch.stack([seen[1][:, 1:], seen[6][:, 1:]], dim=1)
    torch.testing.assert_close(features.tokens, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(features.image_features, functional.normalize(projected, dim=-1))


@pytest.mark.parametrize(("activation", "layer"), [("gelu", nn.GELU), ("quick_gelu", QuickGELU)])
def test_every_block_has_the_activation_asked_for(
    activation: Activation, layer: type[nn.Module]
) -> None:
    """The switch decides on the class in all blocks."""
    backbone = ClipBackbone(
        TINY, tower(224).state_dict(), image_size=28, activation=activation, execution="plain"
    )

    classes = {type(block.mlp.gelu) for block in backbone._net.transformer.resblocks}

    assert classes == {layer}


def test_what_a_backbone_says_is_what_it_gives() -> None:
    """Size, patches, channels and stages describe the features; CLIP's mean and deviation."""
    backbone: Backbone = ClipBackbone(TINY, tower(224).state_dict(), image_size=70)

    features = backbone.extract(pixels(3, 70))

    assert backbone.stages == (1, 3, 5, 7)
    assert (backbone.patches, backbone.channels, backbone.image_size) == (25, 64, 70)
    assert features.tokens.shape == (3, 4, 25, 64)
    assert features.image_features.shape == (3, 48)
    torch.testing.assert_close(features.image_features.norm(dim=-1), torch.ones(3))
    assert backbone.mean == (0.48145466, 0.4578275, 0.40821073)
    assert backbone.std == (0.26862954, 0.26130258, 0.27577711)


def test_a_whole_model_serves_as_its_tower() -> None:
    """Of a checkpoint with a text tower, the image tower below "visual." is read."""
    own = tower(224).state_dict()
    whole = {f"visual.{key}": value for key, value in own.items()}
    whole |= {"logit_scale": torch.zeros(()), "transformer.resblocks.0.ln_1.bias": torch.ones(3)}

    features = ClipBackbone(TINY, whole, image_size=42).extract(pixels(1, 42))

    expected = ClipBackbone(TINY, own, image_size=42).extract(pixels(1, 42))
    assert torch.equal(features.tokens, expected.tokens)


def test_half_precision_keeps_the_residual_stream_wide() -> None:
    """Below float32 the blocks still add up in float32, from the first to the last."""
    backbone = ClipBackbone(TINY, tower(224).state_dict(), image_size=28, precision="bfloat16")
    seen: list[torch.dtype] = []
    for block in backbone._net.transformer.resblocks:
        block.register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))

    features = backbone.extract(pixels(1, 28))

    assert seen == [torch.float32] * 8
    assert features.tokens.dtype == features.image_features.dtype == torch.float32


def test_a_checkpoint_in_halves_is_widened() -> None:
    """OpenAI's files hold float16: the network computes with them in float32."""
    halves = {key: value.half() for key, value in tower(224).state_dict().items()}

    backbone = ClipBackbone(TINY, halves, image_size=28)

    assert {value.dtype for value in backbone._net.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-Z-99", "not among the configurations"),
        ("hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "not among the configurations"),
        ("RN50", "layers of a residual network"),
        ("ViT-B-16-SigLIP", "timm_model_name"),
    ],
)
def test_models_that_do_not_fit_are_refused(name: str, message: str) -> None:
    """Only listed plain vision transformers are built, none is fetched."""
    with pytest.raises(BackboneError, match=message):
        ClipBackbone(name, {}, image_size=224)


def test_misuse_is_refused_with_its_limit() -> None:
    """Image size, activation, stages and weights are refused by what was wanted."""
    state = tower(224).state_dict()
    cut = {key: value for key, value in state.items() if key != "proj"}

    with pytest.raises(ValueError, match="image_size is 30 px, wanted a multiple of the patch of"):
        ClipBackbone(TINY, state, image_size=30)
    with pytest.raises(ValueError, match="activation is 'relu', wanted gelu or quick_gelu"):
        ClipBackbone(TINY, state, image_size=28, activation="relu")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(BackboneError, match="wanted ascending blocks of 0 to 7"):
        ClipBackbone(TINY, state, image_size=28, stages=(8,))
    with pytest.raises(BackboneError, match="misses 1 weights, first proj"):
        ClipBackbone(TINY, cut, image_size=28)
