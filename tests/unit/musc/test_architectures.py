"""The table of backbones, held to the libraries; on the meta device, which has no memory."""

import open_clip
import pytest
import timm
import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional

from musc.architectures import ARCHITECTURES, Architecture, build, find_architecture
from musc.backbone import TimmBackbone
from musc.clip_backbone import ClipBackbone

NAMES = [
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
]


def state_of(found: Architecture) -> dict[str, Tensor]:
    """The shapes of the published weights, as the library itself defines them."""
    with torch.device("meta"):
        if found.library == "timm":
            net = timm.create_model(found.model, num_classes=0)
            return dict(net.state_dict())
        config = open_clip.get_model_config(found.model)
        vision = dict(config["vision_cfg"])
        heads = vision["width"] // 64
        tower = VisionTransformer(
            **vision, heads=heads, mlp_ratio=4.0, output_dim=config["embed_dim"]
        )
        return dict(tower.state_dict())


def test_the_table_has_the_backbones_of_the_papers() -> None:
    """Every transformer of table 8 with a class token is there, and the embedded default."""
    assert list(ARCHITECTURES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_builds_at_another_size(name: str) -> None:
    """Weights of the native size serve 6 x 6 patches, and the table says what comes out."""
    found = find_architecture(name)
    side = 6 * found.patch_px
    state = state_of(found)

    with torch.device("meta"):
        backbone = build(name, state, image_size=side, device="meta")
        features = backbone.extract(torch.zeros(2, 3, side, side))

    parameters = sum(value.numel() for value in state.values()) / 1e6
    assert parameters == pytest.approx(found.parameters_millions, abs=0.06)
    assert (backbone.mean, backbone.std) == (found.mean, found.std)
    assert backbone.stages == found.stages
    assert features.tokens.shape == (2, len(found.stages), 36, backbone.channels)
    assert features.image_features.shape[0] == 2


@pytest.mark.parametrize("name", NAMES)
def test_the_native_size_is_the_librarys(name: str) -> None:
    """Unless told otherwise a backbone sees the size its weights were made for."""
    found = find_architecture(name)

    with torch.device("meta"):
        backbone = build(name, state_of(found), device="meta")

    if found.library == "timm":
        config = timm.get_pretrained_cfg(found.model)
        assert config is not None
        assert config.input_size == (3, found.image_size_px, found.image_size_px)
    else:
        vision = open_clip.get_model_config(found.model)["vision_cfg"]
        assert vision["image_size"] == found.image_size_px
    assert backbone.image_size == found.image_size_px
    assert backbone.patches == (found.image_size_px // found.patch_px) ** 2


@pytest.mark.parametrize(
    ("name", "image_size", "activation"),
    [
        ("clip-vit-l-14-336", 518, "gelu"),
        ("clip-vit-l-14-336", 336, "quick_gelu"),
        ("clip-vit-l-14", 224, "quick_gelu"),
        ("clip-vit-l-14", 336, "gelu"),
        ("clip-vit-b-16-plus-240", 240, "gelu"),
        ("dinov2-vitl14", 518, "gelu"),
    ],
)
def test_the_default_activation_is_that_of_the_papers_results(
    name: str, image_size: int, activation: str
) -> None:
    """OpenAI's weights run with QuickGELU at the native size and with GELU elsewhere."""
    assert find_architecture(name).parity_activation(image_size) == activation


def test_an_activation_asked_for_is_taken() -> None:
    """The caller's activation goes before the table's."""
    found = find_architecture("clip-vit-b-32")

    with torch.device("meta"):
        backbone = build(
            found.name, state_of(found), image_size=64, activation="quick_gelu", device="meta"
        )

    assert isinstance(backbone, ClipBackbone)
    assert type(backbone._net.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU"


@pytest.fixture(scope="module")
def dinov2_at_224() -> dict[str, Tensor]:
    """A DINOv2 ViT-S/14 with random weights, made for 16 x 16 patches."""
    torch.manual_seed(0)
    net = timm.create_model("vit_small_patch14_dinov2", num_classes=0, img_size=224)
    return {key: torch.randn_like(value) * 0.05 for key, value in net.state_dict().items()}


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("image_size", [224, 518])
def test_positions_of_dinov2(
    dinov2_at_224: dict[str, Tensor],
    image_size: int,
    antialias: bool,  # noqa: FBT001 - a table of cases
) -> None:
    """Saved at 224 and loaded at 518, positions are torch's bicubic; at 224 they are kept."""
    side = image_size // 14
    saved = dinov2_at_224["pos_embed"]

    backbone = build("dinov2-vits14", dinov2_at_224, image_size=image_size, antialias=antialias)

    grid = saved[0, 1:].T.reshape(1, 384, 16, 16)
    large = functional.interpolate(grid, (side, side), mode="bicubic", antialias=antialias)
    expected = torch.cat([saved[0, :1], large.reshape(384, -1).T])
    assert isinstance(backbone, TimmBackbone)
    assert backbone._net.pos_embed is not None
    torch.testing.assert_close(backbone._net.pos_embed[0], expected, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("image_size", [224, 518])
def test_tokens_of_dinov2(dinov2_at_224: dict[str, Tensor], image_size: int) -> None:
    """At both sizes tokens are the chosen blocks' outputs after the final norm, of unit feature."""
    backbone = build("dinov2-vits14", dinov2_at_224, image_size=image_size, stages=(0, 11))
    assert isinstance(backbone, TimmBackbone)
    net, seen = backbone._net, list[Tensor]()
    for i in (0, 11):
        net.blocks[i].register_forward_hook(lambda _m, _i, out: seen.append(out))

    features = backbone.extract(torch.rand(1, 3, image_size, image_size))

    with torch.inference_mode():
        normed = [net.norm(out) for out in seen]
    expected = torch.stack([out[:, 1:] for out in normed], dim=1)
    torch.testing.assert_close(features.tokens, expected)
    torch.testing.assert_close(
        features.image_features, functional.normalize(normed[1][:, 0], dim=-1)
    )
    torch.testing.assert_close(features.image_features.norm(dim=-1), torch.ones(1))


def test_names_and_activations_that_are_not_there_are_refused() -> None:
    """A wrong name is refused with the right ones, and DINO knows no QuickGELU."""
    with pytest.raises(ValueError, match="no backbone 'resnet50'; there are: clip-vit-b-32, "):
        build("resnet50", {})
    with pytest.raises(ValueError, match="'dino-vitb8' knows gelu only"):
        build("dino-vitb8", {}, activation="quick_gelu")
