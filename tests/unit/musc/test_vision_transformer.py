"""What all vision transformers share: precision, and how they are run."""

import logging

import pytest
import timm
import torch

from musc.backbone import TimmBackbone
from musc.vision_transformer import Execution, Precision, resolved_precision


def tiny(precision: Precision, execution: Execution = "auto") -> TimmBackbone:
    """A network with random weights."""
    torch.manual_seed(0)
    state = timm.create_model("test_vit", num_classes=0, img_size=64).state_dict()
    return TimmBackbone("test_vit", state, image_size=64, precision=precision, execution=execution)


@pytest.mark.parametrize(
    ("precision", "device", "resolved"),
    [
        ("auto", "cpu", "float32"),
        ("auto", "cuda", "float16"),
        ("auto", "mps", "float32"),
        ("float32", "cuda", "float32"),
        ("bfloat16", "cuda", "bfloat16"),
        ("float16", "cpu", "float16"),
    ],
)
def test_precision_is_chosen_by_device(precision: Precision, device: str, resolved: str) -> None:
    """Halves are the default on CUDA only; what is asked for is taken everywhere."""
    name, reason = resolved_precision(precision, torch.device(device))

    assert name == resolved
    assert ("asked for" in reason) == (precision != "auto")


def test_an_unknown_precision_is_refused() -> None:
    """A precision that is not there is refused with those that are."""
    with pytest.raises(ValueError, match="precision is 'int8', wanted auto, float32, float16, bfl"):
        resolved_precision("int8", torch.device("cpu"))  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize(("precision", "bits"), [("bfloat16", 8), ("float16", 11)])
def test_reduced_precision_gives_float32_features(precision: Precision, bits: int) -> None:
    """Halves move features by a few of their last places, and features are float32."""
    batch = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    exact = tiny("float32").extract(batch)

    features = tiny(precision).extract(batch)

    assert features.tokens.dtype == features.image_features.dtype == torch.float32
    torch.testing.assert_close(features.image_features.norm(dim=-1), torch.ones(2))
    away = (features.tokens - exact.tokens).norm() / exact.tokens.norm()
    assert 0.0 < float(away) < 8 * 2.0**-bits


def test_the_precision_and_its_reason_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Building says once in which type the network computes, and why; extracting says nothing."""
    caplog.set_level(logging.INFO, logger="musc")

    backbone = tiny("auto")
    for _ in range(2):
        backbone.extract(torch.zeros(1, 3, 64, 64))

    assert [record.getMessage() for record in caplog.records] == [
        "backbone computes in float32 on cpu: the default on every device but CUDA"
    ]


def test_a_plain_module_is_the_backbone() -> None:
    """What exporters are given says what the backbone says."""
    backbone = tiny("float32", "plain")
    batch = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    with torch.inference_mode():
        tokens, image_features = backbone.module()(batch)

    expected = backbone.extract(batch)
    assert torch.equal(tokens, expected.tokens)
    assert torch.equal(image_features, expected.image_features)


@pytest.mark.parametrize(
    ("precision", "asked", "taken"),
    [
        ("float32", "auto", "packed"),
        ("bfloat16", "auto", "plain"),
        ("float32", "plain", "plain"),
    ],
)
def test_weights_are_packed_in_float32_on_a_cpu(
    precision: Precision, asked: Execution, taken: str
) -> None:
    """Without a choice the blocks are packed where they compute in float32 on a CPU."""
    assert tiny(precision, asked).execution == taken


def test_a_network_that_does_not_compile_runs_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a compiler the backbone is the plain one, and the log says why."""
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", ("/nowhere/g++",))
    monkeypatch.setattr("torch._inductor.config.fx_graph_cache", False)

    backbone = tiny("float32", "compiled")

    assert backbone.execution == "plain"
    assert "not compiled" in caplog.text
