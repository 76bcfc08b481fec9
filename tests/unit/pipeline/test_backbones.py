"""Which way a backbone is run, from the config to its digest."""

from __future__ import annotations

from pathlib import Path

import pytest

from musc import vision_transformer
from pipeline import build
from pipeline.backbones import BackboneChoice, BackboneChoiceError, load_backbone
from pipeline.config import Config

SMALLEST = 28


@pytest.mark.parametrize(("compiled", "execution"), [(False, "auto"), (True, "compiled")])
def test_the_config_decides_whether_a_backbone_is_compiled(
    compiled: bool,  # noqa: FBT001 - a table of cases
    execution: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``musc.compile`` asks for the compiled backbone, its absence for the fastest other."""
    asked: list[BackboneChoice] = []

    def load(choice: BackboneChoice) -> None:
        asked.append(choice)
        msg = "enough"
        raise BackboneChoiceError(msg)

    monkeypatch.setattr(build, "load_backbone", load)
    config = Config.model_validate(
        {
            "camera": [{"id": "c1", "kind": "folder", "path": "images", "interval_ms": 500}],
            "musc": {"compile": compiled},
        }
    )

    with pytest.raises(BackboneChoiceError):
        build.build_inspector(config)

    assert [choice.execution for choice in asked] == [execution]


@pytest.mark.weights
def test_only_compiled_code_changes_the_digest(
    weights_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packed and plain share a digest; compiled has its own, but not where it falls back."""

    def digest(execution: vision_transformer.Execution) -> str:
        choice = BackboneChoice(
            "dinov2-vits14", SMALLEST, weights=weights_file, device="cpu", execution=execution
        )
        return load_backbone(choice)[1]

    monkeypatch.setattr(vision_transformer, "compiled_forward", lambda plain, *_: plain)
    packed, plain, compiled = (digest(one) for one in ("auto", "plain", "compiled"))
    monkeypatch.setattr(vision_transformer, "compiled_forward", lambda *_: None)
    fallen_back = digest("compiled")

    assert packed == plain == fallen_back
    assert compiled != packed
