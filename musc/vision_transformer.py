"""Vision transformers: what the backbones share, whichever library defines them.

``Backbone`` is what the rest of the product knows of a network: frames in,
patch tokens of a few stages and one image feature out. ``FrozenTransformer`` is
the part of one that asks nothing of the library: shape, precision, inference, and
the way it is executed. The library's own forward pass ("plain") is the twin that
every faster way is held to, here at start and in the tests.

All blocks are computed whatever stages are taken: the image feature is the last's.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from musc.compiled import compiled_forward
from musc.packed_blocks import BlockWeights, pack_blocks
from musc.transformer_weights import BackboneError

__all__ = [
    "Backbone",
    "BackboneError",
    "Execution",
    "Features",
    "FrozenTransformer",
    "Precision",
    "resolved_precision",
]

log = logging.getLogger(__name__)

Precision = Literal["auto", "float32", "float16", "bfloat16"]
"""Type of the network's products; features are float32 whatever it is."""

Execution = Literal["auto", "plain", "compiled"]
"""How the network is run: "plain" is the library's own forward pass, "auto" packs the
blocks' weights where that is faster (float32 on a CPU), "compiled" is torch.compile."""

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Features:
    """What a backbone sees in a batch of N frames."""

    tokens: Tensor
    """Patch tokens [N, S, P, C], float32, prefix tokens dropped, patches row-major."""

    image_features: Tensor
    """Image features [N, D], float32, of unit length."""


class Backbone(Protocol):
    """A frozen network that turns frames into tokens."""

    @property
    def image_size(self) -> int:
        """Side of the input in pixels."""

    @property
    def patches(self) -> int:
        """Patches P of a frame, a square number."""

    @property
    def channels(self) -> int:
        """Channels C of a patch token."""

    @property
    def stages(self) -> tuple[int, ...]:
        """Blocks whose output is taken, counted from 0, ascending; S of them."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of red, green, blue in 0..1 that the weights were trained with."""

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation, likewise."""

    @property
    def device(self) -> torch.device:
        """Where the network runs and the features come out."""

    def extract(self, batch: Tensor) -> Features:
        """Run the network on a normalised batch [N, 3, image_size, image_size]."""


_Net = TypeVar("_Net", bound=nn.Module)


class FrozenTransformer(ABC, Generic[_Net]):
    """A ``Backbone`` but for the calls into its library."""

    def __init__(
        self,
        net: _Net,
        *,
        image_size: int,
        patch: int,
        channels: int,
        stages: tuple[int, ...],
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device | str,
        precision: Precision,
        execution: Execution = "auto",
    ) -> None:
        """Freeze the network, move it to its device and prepare how it is run.

        Args:
            net: The network with its weights; its blocks may be exchanged.
            image_size: Side of the input in pixels.
            patch: Side of a patch in pixels.
            channels: Channels of a patch token.
            stages: As ``transformer_weights.chosen_stages`` returns them.
            mean: Of red, green, blue in 0..1.
            std: Likewise.
            device: Where the network runs.
            precision: As ``resolved_precision``; the choice and its reason are logged.
            execution: How it is run. Where a faster way cannot be had it is the plain
                one, and the log says why.

        Raises:
            ValueError: No such precision.
        """
        self.device = torch.device(device)
        self.precision, reason = resolved_precision(precision, self.device)
        log.info("backbone computes in %s on %s: %s", self.precision, self.device, reason)
        self._net = net.eval().requires_grad_(requires_grad=False).to(self.device)
        self.image_size = image_size
        self.patches = (image_size // patch) ** 2
        self.channels = channels
        self.stages = stages
        self.mean: tuple[float, ...] = tuple(mean)
        self.std: tuple[float, ...] = tuple(std)
        self.execution, self._run = self._prepared(execution)

    @property
    def depth(self) -> int:
        """Blocks of the network."""
        return len(self._blocks())

    def extract(self, batch: Tensor) -> Features:
        """Run the network.

        Args:
            batch: float32 [N, 3, image_size, image_size], normalised with ``mean``
                and ``std``.

        Returns:
            Tokens [N, S, P, C] of every stage and the image features [N, D],
            L2-normalised: a frame is then its own nearest neighbour.

        Raises:
            ValueError: Another shape.
        """
        wanted = (3, self.image_size, self.image_size)
        if batch.ndim != 4 or tuple(batch.shape[1:]) != wanted:  # noqa: PLR2004 - N and the three
            msg = f"batch has the shape {tuple(batch.shape)}, wanted [N, *{wanted}]"
            raise ValueError(msg)
        with torch.inference_mode(), self._reduced_precision():
            return Features(*self._run(batch.to(self.device)))

    def module(self) -> nn.Module:
        """Return the plain network from a batch to tokens and image features.

        It is what exporters take. Its blocks are this backbone's: packed blocks can be
        run, but not exported.
        """
        return _Extraction(self._net, self._features)

    @abstractmethod
    def _forward(self, batch: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Patch tokens [N, P, C] of each stage, and image features [N, D] of any length."""

    @abstractmethod
    def _blocks(self) -> nn.ModuleList:
        """The network's own list of its blocks."""

    @abstractmethod
    def _weights_of(self, block: nn.Module) -> BlockWeights | None:
        """What a block computes with, or None where it is no plain pre-norm block."""

    def _features(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens [N, S, P, C] and image features of unit length, both float32."""
        taken, image_features = self._forward(batch)
        tokens = torch.stack([stage.float() for stage in taken], dim=1)
        return tokens, functional.normalize(image_features.float(), dim=-1)

    def _prepared(
        self, execution: Execution
    ) -> tuple[str, Callable[[Tensor], tuple[Tensor, Tensor]]]:
        """The way that is taken, "plain", "packed" or "compiled", and what runs it."""
        if execution == "compiled":
            with torch.inference_mode(), self._reduced_precision():
                compiled = compiled_forward(self._features, self.image_size, self.device)
            return ("plain", self._features) if compiled is None else ("compiled", compiled)
        on_cpu = self.device.type == "cpu" and self.precision == "float32"
        if execution == "auto" and on_cpu and self._packed():
            return "packed", self._features
        return "plain", self._features

    def _packed(self) -> bool:
        """Exchange the blocks for packed ones; False where they stay."""
        weights = [self._weights_of(block) for block in self._blocks()]
        known = [one for one in weights if one is not None]
        rows = self.patches + 1  # one frame with its class token: the usual call on a CPU
        return len(known) == len(weights) and pack_blocks(self._blocks(), known, rows)

    def _reduced_precision(self) -> "torch.autocast | nullcontext[None]":
        """Autocast, or nothing in float32."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_DTYPES[self.precision])


class _Extraction(nn.Module):
    """A backbone's forward pass as a module that owns the network."""

    def __init__(self, net: nn.Module, run: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.net = net
        self._run = run

    def forward(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        return self._run(batch)


def resolved_precision(precision: Precision, device: torch.device) -> tuple[str, str]:
    """Decide in which type the network multiplies.

    Args:
        precision: "auto" takes float16 on CUDA and float32 elsewhere; the others
            are taken as they are. Below float32 only the products are reduced
            (autocast); normalisations, residual sums and results are float32.
        device: Where the network runs.

    Returns:
        "float32", "float16" or "bfloat16", and the reason in words.

    Raises:
        ValueError: Another name.
    """
    if precision == "auto":
        if device.type == "cuda":
            return "float16", "the default on CUDA, whose tensor cores multiply halves"
        return "float32", "the default on every device but CUDA"
    if precision not in _DTYPES:
        msg = f"precision is {precision!r}, wanted auto, {', '.join(_DTYPES)}"
        raise ValueError(msg)
    return precision, "asked for"
