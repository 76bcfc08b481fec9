"""The method: anomaly scores from patch tokens, with nothing learned and no labels.

Tensors in, tensors out. The package opens no file but the weights it is given,
no socket and no database, and prints nothing; importing ``musc`` itself loads
no other module. ``MuSc`` is the whole method on a set of images; ``Result`` is
what it returns.

Source: Li et al., MuSc: Zero-Shot Industrial Anomaly Classification and
Segmentation with Mutual Scoring of the Unlabeled Images, ICLR 2024.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from musc.batch import MuSc, Result

__all__ = ["MuSc", "Result"]


def __getattr__(name: str) -> object:
    """Import what the package offers when it is first asked for: torch takes seconds.

    Raises:
        AttributeError: Another name.
    """
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module("musc.batch"), name)
