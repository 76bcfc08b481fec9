"""A backbone by name: its weights found, read, checked and built for a device."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from edge.errors import LineError
from musc.architectures import build, find_architecture
from musc.vision_transformer import BackboneError, Execution, FrozenTransformer, Precision
from pipeline.checkpoints import load_weights
from pipeline.weights import resolve, weights_cache
from pipeline.weights_registry import WeightsEntry, find_entry
from pipeline.wheels import sha256_of

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)


class BackboneChoiceError(LineError):
    """The backbone cannot be built as asked; the message names what does not fit."""


@dataclass(frozen=True, slots=True)
class BackboneChoice:
    """Which backbone, and how it sees."""

    name: str
    image_size_px: int | None = None
    """Side of the input; what the weights' entry names if None."""
    weights: Path | None = None
    offline: bool = False
    stages: tuple[int, ...] = ()
    """Blocks to take; the ends of the quarters if empty."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Precision = "auto"
    execution: Execution = "auto"
    """How the network is run; "compiled" stays "plain" where there is no compiler."""


def load_backbone(choice: BackboneChoice) -> tuple[FrozenTransformer[Any], str]:
    """Return a backbone that is ready, and its digest.

    The digest is eight hex digits over the weights and everything that shapes
    the tokens; scores of different digests must not be compared.

    Raises:
        WeightsError: The weights are missing, damaged or of another network.
        BackboneChoiceError: No such device, or a size or stage that does not fit.
    """
    entry = find_entry(choice.name)
    device = choose_device(choice.device)
    path = resolve(choice.name, cache=weights_cache(), path=choice.weights, offline=choice.offline)
    size = choice.image_size_px or entry.image_size_px
    try:
        backbone = build(
            entry.architecture,
            load_weights(choice.name, path),
            image_size=size,
            stages=choice.stages or None,
            # Without antialias, as the authors do, and as DINOv2 and its exports do themselves;
            # timm's default moves the tokens of ViT-S/14 at 224 px by up to 0.66.
            antialias=False,
            activation=_activation(entry, size),
            mean=entry.mean,
            std=entry.std,
            device=device,
            precision=choice.precision,
            execution=choice.execution,
        )
    except (BackboneError, ValueError) as error:
        msg = f"backbone {choice.name}: {error}"
        raise BackboneChoiceError(msg) from error
    decisive: tuple[object, ...] = (
        sha256_of(path),
        choice.name,
        size,
        backbone.stages,
        choice.precision,
        device,
    )
    if backbone.execution == "compiled":  # packed and plain are equal to 1e-6 in a score
        decisive = (*decisive, backbone.execution)
    digest = hashlib.sha256(repr(decisive).encode()).hexdigest()[:8]
    log.info("model %s: %s at %d px on %s", digest, choice.name, size, device)
    return backbone, digest


def _activation(entry: WeightsEntry, size: int) -> Literal["gelu", "quick_gelu"] | None:
    """Return the authors' choice for OpenAI's weights, exact GELU for all others."""
    if not entry.quick_gelu:
        return "gelu"
    return find_architecture(entry.architecture).parity_activation(size)


def choose_device(wanted: Literal["auto", "cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    """Return where to compute.

    Raises:
        BackboneChoiceError: CUDA is asked for, and there is none.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        msg = 'device "cuda": torch finds no CUDA device; use "cpu" or "auto"'
        raise BackboneChoiceError(msg)
    return "cuda" if available and wanted != "cpu" else "cpu"
