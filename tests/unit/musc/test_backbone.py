"""Backbones through timm, on a tiny network with random weights."""

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.nn import functional

from musc.backbone import DEFAULT_NAME, Backbone, BackboneError, TimmBackbone, load_timm

TINY = "test_vit"  # 6 blocks, 64 channels, patches of 16 px, trained at 160 px


def network(name: str = TINY, image_size: int = 64) -> VisionTransformer:
    """A network with random weights, the norm's included."""
    net = timm.create_model(name, num_classes=0, img_size=image_size).eval()
    assert isinstance(net, VisionTransformer)
    source = torch.Generator().manual_seed(0)
    for value in net.parameters():
        value.data = torch.randn(value.shape, generator=source) * 0.1
    return net


def pixels(n: int, size: int) -> Tensor:
    """A normalised batch."""
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_tokens_are_the_normalised_outputs_of_the_blocks() -> None:
    """Every stage is its block's output after the final norm, without the class token."""
    net = network()
    backbone = TimmBackbone(TINY, net.state_dict(), image_size=64, stages=(1, 4))
    seen: dict[int, Tensor] = {}
    for i in (1, 4, 5):
        net.blocks[i].register_forward_hook(lambda _m, _i, out, i=i: seen.update({i: out}))

    features = backbone.extract(pixels(2, 64))

    with torch.no_grad():
        net(pixels(2, 64))
        expected = torch.stack([net.norm(seen[i])[:, 1:] for i in (1, 4)], dim=1)
        class_token = functional.normalize(net.norm(seen[5])[:, 0], dim=-1)
    assert features.tokens.shape == (2, 2, 16, 64)
    torch.testing.assert_close(features.tokens, expected)
    torch.testing.assert_close(features.image_features, class_token)


def test_what_a_backbone_says_is_what_it_gives() -> None:
    """Size, patches, channels and stages describe the features; the default is the quarters."""
    backbone: Backbone = TimmBackbone(TINY, network().state_dict(), image_size=64)

    features = backbone.extract(pixels(3, 64))

    assert backbone.stages == (0, 2, 3, 5)
    assert features.tokens.shape == (3, 4, backbone.patches, backbone.channels)
    assert features.tokens.dtype == features.image_features.dtype == torch.float32
    torch.testing.assert_close(features.image_features.norm(dim=-1), torch.ones(3))
    assert len(backbone.mean) == len(backbone.std) == 3
    assert backbone.device == torch.device("cpu")


def test_frames_do_not_see_each_other() -> None:
    """A frame's features are the same alone and in a batch."""
    backbone = TimmBackbone(TINY, network().state_dict(), image_size=64)
    batch = pixels(3, 64)

    together, alone = backbone.extract(batch), backbone.extract(batch[1:2])

    torch.testing.assert_close(together.tokens[1:2], alone.tokens, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("antialias", [True, False])
def test_position_embeddings_are_resized_once(antialias: bool) -> None:  # noqa: FBT001 - a table of cases
    """Weights for 160 px serve 64 px: the grid is resampled, the class token's entry kept."""
    state = network(image_size=160).state_dict()
    before = state["pos_embed"].clone()

    backbone = TimmBackbone(TINY, state, image_size=64, antialias=antialias)

    grid = before[:, 1:].reshape(1, 10, 10, 64).permute(0, 3, 1, 2)
    small = functional.interpolate(
        grid, size=(4, 4), mode="bicubic", align_corners=False, antialias=antialias
    )
    expected = torch.cat([before[:, :1], small.permute(0, 2, 3, 1).reshape(1, 16, 64)], dim=1)
    assert backbone._net.pos_embed is not None
    torch.testing.assert_close(backbone._net.pos_embed, expected)
    assert torch.equal(state["pos_embed"], before)


def test_register_tokens_are_dropped() -> None:
    """A network with registers gives its patches only, its positions resized without them."""
    name = "vit_small_patch14_reg4_dinov2"
    state = network(name, image_size=42).state_dict()

    backbone = TimmBackbone(name, state, image_size=28)

    assert backbone.extract(pixels(1, 28)).tokens.shape == (1, 4, 4, 384)


def test_the_embedded_default() -> None:
    """DINOv2 ViT-S/14 at 224 px has 16 x 16 patches, 384 channels and stages 2, 5, 8, 11."""
    state = network(DEFAULT_NAME, image_size=518).state_dict()
    state["mask_token"] = torch.zeros(1, 384)

    backbone = TimmBackbone(DEFAULT_NAME, state, image_size=224)

    assert (backbone.patches, backbone.channels) == (256, 384)
    assert backbone.stages == (2, 5, 8, 11)
    assert backbone.mean == (0.485, 0.456, 0.406)
    assert backbone.std == (0.229, 0.224, 0.225)


def test_features_need_no_gradient() -> None:
    """Nothing is learned: features carry no history."""
    backbone = TimmBackbone(TINY, network().state_dict(), image_size=64)

    features = backbone.extract(pixels(1, 64).requires_grad_())

    assert not features.tokens.requires_grad
    assert not any(value.requires_grad for value in backbone._net.parameters())


def test_weights_are_read_from_a_file(tmp_path: Path) -> None:
    """A safetensors file gives the backbone of the same weights."""
    state = network().state_dict()
    save_file(state, tmp_path / "tiny.safetensors")

    backbone = load_timm(TINY, tmp_path / "tiny.safetensors", image_size=64, stages=[5])

    direct = TimmBackbone(TINY, state, image_size=64, stages=[5])
    batch = pixels(1, 64)
    assert torch.equal(backbone.extract(batch).tokens, direct.extract(batch).tokens)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A file that is missing, rubbish, or of another model is refused with its path."""
    rubbish, other = tmp_path / "rubbish.safetensors", tmp_path / "other.safetensors"
    rubbish.write_bytes(b"not tensors")
    save_file({"weight": torch.zeros(2)}, other)

    for path in (tmp_path / "missing.safetensors", rubbish, other):
        with pytest.raises(BackboneError, match=path.name):
            load_timm(TINY, path, image_size=64)


def test_missing_and_unknown_weights_are_named() -> None:
    """Weights of another model are refused with their number and the first names."""
    state = network().state_dict()
    more = {**state, "head.weight": torch.zeros(1), "head.bias": torch.zeros(1)}
    fewer = {key: value for key, value in state.items() if not key.startswith("blocks.5.")}
    other = {**state, "norm.weight": torch.zeros(3)}

    with pytest.raises(BackboneError, match=r"does not know 2 weights, first head.bias, head.weig"):
        TimmBackbone(TINY, more, image_size=64)
    with pytest.raises(BackboneError, match=r"misses \d+ weights, first blocks\.5\."):
        TimmBackbone(TINY, fewer, image_size=64)
    with pytest.raises(BackboneError, match=r"other shapes for 1 weights, first norm.weight"):
        TimmBackbone(TINY, other, image_size=64)


@pytest.mark.parametrize("shape", [(1, 16, 64), (1, 1, 64), (17, 64)])
def test_positions_without_a_square_grid_are_refused(shape: tuple[int, ...]) -> None:
    """Position embeddings that are no class token and square grid are refused by shape."""
    state = {**network().state_dict(), "pos_embed": torch.zeros(shape)}

    with pytest.raises(BackboneError, match="pos_embed has the shape"):
        TimmBackbone(TINY, state, image_size=64)


@pytest.mark.parametrize("image_size", [70, 8, 0, -16])
def test_an_image_size_that_cuts_a_patch_is_refused(image_size: int) -> None:
    """The image size is a positive multiple of the patch."""
    with pytest.raises(ValueError, match=f"image_size is {image_size} px"):
        TimmBackbone(TINY, {}, image_size=image_size)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_model", "'no_such_model' is not in the registry"),
        ("hf-hub:timm/test_vit.r160_in1k", "is not in the registry"),
        ("test_resnet", "test_resnet"),
        ("test_vit2", "not a vision transformer with a class token"),
    ],
)
def test_models_that_do_not_fit_are_refused(name: str, message: str) -> None:
    """Only registered vision transformers with a class token are built, none is fetched."""
    with pytest.raises(BackboneError, match=message):
        TimmBackbone(name, {}, image_size=64)


@pytest.mark.parametrize("stages", [(), (5, 2), (2, 2), (-1,), (6,)])
def test_stages_that_are_not_there_are_refused(stages: tuple[int, ...]) -> None:
    """Stages are ascending numbers of blocks that exist."""
    with pytest.raises(BackboneError, match="ascending blocks of 0 to 5"):
        TimmBackbone(TINY, network().state_dict(), image_size=64, stages=stages)


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (3, 64, 64), (1, 1, 64, 64)])
def test_a_batch_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    """A batch that was not made for this image size is refused by its shape."""
    backbone = TimmBackbone(TINY, network().state_dict(), image_size=64)

    with pytest.raises(ValueError, match="batch has the shape"):
        backbone.extract(torch.zeros(shape))
