"""A network through torch.compile, made ready before the first frame.

A compiled function is compiled at its first call and again for inputs of another
kind, which takes up to a minute: ``compiled_forward`` makes those calls itself, for
one frame and for several, whose number is left open. What comes out is held to the
plain network. Where there is no compiler, or it makes something else, the caller
keeps the plain network, and the log says why.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

log = logging.getLogger(__name__)

Forward = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From a batch [N, 3, side, side] to patch tokens [N, S, P, C] and image features [N, D]."""

TOLERANCE = 1e-3
"""Largest cosine distance of a patch token or image feature to the plain network's."""


def compiled_forward(
    plain: Forward, side: int, device: torch.device, backend: str | Callable[..., Any] = "inductor"
) -> Forward | None:
    """Compile for every number of frames, and try it out.

    Call it in the modes that the calls will come in (inference, autocast): compiled code
    belongs to a mode.

    Args:
        plain: The network.
        side: Of the input in pixels.
        device: Where it runs.
        backend: Of torch.compile.

    Returns:
        The compiled network, ready; None where it cannot be had.
    """
    run = _open_ended(torch.compile(plain, fullgraph=True, backend=backend))
    source = torch.Generator().manual_seed(0)
    try:
        for frames in (1, 2, 3):  # the third finds the number of frames left open
            batch = torch.randn(frames, 3, side, side, generator=source).to(device)
            off = largest_distance(run(batch), plain(batch))
            if not off <= TOLERANCE:
                msg = f"its tokens are off by a cosine distance of {off:.1e}, allowed {TOLERANCE}"
                raise RuntimeError(msg)
    except (RuntimeError, OSError, ImportError) as error:
        log.warning("musc.compile: the backbone runs as it is, not compiled: %s", _reason(error))
        return None
    log.info("backbone is compiled")
    return run


def _open_ended(compiled: Forward) -> Forward:
    """Call a compiled network so that no later batch makes it compile anew."""

    def run(batch: Tensor) -> tuple[Tensor, Tensor]:
        # Tensors made in inference mode and outside it are of two kinds; a copy is of one.
        batch = batch.clone()
        if len(batch) > 1:  # one frame is compiled for itself: torch takes sizes of 1 as fixed
            torch._dynamo.mark_dynamic(batch, 0)  # noqa: SLF001 - torch's documented name
        return compiled(batch)

    return run


def _reason(error: Exception) -> str:
    """The first line that says something; torch's own says only who raised it."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line and not line.endswith("raised:")), repr(error))


def largest_distance(features: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Return the largest cosine distance of two networks' tokens and image features."""
    pairs = zip(features, expected, strict=True)
    return max(
        float((1 - functional.cosine_similarity(one, other, dim=-1)).max()) for one, other in pairs
    )
