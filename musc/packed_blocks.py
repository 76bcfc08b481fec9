"""Blocks of a vision transformer with packed weights, for float32 on a CPU.

torch's linear layer copies its bias into the result before it multiplies, and an
activation, a LayerScale and a residual sum each read and write all tokens once
more. oneDNN, which torch brings along, adds the bias, applies GELU and adds the
residual within the product, on weights laid out for it once; LayerScale is folded
into the weights. A block is then seven calls.

The operators are those that torch's own compiler emits for a frozen network on a
CPU. They are not documented, so the first block is compared with the library's
before any is exchanged: where they are missing or say something else, the library's
blocks stay. A library's block is the naive twin.

Source: Dosovitskiy et al., ICLR 2021, equations 2 and 3 (pre-norm blocks);
torch/_inductor/fx_passes/mkldnn_fusion.py for the operators.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

log = logging.getLogger(__name__)

Linear = tuple[Tensor, Tensor | None]
"""A linear layer: weight [out, in] and bias [out]."""

Norm = tuple[Tensor | None, Tensor | None, float]
"""An affine layer normalisation: weight [C], bias [C], epsilon."""

TOLERANCE = 1e-4
"""Largest deviation of a packed block, relative to its largest output; rounding makes 1e-6."""

_QUICK = 1.702


@dataclass(frozen=True)
class BlockWeights:
    """A pre-norm block: x + attention(norm(x)), then x + MLP(norm(x))."""

    heads: int
    norm1: Norm
    qkv: Linear
    """[3C, C]: queries, keys, values, each head after head."""
    projection: Linear
    norm2: Norm
    expand: Linear
    activation: Literal["gelu", "quick_gelu"]
    contract: Linear


class PackedBlock(nn.Module):
    """One block; float32 tokens [N, L, C] in and out."""

    def __init__(self, weights: BlockWeights, rows: int) -> None:
        """Lay the weights out.

        Args:
            weights: Of the block, on the CPU.
            rows: Tokens N x L of the usual call; others work as well, a little slower.
        """
        super().__init__()
        self._heads = weights.heads
        self._norm1, self._norm2 = weights.norm1, weights.norm2
        self._quick = weights.activation == "quick_gelu"
        self._qkv = _packed(weights.qkv, rows)
        self._projection = _packed(weights.projection, rows)
        self._expand = _packed(weights.expand, rows)
        self._contract = _packed(weights.contract, rows)

    def forward(self, tokens: Tensor, attn_mask: None = None) -> Tensor:
        """Run the block; ``attn_mask`` is there because libraries pass None."""
        del attn_mask
        n, length, channels = tokens.shape
        qkv = _linear(_normed(tokens, self._norm1), self._qkv)
        shape = (n, length, 3, self._heads, channels // self._heads)
        query, key, value = qkv.view(shape).permute(2, 0, 3, 1, 4).unbind(0)
        seen = functional.scaled_dot_product_attention(query, key, value)
        joined = seen.transpose(1, 2).reshape(n, length, channels)
        tokens = _linear_onto(joined, tokens, self._projection)
        hidden = _linear(
            _normed(tokens, self._norm2), self._expand, "none" if self._quick else "gelu"
        )
        if self._quick:
            hidden = hidden * torch.sigmoid(_QUICK * hidden)
        return _linear_onto(hidden, tokens, self._contract)


def packed_product(side: int) -> Callable[[], Tensor] | None:
    """Return the product of two drawn square matrices, one of them packed.

    It is what the machine's limit is measured with; None where the operators are missing.
    """
    matrix = torch.rand(side, side)
    try:
        layer = _packed((matrix, None), side)
        _linear(matrix, layer)
    except (AttributeError, RuntimeError):
        return None
    return lambda: _linear(matrix, layer)


def scaled(layer: Linear, gamma: Tensor | None) -> Linear:
    """Fold a LayerScale into the linear layer before it; None scales nothing."""
    if gamma is None:
        return layer
    weight, bias = layer
    return weight * gamma[:, None], None if bias is None else bias * gamma


def pack_blocks(blocks: nn.ModuleList, weights: Sequence[BlockWeights], rows: int) -> bool:
    """Exchange all blocks of a network for packed ones, which frees the library's weights.

    Args:
        blocks: The network's own list, float32 on the CPU; exchanged in place.
        weights: Of each block.
        rows: Tokens of the usual call.

    Returns:
        Whether they are exchanged; where not, nothing has changed and the log says why.
    """
    try:
        with torch.inference_mode():
            packed = [PackedBlock(one, rows) for one in weights]
            _check(packed[0], blocks[0], (1, rows, len(weights[0].projection[0])))
    except (AttributeError, RuntimeError, NotImplementedError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        log.warning("backbone runs without packed weights: %s", reason)
        return False
    for index, block in enumerate(packed):
        blocks[index] = block
    return True


def _check(packed: nn.Module, block: nn.Module, shape: tuple[int, int, int]) -> None:
    """Hold a packed block to the library's on drawn tokens.

    Raises:
        RuntimeError: It deviates; the message has the figure.
    """
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected: Tensor = block(drawn)
    off = float((packed(drawn) - expected).abs().max() / expected.abs().max())
    if not off <= TOLERANCE:
        msg = f"a packed block deviates by {off:.1e}, allowed {TOLERANCE:.0e}"
        raise RuntimeError(msg)


def _packed(layer: Linear, rows: int) -> Linear:
    weight, bias = layer
    return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows), bias  # noqa: SLF001 - has no public name


def _normed(tokens: Tensor, norm: Norm) -> Tensor:
    weight, bias, epsilon = norm
    return functional.layer_norm(tokens, tokens.shape[-1:], weight, bias, epsilon)


def _linear(tokens: Tensor, layer: Linear, activation: Literal["none", "gelu"] = "none") -> Tensor:
    """Linear layer and exact GELU; the last argument of the operator asks for no tanh."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(  # noqa: SLF001 - has no public name
        tokens, *layer, activation, [], "none"
    )
    return product


def _linear_onto(tokens: Tensor, residual: Tensor, layer: Linear) -> Tensor:
    """Linear layer, added to the residual stream."""
    total: Tensor = torch.ops.mkldnn._linear_pointwise.binary(  # noqa: SLF001 - has no public name
        tokens, residual, *layer, "add"
    )
    return total
