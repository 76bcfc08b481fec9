"""A backbone that remembers: the same input is seen once.

Streams that are run again - the same parts in another order, with other rules of
admission, with another window - show the same pictures to the same network. What
it said of an input is kept by a digest of that input's numbers, within a number of
bytes, and said again, bit by bit. Whoever shares one must not write to what it says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from musc.backbone import Features
from musc.pair_memory import TensorMemory, tensor_digest

if TYPE_CHECKING:
    from torch import Tensor

    from musc.backbone import Backbone


class BackboneFront:
    """What stands before a ``Backbone`` and is one itself, but for ``extract``."""

    def __init__(self, backbone: Backbone) -> None:
        """Have the shape of ``backbone``."""
        self._backbone = backbone
        self.image_size = backbone.image_size
        self.patches = backbone.patches
        self.channels = backbone.channels
        self.stages = backbone.stages
        self.mean = backbone.mean
        self.std = backbone.std
        self.device = backbone.device


class RememberedBackbone(BackboneFront):
    """A ``Backbone`` whose features are remembered by the digest of the whole batch."""

    def __init__(self, backbone: Backbone, limit_bytes: int) -> None:
        """Stand before ``backbone``, with room for so many bytes of features; at least 1."""
        super().__init__(backbone)
        self.memory: TensorMemory[bytes] = TensorMemory(limit_bytes)

    def extract(self, batch: Tensor) -> Features:
        """Return what the network said of these numbers before, or ask it.

        Args:
            batch: As ``Backbone.extract``, [N, 3, image_size, image_size].
        """
        digest = tensor_digest(batch)
        held = self.memory.get(digest)
        if held is None:
            features = self._backbone.extract(batch)
            held = (features.tokens, features.image_features)
            self.memory.put(digest, *held)
        return Features(*held)
